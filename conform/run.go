package conform

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Options of Run. The zero value is the whole suite with seed 0.
type Options struct {
	Seed   uint64
	Rounds int      // of each random scenario; 0: 200
	Only   []string // names of scenarios; none: all
	// Progress is told before each scenario: its place from 0, how many there are, and its name.
	Progress func(i, n int, name string)
}

// Result is a scenario and what came of it.
type Result struct {
	Scenario
	Outcome  Outcome `json:"outcome"`
	Happened string  `json:"happened"` // what differs, or why it is not applicable; "" where it conforms
	Seconds  float64 `json:"seconds"`
}

// Pick is the scenarios of some names, in the order of the suite; of no names all. An unknown name is an error.
func Pick(names []string) ([]Scenario, error) {
	all := Scenarios()
	for _, n := range names {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.Name == n }) {
			return nil, fmt.Errorf("no scenario %q", n)
		}
	}
	return slices.DeleteFunc(all, func(s Scenario) bool { return len(names) > 0 && !slices.Contains(names, s.Name) }), nil
}

// Run sends the suite to a target, whose region is overwritten. An error is that of a suite that could not be run, or was
// not to the end (ctx); the report then has what came before.
func Run(ctx context.Context, t Target, o Options) (*Report, error) {
	g := t.Geometry()
	r := &Report{Schema: Schema, Target: g, Seed: o.Seed, Results: []Result{}}
	if err := g.Check(); err != nil {
		return r, err
	}
	suite, err := Pick(o.Only)
	if err != nil {
		return r, err
	}
	var writes uint64
	for i, s := range suite {
		s = g.worded(s)
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if o.Progress != nil {
			o.Progress(i, len(suite), s.Name)
		}
		h := fnv.New64a() // a scenario draws the same, whatever ran before it
		_, _ = h.Write([]byte(s.Name))
		x := &trial{ctx: ctx, t: t, g: g, seed: o.Seed, rand: rand.New(rand.NewPCG(o.Seed, h.Sum64())), rounds: o.Rounds, writes: &writes}
		if x.rounds == 0 {
			x.rounds = 200
		}
		began := time.Now()
		err := s.run(x)
		res := Result{Scenario: s, Outcome: Conforms, Seconds: time.Since(began).Seconds()}
		var v verdict
		switch {
		case errors.As(err, &v):
			res.Outcome, res.Happened = v.outcome, v.what
		case err != nil && ctx.Err() != nil:
			return r, ctx.Err()
		case err != nil:
			return r, fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		r.add(res)
	}
	r.Complete = true
	return r, nil
}

// add counts a result.
func (r *Report) add(res Result) {
	r.Results = append(r.Results, res)
	switch res.Outcome {
	case Conforms:
		r.Conform++
	case Differs:
		r.Differ++
	case NotApplicable:
		r.Skipped++
	}
}

// Differing are the names of the scenarios that differ.
func (r *Report) Differing() (out []string) {
	for _, res := range r.Results {
		if res.Outcome == Differs {
			out = append(out, res.Name)
		}
	}
	return out
}

// Summary is one line.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%d conform, %d differ, %d not applicable", r.Conform, r.Differ, r.Skipped)
	if d := r.Differing(); len(d) > 0 {
		s += ": " + strings.Join(d, ", ")
	}
	return s
}
