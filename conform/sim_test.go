package conform

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/copy/sim"
)

// simGeometries are QEMU's disks of the VM tests, and one that bounds nothing, as nvmet does.
var simGeometries = []struct {
	name string
	sim.Config
}{
	{"4Kn", sim.Config{Block: 4096, MSSRL: 16, MCL: 40, MSRC: 3, Bytes: 4096 * 512}},
	{"512", sim.Config{Block: 512, MSSRL: 128, MCL: 128, MSRC: 127, Bytes: 512 * 1024}},
	{"unbounded", sim.Config{Block: 512, MSRC: sim.MostMSRC, Bytes: 512 * 1024}},
}

// everyCopy finds what leaves a part of every copy out.
const everyCopy = "one-block one-range gather-in-order gather-single-blocks sources-overlap-each-other ranges-most range-longest total-most device-end " +
	"overlap-forward-one overlap-backward-one overlap-forward-ranges overlap-backward-ranges source-unreadable unflushed-write-seen read-after-completion " +
	"fua-read-back fua-durable flush-durable concurrent-copies concurrent-io race-write-source race-read-destination random-requests"

// simulated says which scenarios find which misbehaviour: on 4Kn, to which all apply, exactly finds. Elsewhere it is those of
// them that apply there, and what but says otherwise.
var simulated = []struct {
	name  string
	finds []string
	but   map[string]string // by geometry: "-scenario" and "+scenario"
}{
	{"mssrl-overstated", fields("range-longest total-most random-requests random-limits"), buts("unbounded", "-random-requests -random-limits")},
	// What is over MSSRL on the 512 is over MCL too, and refused for that; on the unbounded one no command is as long.
	{"mssrl-understated", fields("range-over range-over-second random-limits"), buts("512", "-range-over -random-limits", "unbounded", "-random-limits")},
	{"mssrl-ignored", fields("range-over range-over-second random-limits"), buts("512", "-range-over -random-limits", "unbounded", "-random-limits")},
	{"mcl-overstated", fields("total-most random-requests random-limits"), buts("512", "+gather-single-blocks +ranges-most +range-longest", "unbounded", "-random-requests -random-limits")},
	{"mcl-understated", fields("total-over random-limits"), buts("unbounded", "-random-limits")},
	{"mcl-ignored", fields("total-over random-limits"), buts("unbounded", "-random-limits")},
	{"msrc-overstated", fields("gather-in-order gather-single-blocks ranges-most random-requests random-limits"), buts("512", "-gather-in-order -random-requests -random-limits", "unbounded", "-gather-in-order -random-requests -random-limits")},
	// 129 ranges of a block are over MCL, too.
	{"msrc-understated", fields("ranges-over random-limits"), buts("512", "-ranges-over -random-limits", "unbounded", "-random-limits")},
	{"msrc-ignored", fields("ranges-over random-limits"), buts("512", "-ranges-over -random-limits", "unbounded", "-random-limits")},
	{"mcl-zero", fields("identify-sane one-block one-range gather-in-order gather-single-blocks sources-overlap-each-other ranges-most range-longest lba-first-out lba-second-out lba-last-out lba-wraps destination-out device-end " +
		"overlap-onto-itself overlap-forward-one overlap-backward-one overlap-forward-ranges overlap-backward-ranges source-unreadable unflushed-write-seen fua-read-back fua-durable flush-durable concurrent-copies concurrent-io random-requests"), nil},
	{"mcl-below-mssrl", fields("identify-sane"), nil},
	{"limits-late", fields("range-over-second"), nil},
	{"lba-late", nil, nil},
	{"lba-first-only", fields("lba-second-out lba-last-out"), nil},
	{"lba-wrapped", fields("lba-first-out lba-second-out lba-last-out lba-wraps"), nil},
	{"end-off-by-one", fields("device-end"), buts("unbounded", "+random-requests +random-limits")}, // their arena is all of the device
	{"destination-clipped", fields("destination-out"), nil},
	{"size-status", fields("ranges-over range-over total-over range-over-second random-limits"), buts("unbounded", "-random-limits")},
	{"lba-status", fields("lba-first-out lba-second-out lba-last-out lba-wraps destination-out"), nil},
	{"dw0-high", fields("ranges-over range-over total-over range-over-second-dw0 lba-first-out lba-second-out lba-last-out source-unreadable"), nil},
	{"dw0-low", fields("source-unreadable"), nil},
	{"dw0-missing", fields("source-unreadable"), nil},
	{"success-on-error", fields("source-unreadable"), nil},
	{"overlap-refused", nil, nil},
	{"overlap-forward", fields("overlap-forward-ranges"), nil},
	{"overlap-blocks", fields("overlap-forward-one overlap-forward-ranges"), nil},
	{"ranges-reversed", fields("overlap-backward-ranges"), nil},
	{"ranges-reordered", fields("overlap-forward-ranges overlap-backward-ranges"), nil},
	{"sources-sorted", fields("gather-in-order gather-single-blocks random-requests"), nil},
	{"copies-less", fields(everyCopy), nil},
	{"copies-more", fields("one-block one-range gather-in-order gather-single-blocks sources-overlap-each-other guard-blocks ranges-most range-longest total-most " +
		"overlap-forward-one overlap-backward-one overlap-forward-ranges overlap-backward-ranges unflushed-write-seen write-after-copy fua-read-back fua-durable flush-durable concurrent-copies concurrent-io race-write-source race-read-destination random-requests"), nil},
	{"writes-before", fields("one-block one-range gather-in-order gather-single-blocks sources-overlap-each-other guard-blocks ranges-most range-longest total-most device-end " +
		"overlap-forward-one overlap-backward-one overlap-forward-ranges overlap-backward-ranges source-unreadable unflushed-write-seen write-after-copy fua-read-back fua-durable flush-durable concurrent-copies concurrent-io race-write-source race-read-destination random-requests"), nil},
	{"nlb-ones-based", fields(everyCopy), nil},
	{"nr-ones-based", fields(everyCopy), nil},
	{"fua-ignored", fields("fua-durable"), nil},
	{"fua-dropped", fields("fua-read-back fua-durable random-requests"), nil},
	{"flush-skips-copies", fields("flush-durable"), nil},
	{"cache-passed", fields("unflushed-write-seen random-requests"), nil},
	{"read-cache-stale", fields("read-after-completion"), nil},
	{"lands-twice", fields("write-after-copy"), nil},
	{"torn-blocks", fields("race-write-source race-read-destination"), nil},
	{"lists-mixed", fields("concurrent-copies"), nil},
	{"hangs", fields("ends-in-time"), nil},
}

// simPerhaps are the scenarios in which chance decides whether a misbehaviour is seen.
var simPerhaps = map[string]string{
	"lands-twice": "random-requests", // if a small write is where the copy before it went
}

func fields(s string) []string { return strings.Fields(s) }

func buts(pairs ...string) map[string]string {
	out := map[string]string{}
	for p := range slices.Chunk(pairs, 2) {
		out[p[0]] = p[1]
	}
	return out
}

func simTarget(t *testing.T, c sim.Config, seed uint64, misbehave ...string) *Sim {
	t.Helper()
	c.Misbehave, c.Seed, c.Cache, c.Clock = misbehave, seed, true, &sim.VirtualClock{}
	d, err := sim.New(c, sim.NewMemory(c.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSim("simulated", d, 0, c.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// watched are the misbehaviours that are run where every memory access is watched, each on the smallest device: there it is
// races of the code that are looked for, and a run takes ten times as long.
var watched = []string{"overlap-forward", "dw0-low", "fua-ignored", "read-cache-stale", "lands-twice", "torn-blocks", "lists-mixed", "hangs"}

// seedsOf are the seeds that a misbehaviour is run with on a geometry.
func seedsOf(name, geometry string) []uint64 {
	switch {
	case raceEnabled && geometry == "512" && slices.Contains(watched, name):
		return []uint64{1}
	case raceEnabled:
		return nil
	case geometry == "512": // the smallest
		return []uint64{0, 1}
	case geometry == "4Kn":
		return []uint64{2}
	}
	return []uint64{3}
}

// TestSim: a simulated device as it is made conforms, whatever its limits and the seed, and all applies to the first.
func TestSim(t *testing.T) {
	for i, g := range simGeometries {
		for seed := range uint64(3) {
			if raceEnabled && seed != uint64(i) {
				continue
			}
			t.Run(fmt.Sprint(g.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				r := run1(t, simTarget(t, g.Config, seed), Options{Seed: seed, Rounds: 60})
				if r.Differ > 0 || !r.Complete || r.Conform < 30 || i == 0 && r.Skipped > 0 {
					t.Error(r.Summary())
				}
			})
		}
	}
}

// TestSimulated: of every misbehaviour of a simulated device exactly the scenarios that should differ do, on every geometry.
func TestSimulated(t *testing.T) {
	applies := map[string][]string{}
	for _, g := range simGeometries {
		for _, res := range run1(t, simTarget(t, g.Config, 0), Options{Rounds: 1}).Results {
			if res.Outcome == Conforms {
				applies[g.name] = append(applies[g.name], res.Name)
			}
		}
	}
	all := sim.Misbehaviours()
	if len(all) != len(simulated) {
		t.Fatalf("%d misbehaviours, %d in the table", len(all), len(simulated))
	}
	for i, c := range simulated {
		if c.name != all[i].Name || len(c.finds) == 0 != all[i].Allowed {
			t.Errorf("%q in the table, %+v", c.name, all[i])
		}
		for _, g := range simGeometries {
			want := slices.DeleteFunc(slices.Clone(c.finds), func(n string) bool {
				return !slices.Contains(applies[g.name], n) || slices.Contains(strings.Fields(c.but[g.name]), "-"+n)
			})
			for _, n := range strings.Fields(c.but[g.name]) {
				if plus, ok := strings.CutPrefix(n, "+"); ok {
					want = append(want, plus)
				} else if !slices.Contains(c.finds, n[1:]) {
					t.Errorf("%s on %s: %s is of no use", c.name, g.name, n)
				}
			}
			for _, seed := range seedsOf(c.name, g.name) {
				t.Run(fmt.Sprint(c.name, " ", g.name, " ", seed), func(t *testing.T) {
					t.Parallel()
					r := run1(t, simTarget(t, g.Config, seed, c.name), Options{Seed: seed, Rounds: 60})
					same(t, c.name, r, want)
				})
			}
		}
	}
}

// same compares what differs with what should, without regard to the order.
func same(t *testing.T, name string, r *Report, want []string) {
	t.Helper()
	got := slices.DeleteFunc(r.Differing(), func(n string) bool { return n == simPerhaps[name] })
	want = slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%s: differ\n%q\nshould\n%q", name, got, want)
	for _, res := range r.Results {
		if res.Outcome == Differs && !slices.Contains(want, res.Name) {
			t.Log(res.Name, ": ", res.Happened)
		}
	}
}

// TestSimTogether: misbehaviours add up. The three of QEMU are what is measured on it.
func TestSimTogether(t *testing.T) {
	r := run1(t, simTarget(t, simGeometries[0].Config, 1, "overlap-forward", "limits-late", "lba-late"), Options{Seed: 1, Rounds: 60})
	same(t, "QEMU", r, []string{"range-over-second", "overlap-forward-ranges"})
	r = run1(t, simTarget(t, simGeometries[1].Config, 1, "overlap-forward", "limits-late", "lba-late"), Options{Seed: 1, Rounds: 60})
	same(t, "QEMU", r, []string{"overlap-forward-ranges"})
}

// TestSimRegion: a region that is not the whole device is held to, and its ends are the device's.
func TestSimRegion(t *testing.T) {
	c := simGeometries[0].Config
	d, err := sim.New(c, sim.NewMemory(c.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	const start, length = 64 << 10, 1 << 20
	x, err := NewSim("part", d, start, length)
	if err != nil {
		t.Fatal(err)
	}
	around, err := Surround(t.Context(), d.ReadAt, uint64(c.Block), c.Bytes, start, length)
	if err != nil {
		t.Fatal(err)
	}
	if r := run1(t, x, Options{Seed: 2, Rounds: 40}); r.Differ > 0 || r.Conform < 35 {
		t.Error(r.Summary())
	}
	if e, err := around.Check(t.Context()); err != nil || !e.Untouched {
		t.Error(err, e)
	}
	for _, bad := range [][2]uint64{{0, 4 << 20}, {4 << 20, 4096}, {512, 1 << 20}, {0, 127 * 4096}} {
		if _, err := NewSim("part", d, bad[0], bad[1]); err == nil {
			t.Errorf("a region of %d at %d", bad[1], bad[0])
		}
	}
}

// TestSimDoc: docs/conform.md has every misbehaviour, with the words of the code and the scenarios that find it.
func TestSimDoc(t *testing.T) {
	b, err := os.ReadFile("../docs/conform.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range sim.Misbehaviours() {
		if row := simRow(m, simulated[i].finds); !strings.Contains(string(b), row) {
			t.Errorf("docs/conform.md has no row\n%s", row)
		}
	}
}

func simRow(m sim.Misbehaviour, finds []string) string {
	by := "nothing: it is allowed"
	if len(finds) > 0 {
		by = "`" + strings.Join(finds, "`, `") + "`"
	}
	if m.Alone {
		by += " (conform only)"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", m.Name, m.What, m.Why, by)
}
