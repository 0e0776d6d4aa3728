package main

import (
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/copy/workload"
)

// benchDoc is what bench-designs prints as JSON.
type benchDoc struct {
	Schema    int            `json:"schema"`
	Seed      uint64         `json:"seed"`
	Requests  int            `json:"requests"` // of each workload on each layout
	AsPosted  bool           `json:"as_posted"`
	CDFE      bool           `json:"cdfe"`
	Workloads []nameJSON     `json:"workloads"`
	Layouts   []nameJSON     `json:"layouts"`
	Rows      []workload.Row `json:"rows"`
}

type nameJSON struct {
	Name string `json:"name"`
	What string `json:"what"`
}

// text is a table for every workload, or one where workloads are joined; a blank line between layouts.
func (d *benchDoc) text(w io.Writer) {
	as := "as described"
	if d.AsPosted {
		as = "as posted"
	}
	if d.CDFE {
		as += ", formats 2 and 3 enabled"
	}
	fmt.Fprintf(w, "%s of each workload on each layout, seed %d; designs %s\n", count(d.Requests, "request"), d.Seed, as)
	wide := [3]int{len("WORKLOAD"), len("LAYOUT"), len("DESIGN")}
	for i := range d.Rows {
		for k, s := range names(&d.Rows[i]) {
			wide[k] = max(wide[k], len(s))
		}
	}
	line := func(k [3]string, rest ...any) {
		var b strings.Builder
		for i, s := range k {
			if names(&d.Rows[0])[i] != "" { // what is joined has no column
				fmt.Fprintf(&b, "%-*s  ", wide[i], s)
			}
		}
		fmt.Fprintf(&b, "%7s %6s %9s %7s %9s %8s %9s %5s %7s %5s  %s", rest...)
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	for i := range d.Rows {
		r := &d.Rows[i]
		if i == 0 || r.Workload != d.Rows[i-1].Workload {
			fmt.Fprintln(w)
			line([3]string{"WORKLOAD", "LAYOUT", "DESIGN"}, "REFUSED", "FAILED", "COMMANDS", "MEDIAN", "OFFLOADED", "EMULATED", "HOST MiB", "WRONG", "CORRUPT", "NEVER", "WHY")
		} else if r.Layout != d.Rows[i-1].Layout {
			fmt.Fprintln(w)
		}
		n := uint64(r.Requests)
		corrupt := share(uint64(r.Corrupt), uint64(r.Judged))
		if r.Judged == 0 {
			corrupt = "?"
		}
		line(names(r), share(total(r.Refused), n), share(total(r.Failed), n), fmt.Sprint(r.Commands), fmt.Sprint(r.Median), share(r.Offloaded, r.Bytes), share(r.Emulated, r.Bytes),
			fmt.Sprint((r.Host+1<<20-1)>>20), share(uint64(r.Wrong), n), corrupt, share(uint64(r.Never), n), why(r))
	}
}

func names(r *workload.Row) [3]string { return [3]string{r.Workload, r.Layout, r.Design} }

func total(m map[string]int) (n uint64) {
	for _, k := range m {
		n += uint64(k)
	}
	return n
}

// share is a part in per cent: - is none at all, and what is not all is not 100%.
func share(part, of uint64) string {
	if part == 0 || of == 0 {
		return "-"
	}
	hi, lo := bits.Mul64(part, 100)
	if hi >= of {
		return ">100%"
	}
	q, rest := bits.Div64(hi, lo, of)
	switch {
	case q == 0:
		return "<1%"
	case q == 99 && rest > 0:
		return ">99%"
	}
	if rest >= of-rest {
		q++
	}
	return fmt.Sprintf("%d%%", q)
}

// why is how many requests have which errno, and which known defect, most first.
func why(r *workload.Row) string {
	var out []string
	for _, x := range []struct {
		what, without string
		m             map[string]int
	}{{"refused ", "without an errno", r.Refused}, {"failed ", "", r.Failed}, {"", "other", r.Findings}} {
		keys := slices.SortedFunc(maps.Keys(x.m), func(a, b string) int {
			if x.m[a] != x.m[b] {
				return x.m[b] - x.m[a]
			}
			return strings.Compare(a, b)
		})
		for _, k := range keys {
			name := k
			if name == "" {
				name = x.without
			}
			out = append(out, fmt.Sprintf("%s%s %d", x.what, name, x.m[k]))
		}
	}
	return strings.Join(out, ", ")
}
