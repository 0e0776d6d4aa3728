package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/daemon"
)

// printCopied says in words what a copy did. A fallback is never silent.
func printCopied(w io.Writer, r *daemon.CopyResult) error {
	var b strings.Builder
	done := "copied"
	if !r.Complete {
		done = "not complete: copied without a gap"
	}
	fmt.Fprintf(&b, "%s %s of %s in %.3g s", done, about(float64(r.Bytes)), about(float64(r.Total)), r.Seconds)
	if r.Seconds > 0 {
		fmt.Fprintf(&b, " (%s/s)", about(float64(r.Offloaded+r.Emulated+r.Zeroed)/r.Seconds))
	}
	fmt.Fprintf(&b, "\n%s offloaded, %s emulated", about(float64(r.Offloaded)), about(float64(r.Emulated)))
	if r.Zeroed > 0 {
		fmt.Fprintf(&b, ", %s zeroed", about(float64(r.Zeroed)))
	}
	if r.Onto > 0 {
		fmt.Fprintf(&b, ", %s onto themselves", about(float64(r.Onto)))
	}
	fmt.Fprintf(&b, "; %s through this host\n", about(float64(r.Host)))
	var by []string
	for _, m := range slices.Sorted(maps.Keys(r.CommandsByMethod)) {
		by = append(by, fmt.Sprintf("%d %s", r.CommandsByMethod[m], m))
	}
	if len(by) > 0 {
		fmt.Fprintf(&b, "%s sent (%s), %s\n", count(int(r.Commands), "command"), strings.Join(by, ", "), count(int(r.Reads), "read"))
	}
	for _, g := range alike(r.Fallbacks) {
		fmt.Fprintf(&b, "%s failed as offload and were emulated: %s\n", about(float64(g.bytes)), g.text())
	}
	for _, g := range alike(r.Failed) {
		fmt.Fprintf(&b, "%s are not copied: %s\n", about(float64(g.bytes)), g.text())
	}
	if r.MoreFailures > 0 {
		fmt.Fprintf(&b, "and %d more failures, which are not listed\n", r.MoreFailures)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// alikes are failures that differ only in where they were.
type alikes struct {
	first daemon.CopyFailure
	n     int
	bytes uint64
}

func (g *alikes) text() string {
	f := &g.first
	side := f.Side
	if side != "" {
		side += " "
	}
	text := fmt.Sprintf("%s, %sdisk %s at sector %d: %s", f.Method, side, f.Disk, f.Sector, f.Error)
	if g.n > 1 {
		text += fmt.Sprintf(" (and %s like it)", count(g.n-1, "failure"))
	}
	return text
}

// where is what an error text has of its place.
var where = regexp.MustCompile(`(sector|byte|bytes|from|to|at|range) \d+`)

// alike puts together what failed in the same way, in order of the first.
func alike(fs []daemon.CopyFailure) []*alikes {
	var out []*alikes
	by := map[string]*alikes{}
	for _, f := range fs {
		key := strings.Join([]string{f.Method, f.Side, f.Disk, where.ReplaceAllString(f.Error, "")}, "\x00")
		g := by[key]
		if g == nil {
			g = &alikes{first: f}
			by[key] = g
			out = append(out, g)
		}
		g.n++
		g.bytes += f.Bytes
	}
	return out
}
