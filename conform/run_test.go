package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// geometries are those of QEMU's disks of the VM tests, and two that leave things out.
var geometries = []Geometry{
	{Name: "4Kn", Block: 4096, MSSRL: 16, MCL: 40, Ranges: 4},
	{Name: "512", Block: 512, MSSRL: 128, MCL: 128, Ranges: 128},
	{Name: "one range", Block: 512, MSSRL: 64, MCL: 64, Ranges: 1},
	{Name: "most", Block: 512, MSSRL: 300, MCL: 2000, Ranges: 256},
	{Name: "least", Block: 512, MSSRL: 1, MCL: 1, Ranges: 1},
}

func run1(t *testing.T, x Target, o Options) *Report {
	t.Helper()
	r, err := Run(t.Context(), x, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestModel: the reference conforms, whatever its limits and the seed, and what is not applicable says why.
func TestModel(t *testing.T) {
	for _, g := range geometries {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(g.Name, " ", seed), func(t *testing.T) {
				t.Parallel()
				r := run1(t, NewModel(g, 4096*g.Block), Options{Seed: seed, Rounds: 40})
				for _, res := range r.Results {
					if res.Outcome == Differs || res.Outcome == NotApplicable && len(res.Happened) < 10 {
						t.Errorf("%s: %s: %s", res.Name, res.Outcome, res.Happened)
					}
				}
				if r.Conform+r.Skipped != len(Scenarios()) || !r.Complete {
					t.Errorf("%s", r.Summary())
				}
				if g.Name == "4Kn" && r.Skipped != 0 {
					t.Errorf("everything applies to 4Kn: %s", r.Summary())
				}
			})
		}
	}
}

// TestScenarios: each says what it should, once.
func TestScenarios(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if s.Name == "" || seen[s.Name] || len(s.Expect) < 20 || len(s.Why) < 20 || len(s.Ref) < 10 || len(s.Judged) < 10 || s.run == nil {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
	}
}

// TestAgain: the seed makes the same requests again, also where only one scenario is run.
func TestAgain(t *testing.T) {
	log := func(o Options) (out []string) {
		m := &logged{Model: NewModel(geometries[0], 2<<20)}
		run1(t, m, o)
		return m.log
	}
	only := Options{Seed: 4, Rounds: 100, Only: []string{"random-requests"}}
	a, b := log(only), log(only)
	if !slices.Equal(a, b) || len(a) < 100 {
		t.Errorf("%d and %d requests differ", len(a), len(b))
	}
	all := log(Options{Seed: 4, Rounds: 100})
	if i := slices.Index(all, a[0]); i < 0 || !slices.Equal(all[i:i+len(a)], a) {
		t.Error("alone it draws others than among all")
	}
	if slices.Equal(a, log(Options{Seed: 5, Rounds: 100, Only: only.Only})) {
		t.Error("another seed draws the same")
	}
}

// TestStops: a context that ends ends the run, whose report has what came before.
func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, NewModel(geometries[0], 2<<20), Options{Progress: func(i, n int, name string) {
		if n != len(Scenarios()) || name != Scenarios()[i].Name {
			t.Error(i, n, name)
		}
		if i == 7 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || r.Complete || len(r.Results) != 7 {
		t.Errorf("%d results, %v", len(r.Results), err)
	}
}

// TestCannotRun: what is no answer of the device is an error, not a finding.
func TestCannotRun(t *testing.T) {
	broken := errors.New("gone")
	x := &bad{Model: NewModel(geometries[0], 2<<20), write: func(*bad, []byte, uint64) error { return broken }}
	if r, err := Run(t.Context(), x, Options{}); !errors.Is(err, broken) || r.Complete {
		t.Error(err)
	}
	for name, x := range map[string]Target{
		"small": NewModel(geometries[0], 127*4096),
		"odd":   NewModel(Geometry{Block: 520}, 1<<20),
		"cut":   NewModel(geometries[0], 1<<20+512),
	} {
		if _, err := Run(t.Context(), x, Options{}); err == nil {
			t.Error(name)
		}
	}
	if _, err := Run(t.Context(), NewModel(geometries[0], 2<<20), Options{Only: []string{"one-rnage"}}); err == nil {
		t.Error("an unknown scenario")
	}
}
