package bench

import (
	"fmt"
	"slices"
	"strings"
)

// names of who is compared.
const (
	zc     = "ublk-linear striped, zero-copy"
	buffer = "ublk-linear striped, buffer"
)

// Report is a page's parts and its pictures, by name.
func (r *Result) Report(counts *Counts) (parts map[string]string, pictures map[string][]byte) {
	parts = map[string]string{"machine": r.machine()}
	pictures = map[string][]byte{}
	add := func(name, text string) {
		if text == "" {
			text = "Not among the committed results; `make bench-device` measures it, `make bench-commit` puts it here."
		}
		parts[name] = text
	}
	add("iops", r.absolute("served", "IOPS", IOPS))
	add("cpu", r.absolute("served", "server CPU, µs per I/O", CPU))
	add("p50", r.absolute("served", "p50, µs", P50))
	add("p99", r.absolute("served", "p99, µs", P99))
	add("ratios", r.ratios("served", IOPS, zc, nil))
	add("cpu-ratios", r.ratios("served", CPU, zc, nil))
	add("p99-ratios", r.ratios("served", P99, zc, nil))
	add("delayed", r.ratios("delayed", IOPS, zc, nil))
	add("delayed-cpu", r.ratios("delayed", CPU, zc, nil))
	add("delayed-p99", r.ratios("delayed", P99, zc, nil))
	add("queues", r.ratios("queues", IOPS, zc, nil))
	add("memory", r.ratios("memory", IOPS, zc, nil))
	add("paths", r.ratios2([]string{"served", "queues", "memory"}, zc, buffer))
	add("depth", r.scale("depth", "queue depth", zc, "dm-striped"))
	add("legs", r.scale("legs", "legs", zc, "dm-striped"))
	add("segments", r.scale("segments", "segments", "ublk-linear, zero-copy", "dm-linear"))
	add("devices", r.devices())
	add("idle", r.idle())
	add("steady", r.steady())
	add("discard", r.discard())
	add("builds", r.builds())
	add("account", r.account())
	add("copy", r.copies())
	add("copystripe", r.copyStripes())
	add("copysmall", r.copySmall())
	add("foreground", r.foreground())
	add("gc", r.collecting())
	add("switches", r.absolute("served", "times per I/O that a thread of the server blocked", Switches))
	if counts != nil {
		add("counts", counts.instructions())
	}
	pictures["ratios"] = r.plot("served", "ratios", "IOPS of a striped ublk-linear device (zero-copy) : those of …", IOPS, zc)
	pictures["cpu"] = r.plot("served", "cpu", "Server CPU time per I/O of a striped ublk-linear device (zero-copy) : that of …", CPU, zc)
	return parts, pictures
}

func (r *Result) machine() string {
	how := "on the machine's own CPUs"
	switch {
	case r.Counted:
		how = "emulated one after the other, and time is the number of instructions, 1 ns each (QEMU's -icount): what else the machine did changes nothing, and there are no caches, no contention and no cost of a system call but its instructions"
	case r.Emulated:
		how = "on an emulated CPU (QEMU's TCG): absolute figures are the emulator's, and only ratios inside a round say something"
	}
	return fmt.Sprintf("Linux %s, %d CPUs, %s, %s.", r.Kernel, r.CPUs, r.Go, how)
}

// absolute is a metric of every contender by job, medians of the rounds.
func (r *Result) absolute(set, corner string, m Metric) string {
	jobs := r.Jobs(set)
	if len(jobs) == 0 {
		return ""
	}
	var rows []string
	for _, c := range slices.Sorted(slices.Values(r.contenders(set))) {
		if slices.ContainsFunc(jobs, func(j string) bool { return m.Of(r.Of(set, j, 0), c).Median > 0 }) {
			rows = append(rows, c)
		}
	}
	return Matrix(corner, jobs, rows, func(c, j string) string { return short(m.Of(r.Of(set, j, 0), c).Median) })
}

func (r *Result) contenders(set string) []string {
	var of []Sample
	for _, s := range r.Samples {
		if s.Set == set {
			of = append(of, s)
		}
	}
	return Contenders(of)
}

// ratios is a contender against every other, by job.
func (r *Result) ratios(set string, m Metric, a string, only []string) string {
	jobs := r.Jobs(set)
	if len(jobs) == 0 {
		return ""
	}
	x := r.Points(set, jobs[0])[0]
	var rows []string
	for _, c := range slices.Sorted(slices.Values(r.contenders(set))) {
		if c != a && (only == nil || slices.Contains(only, c)) && slices.ContainsFunc(jobs, func(j string) bool { return m.Ratio(r.Of(set, j, x), a, c).N > 0 }) {
			rows = append(rows, c)
		}
	}
	return Matrix(a+" : …", jobs, rows, func(c, j string) string { return m.Ratio(r.Of(set, j, x), a, c).String() })
}

// ratios2 is one pair over several sets: IOPS and CPU by job.
func (r *Result) ratios2(sets []string, a, b string) string {
	var rows []string
	of := map[string][2]Spread{}
	for _, set := range sets {
		for _, j := range r.Jobs(set) {
			s := r.Of(set, j, r.Points(set, j)[0])
			name := set + ": " + j
			rows = append(rows, name)
			of[name] = [2]Spread{IOPS.Ratio(s, a, b), CPU.Ratio(s, a, b)}
		}
	}
	if rows == nil {
		return ""
	}
	return Matrix(a+" : "+b, []string{"IOPS", "server CPU per I/O"}, rows, func(name, col string) string {
		if col == "IOPS" {
			return of[name][0].String()
		}
		return of[name][1].String()
	})
}

// scale is a pair along a set's points.
func (r *Result) scale(set, corner, a, b string) string {
	jobs := r.Jobs(set)
	if len(jobs) == 0 {
		return ""
	}
	points := r.Points(set, jobs[0])
	var cols, rows []string
	for _, x := range points {
		cols = append(cols, fmt.Sprint(x))
	}
	for _, j := range jobs {
		rows = append(rows, j+": IOPS, "+a+" : "+b, j+": server CPU, µs per I/O")
	}
	return Matrix(corner, cols, rows, func(row, col string) string {
		j, what, _ := strings.Cut(row, ": ")
		s := r.Of(set, j, points[slices.Index(cols, col)])
		if strings.HasPrefix(what, "IOPS") {
			return IOPS.Ratio(s, a, b).String()
		}
		return short(CPU.Of(s, a).Median)
	})
}

// plot is a contender against every other of a set.
func (r *Result) plot(set, id, title string, m Metric, a string) []byte {
	p := &Plot{Title: title, ID: "bench-" + id, Note: fmt.Sprintf("median and quartiles of the rounds' ratios; Linux %s, %d CPUs, emulated: %v", r.Kernel, r.CPUs, r.Emulated)}
	for _, j := range r.Jobs(set) {
		for _, c := range slices.Sorted(slices.Values(r.contenders(set))) {
			if c != a {
				p.Rows = append(p.Rows, Row{j, c, m.Ratio(r.Of(set, j, 0), a, c)})
			}
		}
	}
	return p.SVG()
}
