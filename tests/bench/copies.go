package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Copies, and what goes on beside a job.

// oursCopy begins the names of our copies.
const oursCopy = "ublk-linear copy"

// copies is, for each job, every way to copy, and how many times as fast as it the first of ours is, round by round; the
// last row is whoever of the others was the fastest of the round.
func (r *Result) copies() string {
	var tables []string
	for _, j := range r.Jobs("copy") {
		s := r.Of("copy", j, 0)
		ways := Contenders(s)
		s = append(slices.Clone(s), fastest(s)...)
		rows := append(slices.Clone(ways), best)
		tables = append(tables, Matrix(j, []string{"MiB/s", ways[0] + " : it", "CPU, µs per MiB", "commands", "MiB through the host"}, rows, func(w, col string) string {
			of := func(m Metric) float64 { return m.Of(s, w).Median }
			said := strings.HasPrefix(w, oursCopy)
			switch {
			case col == "MiB/s":
				return short(of(func(s Sample) float64 { return s.MiBs }))
			case strings.HasSuffix(col, ": it"):
				return Metric(func(s Sample) float64 { return s.MiBs }).Ratio(s, ways[0], w).String()
			case w == best:
				return "–"
			case strings.HasPrefix(col, "CPU"):
				return short(of(func(s Sample) float64 { return s.CPUMiB }))
			case !said:
				return "–"
			case col == "commands":
				return fmt.Sprintf("%.0f", of(func(s Sample) float64 { return s.Commands }))
			default:
				return fmt.Sprintf("%.0f", of(func(s Sample) float64 { return s.HostMiB }))
			}
		}))
	}
	return strings.Join(tables, "\n")
}

const best = "the fastest of the others, per round"

// fastest is, of each round, the fastest copy that is not ours.
func fastest(s []Sample) []Sample {
	of := map[int]Sample{}
	var rounds []int
	for _, x := range s {
		if strings.HasPrefix(x.Contender, oursCopy) {
			continue
		}
		was, ok := of[x.Round]
		if !ok {
			rounds = append(rounds, x.Round)
		}
		if !ok || x.MiBs > was.MiBs {
			x.Contender = best
			of[x.Round] = x
		}
	}
	var out []Sample
	for _, n := range rounds {
		out = append(out, of[n])
	}
	return out
}

// copyStripes is how many commands a copy between stripes of equal geometry takes.
func (r *Result) copyStripes() string {
	jobs := r.Jobs("copystripe")
	if len(jobs) == 0 {
		return ""
	}
	cell := func(c, j string) string {
		s := r.Of("copystripe", j, 0)
		i := slices.IndexFunc(s, func(s Sample) bool { return s.Contender == c })
		if i < 0 {
			return "–"
		}
		return fmt.Sprintf("%.0f of %.0f", s[i].Commands, s[i].Fewest)
	}
	return Matrix("commands, of the fewest", jobs, r.contenders("copystripe"), cell)
}

// copySmall is the latency of small copies, p50 and p99.
func (r *Result) copySmall() string {
	jobs := r.Jobs("copysmall")
	if len(jobs) == 0 {
		return ""
	}
	return Matrix("p50 and p99, µs", jobs, r.contenders("copysmall"), func(c, j string) string {
		s := r.Of("copysmall", j, 0)
		if P50.Of(s, c).N == 0 {
			return "–"
		}
		return short(P50.Of(s, c).Median) + ", " + short(P99.Of(s, c).Median)
	})
}

// foreground is, for each kind of disk, what reads are like beside each copy, against beside the first: nothing.
func (r *Result) foreground() string {
	var tables []string
	for _, j := range r.Jobs("foreground") {
		s := r.Of("foreground", j, 0)
		rows := Contenders(s)
		slices.Sort(rows)
		const none = "nothing"
		if i := slices.Index(rows, none); i > 0 { // the first round's order is that of the set, but it may be missing
			rows = slices.Insert(slices.Delete(rows, i, i+1), 0, none)
		}
		tables = append(tables, Matrix(j+", beside …", []string{"p50, µs", "p99, µs", "p50 : alone", "p99 : alone", "the copy, MiB/s"}, rows, func(c, col string) string {
			switch col {
			case "p50, µs":
				return short(P50.Of(s, c).Median)
			case "p99, µs":
				return short(P99.Of(s, c).Median)
			case "p50 : alone":
				return P50.Ratio(s, c, none).String()
			case "p99 : alone":
				return P99.Ratio(s, c, none).String()
			}
			if v := Metric(func(s Sample) float64 { return s.BesideMiBs }).Of(s, c).Median; v > 0 {
				return short(v)
			}
			return "–"
		}))
	}
	return strings.Join(tables, "\n")
}

// collecting is a server while it collects garbage, against the first, which does not, and against the C server without a
// scheduler, as its own device is, and beside as much asking.
func (r *Result) collecting() string {
	var tables []string
	for _, j := range r.Jobs("gc") {
		s := r.Of("gc", j, 0)
		rows := Contenders(s)
		first := slices.IndexFunc(rows, func(c string) bool { return c == "ublk-linear" })
		if first < 0 {
			continue
		}
		const kublk, besideAsking = "kublk stripe, zero-copy, no scheduler", "kublk stripe, zero-copy, no scheduler, another server asked"
		asked := func(c string) float64 {
			return Metric(func(s Sample) float64 { return float64(s.Asked) }).Of(s, c).Median
		}
		tables = append(tables, Matrix(j, []string{"IOPS", "p50, µs", "p99, µs", "p99 : " + rows[first] + "'s", "p99 : kublk's", "collections", "times asked"}, rows, func(c, col string) string {
			switch col {
			case "IOPS":
				return short(IOPS.Of(s, c).Median)
			case "p50, µs":
				return short(P50.Of(s, c).Median)
			case "p99, µs":
				return short(P99.Of(s, c).Median)
			case "p99 : kublk's":
				if asked(c) > 0 {
					return P99.Ratio(s, c, besideAsking).String()
				}
				return P99.Ratio(s, c, kublk).String()
			case "collections":
				return short(Metric(func(s Sample) float64 { return float64(s.Collections) }).Of(s, c).Median)
			case "times asked":
				return short(asked(c))
			}
			return P99.Ratio(s, c, rows[first]).String()
		}))
	}
	return strings.Join(tables, "\n")
}
