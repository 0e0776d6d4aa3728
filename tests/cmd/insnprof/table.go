package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// tables is two for each job, in Markdown: totals, and functions, a column for each server.
func tables(all []*profile, top int, differ bool) []string {
	var jobs []string
	of := map[string][]*profile{}
	for _, p := range all {
		if _, ok := of[p.Window.Job]; !ok {
			jobs = append(jobs, p.Window.Job)
		}
		of[p.Window.Job] = append(of[p.Window.Job], p)
	}
	var out []string
	for _, j := range jobs {
		out = append(out, totals(j, of[j])+"\n"+functions(of[j], top, differ))
	}
	return out
}

// columns is who is compared, with the scheduler of the device.
func columns(of []*profile) []string {
	var out []string
	for _, p := range of {
		out = append(out, fmt.Sprintf("%s (%s)", p.Window.Program, p.Window.Scheduler))
	}
	return out
}

// row is a line of a table.
type row struct {
	name string
	of   func(*profile) float64
}

func totals(job string, of []*profile) string {
	rows := []row{
		{"server, user mode", func(p *profile) float64 { return p.User }},
		{"server, kernel", func(p *profile) float64 { return p.Kernel }},
		{"server", func(p *profile) float64 { return p.User + p.Kernel }},
		{"its running time by the kernel's clock, ns", func(p *profile) float64 { return p.Window.Busy / p.Requests }},
		{"client (" + client + ")", func(p *profile) float64 { return p.Client }},
	}
	others := map[string]float64{}
	for _, p := range of {
		for k, v := range p.Others {
			others[k] = max(others[k], v)
		}
	}
	var small []string
	for _, k := range most(others) {
		if others[k] < 1 {
			small = append(small, k)
			continue
		}
		rows = append(rows, row{k, func(p *profile) float64 { return p.Others[k] }})
	}
	if len(small) > 0 {
		rows = append(rows, row{"all others", func(p *profile) (sum float64) {
			for _, k := range small {
				sum += p.Others[k]
			}
			return sum
		}})
	}
	rows = append(rows,
		row{"all", (*profile).all},
		row{"the guest's clock, ns", func(p *profile) float64 { return p.Window.Nanos / p.Requests }},
		row{"requests", func(p *profile) float64 { return p.Requests }},
		row{"requests a second", func(p *profile) float64 { return p.Requests / p.Window.Nanos * 1e9 }})
	t := matrix(job+": instructions per I/O", columns(of), rows, of, "%.0f")
	return t + matrixRow("times per I/O that a thread of the server was switched to", of, func(p *profile) float64 { return p.Switches }, "%.2f")
}

// functions is the server's, those with the most instructions first, or those that differ most.
func functions(of []*profile, top int, differ bool) string {
	weight := map[string]float64{}
	last := of[len(of)-1]
	for _, p := range of {
		for k, v := range p.Functions {
			if differ && len(of) > 1 {
				v = math.Abs(of[0].Functions[k] - last.Functions[k])
			}
			weight[k] = max(weight[k], v)
		}
	}
	names := most(weight)
	var rows []row
	for _, k := range names[:min(top, len(names))] {
		rows = append(rows, row{k, func(p *profile) float64 { return p.Functions[k] }})
	}
	t := matrix("instructions of the server per I/O ("+inUser+": in user mode)", columns(of), rows, of, "%.1f")
	if len(names) > top {
		t += matrixRow(fmt.Sprintf("%d more", len(names)-top), of, func(p *profile) (sum float64) {
			for _, k := range names[top:] {
				sum += p.Functions[k]
			}
			return sum
		}, "%.1f")
	}
	return t
}

// matrix is rows of a value of each profile. Columns are told apart by where they stand: two may have one name.
func matrix(corner string, columns []string, rows []row, of []*profile, format string) string {
	var b strings.Builder
	b.WriteString(bench.Matrix(corner, columns, nil, nil))
	for _, r := range rows {
		b.WriteString(matrixRow(r.name, of, r.of, format))
	}
	return b.String()
}

func matrixRow(name string, of []*profile, value func(*profile) float64, format string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(name, inUser, `\*`))
	for _, p := range of {
		fmt.Fprintf(&b, " "+format+" |", value(p))
	}
	return b.String() + "\n"
}

// most is the keys of a map, those with the largest value first, and those of the same by name.
func most(m map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}
