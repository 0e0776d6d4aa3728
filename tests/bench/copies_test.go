package bench

import (
	"strings"
	"testing"
)

// row is a row of a table, by its name.
func row(t *testing.T, table, name string) string {
	t.Helper()
	for l := range strings.Lines(table) {
		if strings.HasPrefix(l, "| "+name+" |") {
			return strings.TrimSpace(l)
		}
	}
	t.Fatalf("no row %q in\n%s", name, table)
	return ""
}

func rows(t *testing.T, table string, want ...string) {
	t.Helper()
	for _, w := range want {
		name, _, _ := strings.Cut(strings.TrimPrefix(w, "| "), " |")
		if got := row(t, table, name); got != w {
			t.Errorf("%s\nnot %s", got, w)
		}
	}
}

// The fastest of the others is another one each round, and none of ours.
func TestCopies(t *testing.T) {
	s := func(who string, round int, mibs float64) Sample {
		return Sample{Set: "copy", Job: "j", Contender: who, Round: round, MiBs: mibs, CPUMiB: 2 * mibs}
	}
	ours, more := s("ublk-linear copy", 0, 100), s("ublk-linear copy, to another disk", 0, 1000)
	ours.Commands, ours.HostMiB = 4, 256
	r := &Result{Samples: []Sample{ours, more, s("dd", 0, 50), s("cp", 0, 200), s("ublk-linear copy", 1, 120), s("dd", 1, 80), s("cp", 1, 40)}}
	rows(t, r.copies(), "| ublk-linear copy | 110 | 1.00 (1.00–1.00) | 220 | 2 | 128 |",
		"| dd | 65.0 | 1.75 (1.62–1.88) | 130 | – | – |",
		"| the fastest of the others, per round | 140 | 1.00 (0.75–1.25) | – | – | – |")
}

func TestCopyStripes(t *testing.T) {
	r := &Result{Samples: []Sample{{Set: "copystripe", Job: "a", Contender: "copy", Commands: 32, Fewest: 16}, {Set: "copystripe", Job: "b", Contender: "copy", Commands: 8, Fewest: 8},
		{Set: "copystripe", Job: "b", Contender: "copy -w", Commands: 9, Fewest: 8}}}
	rows(t, r.copyStripes(), "| copy | 32 of 16 | 8 of 8 |", "| copy -w | – | 9 of 8 |")
}

func TestCopySmall(t *testing.T) {
	r := &Result{Samples: []Sample{{Set: "copysmall", Job: "4", Contender: "a", P50: 10, P99: 200}, {Set: "copysmall", Job: "4", Contender: "a", Round: 1, P50: 20, P99: 400},
		{Set: "copysmall", Job: "16", Contender: "b", P50: 1, P99: 2}}}
	rows(t, r.copySmall(), "| a | 15.0, 300 | – |", "| b | – | 1.00, 2.00 |")
}

// What is beside nothing is compared round by round, and stands first.
func TestForeground(t *testing.T) {
	s := func(who string, round int, p50, p99, copied float64) Sample {
		return Sample{Set: "foreground", Job: "j", Contender: who, Round: round, P50: p50, P99: p99, BesideMiBs: copied}
	}
	r := &Result{Samples: []Sample{s("copy", 0, 20, 300, 700), s("nothing", 0, 10, 100, 0), s("nothing", 1, 20, 400, 0), s("copy", 1, 80, 400, 900)}}
	table := r.foreground()
	rows(t, table, "| nothing | 15.0 | 250 | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | – |", "| copy | 50.0 | 350 | 3.00 (2.50–3.50) | 2.00 (1.50–2.50) | 800 |")
	if strings.Index(table, "| nothing") > strings.Index(table, "| copy") {
		t.Error(table)
	}
}

func TestCollecting(t *testing.T) {
	s := func(who string, p99 float64, asked, collections int) Sample {
		return Sample{Set: "gc", Job: "j", Contender: who, IOPS: 1000, P50: 5, P99: p99, Asked: asked, Collections: collections}
	}
	const kublk, besideAsking = "kublk stripe, zero-copy, no scheduler", "kublk stripe, zero-copy, no scheduler, another server asked"
	r := &Result{Samples: []Sample{s(kublk, 50, 0, 0), s(besideAsking, 80, 20, 1), s("ublk-linear", 100, 0, 0), s("ublk-linear, asked", 120, 20, 19)}}
	rows(t, r.collecting(), "| ublk-linear | 1000 | 5.00 | 100 | 1.00 | 2.00 | 0 | 0 |", "| ublk-linear, asked | 1000 | 5.00 | 120 | 1.20 | 1.50 | 19.0 | 20.0 |",
		"| "+kublk+" | 1000 | 5.00 | 50.0 | 0.50 | 1.00 | 0 | 0 |", "| "+besideAsking+" | 1000 | 5.00 | 80.0 | 0.80 | 1.00 | 1.00 | 20.0 |")
	if got := (&Result{Samples: []Sample{s("kublk stripe, zero-copy", 1, 0, 0)}}).collecting(); got != "" {
		t.Errorf("a table without what it compares with: %s", got)
	}
	for name, text := range map[string]string{"copies": (&Result{}).copies(), "stripes": (&Result{}).copyStripes(), "small": (&Result{}).copySmall(), "foreground": (&Result{}).foreground()} {
		if text != "" {
			t.Errorf("%s of nothing: %q", name, text)
		}
	}
}
