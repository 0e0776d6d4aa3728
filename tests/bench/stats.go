package bench

import "slices"

// Spread is a median and its quartiles, of N values.
type Spread struct {
	Q1, Median, Q3 float64
	N              int
}

// SpreadOf summarises values. Quartiles lie between values where they must (linear interpolation, as R's type 7 and
// numpy's default). Of no values it is zero.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	at := func(p float64) float64 {
		x := p * float64(len(v)-1)
		i := int(x)
		if i+1 >= len(v) {
			return v[len(v)-1]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return Spread{at(0.25), at(0.5), at(0.75), len(v)}
}

// Metric is what is compared of a sample.
type Metric func(Sample) float64

// The metrics.
var (
	IOPS     Metric = func(s Sample) float64 { return s.IOPS }
	P50      Metric = func(s Sample) float64 { return s.P50 }
	P99      Metric = func(s Sample) float64 { return s.P99 }
	CPU      Metric = func(s Sample) float64 { return s.CPU }
	Switches Metric = func(s Sample) float64 { return s.Switches }
	Seconds  Metric = func(s Sample) float64 { return s.Seconds }
)

// Of is the spread of a metric over a contender's rounds.
func (m Metric) Of(samples []Sample, contender string) Spread {
	var v []float64
	for _, s := range samples {
		if s.Contender == contender {
			v = append(v, m(s))
		}
	}
	return SpreadOf(v)
}

// Ratio is the spread of a : b, round by round: only what was measured side by side is compared. A round that lacks one of
// them, or has nothing of b, is left out.
func (m Metric) Ratio(samples []Sample, a, b string) Spread {
	var v []float64
	for _, s := range samples {
		if s.Contender != a {
			continue
		}
		for _, o := range samples {
			if o.Contender == b && o.Round == s.Round && m(o) > 0 {
				v = append(v, m(s)/m(o))
			}
		}
	}
	return SpreadOf(v)
}
