package fault

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
)

var ops = []Op{Read, Write, Flush, Discard, WriteZeroes}

// cmd is a command of a test.
type cmd struct {
	disk target.Disk
	op   Op
	at   target.Range
}

// slow is a second opinion: it keeps every command that a rule saw, and counts them anew each time.
type slow struct {
	rules []Rule
	saw   [][]cmd // by rule
	acted []uint64
}

func (s *slow) match(c cmd) (Action, int) {
	for i, r := range s.rules {
		if r.Disk != c.disk || r.Ops&c.op == 0 {
			continue
		}
		if r.Range.Len > 0 {
			touched := false
			for x := c.at.Start; x < c.at.End(); x++ {
				touched = touched || x >= r.Range.Start && x < r.Range.End()
			}
			if !touched {
				continue
			}
		}
		if k := r.Action.Kind; (k == Torn || k == Short) && c.at.Len <= r.Action.Sectors {
			continue
		}
		s.saw[i] = append(s.saw[i], c)
		n := uint64(len(s.saw[i]))
		act := true
		if r.Nth > 0 {
			act = n == r.Nth
		}
		if r.Every > 0 {
			act = n/r.Every*r.Every == n
		}
		if r.Probability > 0 {
			act = float64(draw(r.Seed, n))/(1<<64) < r.Probability
		}
		if act && (r.Count == 0 || s.acted[i] < r.Count) {
			s.acted[i]++
			return r.Action, i
		}
	}
	return Action{}, -1
}

func drawRule(t *rapid.T) Rule {
	r := Rule{Disk: target.Disk(rapid.IntRange(0, 2).Draw(t, "disk")), Ops: Op(rapid.IntRange(1, int(Any)).Draw(t, "ops"))}
	if rapid.Bool().Draw(t, "ranged") {
		r.Range = target.Range{Start: rapid.Uint64Range(0, 40).Draw(t, "start"), Len: rapid.Uint64Range(1, 30).Draw(t, "len")}
	}
	switch rapid.IntRange(0, 3).Draw(t, "when") {
	case 0:
		r.Nth = rapid.Uint64Range(1, 6).Draw(t, "nth")
	case 1:
		r.Every = rapid.Uint64Range(1, 6).Draw(t, "every")
	case 2:
		r.Probability = rapid.Float64Range(0.05, 1).Draw(t, "probability")
		r.Seed = rapid.Uint64().Draw(t, "seed")
	}
	if r.Nth == 0 && rapid.Bool().Draw(t, "bounded") {
		r.Count = rapid.Uint64Range(1, 4).Draw(t, "count")
	}
	r.Action = Action{Kind: Kind(rapid.IntRange(1, int(Hang)).Draw(t, "kind")), Errno: rapid.IntRange(1, 100).Draw(t, "errno"), Sectors: rapid.Uint64Range(1, 8).Draw(t, "sectors")}
	return r
}

func drawCmd(t *rapid.T) cmd {
	c := cmd{disk: target.Disk(rapid.IntRange(0, 3).Draw(t, "disk")), op: rapid.SampledFrom(ops).Draw(t, "op")}
	if c.op != Flush {
		c.at = target.Range{Start: rapid.Uint64Range(0, 60).Draw(t, "start"), Len: rapid.Uint64Range(1, 20).Draw(t, "len")}
	}
	return c
}

// Every answer and every counter is the slow reference's; a second Set gives the same answers as the first.
func TestMatchIsTheReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 1, 5).Draw(t, "rules")
		s, twin := New(rules), New(rules)
		ref := &slow{rules: rules, saw: make([][]cmd, len(rules)), acted: make([]uint64, len(rules))}
		for _, c := range rapid.SliceOfN(rapid.Custom(drawCmd), 1, 60).Draw(t, "commands") {
			want, _ := ref.match(c)
			if got := s.Match(c.disk, c.op, c.at); got != want {
				t.Fatalf("%+v: %+v, want %+v", c, got, want)
			}
			if got := twin.Match(c.disk, c.op, c.at); got != want {
				t.Fatalf("%+v: the second time %+v, want %+v", c, got, want)
			}
		}
		for i := range rules {
			if seen, hits := s.Counts(i); seen != uint64(len(ref.saw[i])) || hits != ref.acted[i] {
				t.Fatalf("rule %d: %d seen, %d hits; want %d and %d", i, seen, hits, len(ref.saw[i]), ref.acted[i])
			}
		}
	})
}

// hitsOf is which of n reads of one sector a rule acts on, from 1.
func hitsOf(r Rule, n int) (out []int) {
	r.Ops, r.Action = Read, Action{Kind: Fail, Errno: 5}
	s := New([]Rule{r})
	for i := range n {
		if s.Match(0, Read, target.Range{Start: 7, Len: 1}).Kind != None {
			out = append(out, i+1)
		}
	}
	return out
}

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want []int
	}{
		{Rule{}, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{Rule{Nth: 1}, []int{1}},
		{Rule{Nth: 3}, []int{3}},
		{Rule{Nth: 9}, nil},
		{Rule{Every: 1}, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{Rule{Every: 3}, []int{3, 6}},
		{Rule{Every: 3, Count: 1}, []int{3}},
		{Rule{Count: 5}, []int{1, 2, 3, 4, 5}},
		{Rule{Probability: 1}, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		// Written down: a seed must give the same in every version, or a test that was found with it is lost.
		{Rule{Probability: 0.5, Seed: 7}, []int{1, 2, 5, 6, 7, 8}},
		{Rule{Probability: 0.5, Seed: 7, Count: 2}, []int{1, 2}},
	} {
		got := hitsOf(c.rule, 8)
		if len(got) != len(c.want) {
			t.Errorf("%+v: %v, want %v", c.rule, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%+v: %v, want %v", c.rule, got, c.want)
				break
			}
		}
	}
}

// A probability is what it says, for any seed: within five standard deviations of 200000 commands.
func TestProbability(t *testing.T) {
	for seed := range uint64(5) {
		for _, p := range []float64{0.001, 0.01, 0.5, 0.999} {
			const n = 200000
			got := float64(len(hitsOf(Rule{Probability: p, Seed: seed}, n)))
			if d := got - n*p; d*d > 25*n*p*(1-p) {
				t.Errorf("seed %d: %v hits of %d with %v", seed, got, n, p)
			}
		}
	}
}

// A copy is seen once by a rule, whichever of its places the rule is about; rules of other disks and kinds do not see it.
func TestMatchCopy(t *testing.T) {
	ext := func(d target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: d, Range: target.Range{Start: start, Len: n}}
	}
	fail := Action{Kind: Fail, Status: 0x183, Result: 2}
	rules := []Rule{
		{Disk: 0, Ops: Read | Write, Action: fail},
		{Disk: 0, Ops: Copy, Range: target.Range{Start: 100, Len: 10}, Nth: 2, Action: fail},
		{Disk: 1, Ops: Any, Range: target.Range{Start: 50, Len: 8}, Action: Action{Kind: Torn, Sectors: 16, Errno: 5}},
	}
	s := New(rules)
	for i, c := range []struct {
		dst     target.Extent
		sources []target.Extent
		want    int
	}{
		{ext(3, 100, 16), []target.Extent{ext(2, 50, 16)}, -1},                 // of other disks
		{ext(1, 0, 16), []target.Extent{ext(0, 99, 1), ext(0, 110, 15)}, -1},   // beside the range
		{ext(1, 0, 16), []target.Extent{ext(0, 102, 8), ext(0, 104, 8)}, -1},   // seen once: the first
		{ext(0, 109, 16), []target.Extent{ext(0, 200, 8), ext(0, 100, 8)}, 1},  // the second
		{ext(0, 109, 16), []target.Extent{ext(0, 200, 8), ext(0, 100, 8)}, -1}, // the third
		{ext(1, 48, 16), []target.Extent{ext(2, 0, 16)}, -1},                   // not longer than what would be torn
		{ext(1, 48, 17), []target.Extent{ext(2, 0, 17)}, 2},
		{ext(3, 0, 20), []target.Extent{ext(1, 57, 20)}, 2},
		{ext(3, 0, 20), []target.Extent{ext(1, 58, 20)}, -1},
	} {
		a, rule := s.MatchCopy(c.dst, c.sources)
		if rule != c.want || rule >= 0 && a != rules[rule].Action || rule < 0 && a != (Action{}) {
			t.Errorf("%d: rule %d (%+v), want %d", i, rule, a, c.want)
		}
	}
	for i, want := range [][2]uint64{{0, 0}, {3, 1}, {2, 2}} {
		if seen, hits := s.Counts(i); seen != want[0] || hits != want[1] {
			t.Errorf("rule %d: %d seen, %d hits, want %v", i, seen, hits, want)
		}
	}
	if a, rule := (*Set)(nil).MatchCopy(ext(0, 0, 8), nil); a != (Action{}) || rule != -1 {
		t.Error("a set without rules acts")
	}
}

// Goroutines that ask at once share the counters: not one hit more or less.
func TestAtOnce(t *testing.T) {
	s := New([]Rule{
		{Disk: 1, Ops: Read, Nth: 777, Action: Action{Kind: Fail, Errno: 1}},
		{Disk: 1, Ops: Read, Every: 10, Action: Action{Kind: Fail, Errno: 2}},
		{Disk: 1, Ops: Read, Count: 50, Action: Action{Kind: Fail, Errno: 3}},
	})
	var wg sync.WaitGroup
	var hits [4]atomic.Uint64
	for w := range uint64(8) {
		wg.Go(func() {
			for range 1000 {
				hits[s.Match(1, Read, target.Range{Start: w, Len: 1}).Errno].Add(1)
			}
		})
	}
	wg.Wait()
	// 8000 came; the first rule took one, the second a tenth of the rest, the third 50.
	for i, want := range []uint64{8000 - 1 - 799 - 50, 1, 799, 50} {
		if got := hits[i].Load(); got != want {
			t.Errorf("errno %d: %d times, want %d", i, got, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	s := New([]Rule{{Disk: 2, Ops: Any, Probability: 0.5, Action: Action{Kind: Fail, Errno: 5}}, {Disk: 2, Ops: Read, Every: 3, Action: Action{Kind: Hang}}})
	r := rand.New(rand.NewPCG(1, 2))
	if n := testing.AllocsPerRun(1000, func() {
		for d := range target.Disk(4) {
			s.Match(d, ops[r.IntN(len(ops))], target.Range{Start: 1, Len: 8})
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.Disk(1) != nil || s.Disk(9) != nil || (*Set)(nil).Disk(0) != nil || New(nil) != nil {
		t.Error("a disk without rules has some")
	}
}
