package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What is not a comparison of contenders by job.

// points is a table of one line for each sample of a set.
func (r *Result) points(set, corner string, columns []string, cells func(s Sample) []string) string {
	var rows []string
	of := map[string][]string{}
	for _, s := range r.Samples {
		if s.Set != set {
			continue
		}
		name := s.Contender
		if s.X != 0 {
			name = fmt.Sprint(s.X)
		}
		rows = append(rows, name)
		of[name] = cells(s)
	}
	if rows == nil {
		return ""
	}
	return Matrix(corner, columns, rows, func(row, col string) string { return of[row][slices.Index(columns, col)] })
}

func (r *Result) idle() string {
	return r.points("idle", "devices", []string{"CPU, % of one core", "VmRSS", "of it anonymous", "a device more", "up after"}, func(s Sample) []string {
		each := "–"
		for _, one := range r.Samples {
			if one.Set == "idle" && one.X == 1 && s.X > 1 {
				each = fmt.Sprintf("%d KiB", (s.RSS-one.RSS)/(s.X-1))
			}
		}
		return []string{fmt.Sprintf("%.3f", s.CorePct), fmt.Sprintf("%d KiB", s.RSS), fmt.Sprintf("%d KiB", s.Anon), each, fmt.Sprintf("%.1f s", s.SetupSecs)}
	})
}

func (r *Result) steady() string {
	return r.points("steady", "device", []string{"requests", "anonymous memory behind them", "grown by"}, func(s Sample) []string {
		return []string{fmt.Sprintf("%.0f", s.Requests), fmt.Sprintf("%d KiB", s.Anon), fmt.Sprintf("%d KiB", s.GrownKiB)}
	})
}

// devices is one server under one job over more and more devices.
func (r *Result) devices() string {
	jobs := r.Jobs("devices")
	if len(jobs) == 0 {
		return ""
	}
	points := r.Points("devices", jobs[0])
	var rows []string
	for _, x := range points {
		rows = append(rows, fmt.Sprint(x))
	}
	return Matrix("devices", []string{"IOPS of all", "server CPU, µs per I/O", "VmRSS"}, rows, func(row, col string) string {
		s := r.Of("devices", jobs[0], points[slices.Index(rows, row)])
		switch who := s[0].Contender; {
		case strings.HasPrefix(col, "IOPS"):
			return short(IOPS.Of(s, who).Median)
		case col == "VmRSS":
			return fmt.Sprintf("%d KiB", s[len(s)-1].RSS)
		default:
			return short(CPU.Of(s, who).Median)
		}
	})
}

func (r *Result) discard() string {
	jobs := r.Jobs("discard")
	if len(jobs) == 0 {
		return ""
	}
	s := r.Of("discard", jobs[0], 0)
	return Matrix(jobs[0], []string{"seconds", "ublk-linear : it"}, Contenders(s), func(c, col string) string {
		if col == "seconds" {
			return Seconds.Of(s, c).String()
		}
		return Seconds.Ratio(s, zc, c).String()
	})
}

// builds is other builds of ours against the first, on either path.
func (r *Result) builds() string {
	jobs := r.Jobs("builds")
	if len(jobs) == 0 {
		return ""
	}
	var rows []string
	pair := map[string][2]string{}
	for _, c := range r.contenders("builds") {
		for _, path := range []string{"zero-copy", "buffer"} {
			base := "ublk-linear striped, " + path
			if c != base && strings.HasSuffix(c, path) {
				rows = append(rows, c)
				pair[c] = [2]string{c, base}
			}
		}
	}
	slices.Sort(rows)
	cell := func(m Metric) func(c, j string) string {
		return func(c, j string) string { return m.Ratio(r.Of("builds", j, 0), pair[c][0], pair[c][1]).String() }
	}
	return Matrix("IOPS, it : ublk-linear", jobs, rows, cell(IOPS)) + "\n" + Matrix("server CPU per I/O, it : ublk-linear", jobs, rows, cell(CPU))
}

// instructions is what Map costs, of the counts.
func (c *Counts) instructions() string {
	const head = "instructions of 64 × Map, "
	var rows []string
	for _, name := range slices.Sorted(maps.Keys(c.Counts)) {
		if work, ok := strings.CutPrefix(name, head); ok {
			rows = append(rows, work)
		}
	}
	return fmt.Sprintf("%s, %s:\n\n", c.Go, c.Arch) + Matrix("table", []string{"instructions a request"}, rows, func(work, _ string) string {
		return fmt.Sprintf("%.1f", float64(c.Counts[head+work])/64)
	})
}

// account is the system calls of servers for an I/O.
func (r *Result) account() string {
	var calls, rows []string
	of := map[string]Sample{}
	for _, s := range r.Samples {
		if s.Set != "account" {
			continue
		}
		row := s.Job + ": " + s.Contender
		rows = append(rows, row)
		of[row] = s
		for c, n := range s.Calls {
			if n >= 0.005 && !slices.Contains(calls, c) {
				calls = append(calls, c)
			}
		}
	}
	if rows == nil {
		return ""
	}
	slices.Sort(calls)
	return Matrix("calls per I/O", calls, rows, func(row, col string) string {
		if n, ok := of[row].Calls[col]; ok {
			return fmt.Sprintf("%.2f", n)
		}
		return "–"
	})
}
