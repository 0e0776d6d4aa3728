package step

import (
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	// What is counted is a program of its own: that these are imported here has go test see that they changed.
	_ "github.com/ublk-go/ublk-linear/remap"
	_ "github.com/ublk-go/ublk-linear/target/linear"
	_ "github.com/ublk-go/ublk-linear/target/stripe"
)

const module = "github.com/ublk-go/ublk-linear/"

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stepwork")
	cmd := exec.Command("go", "build", "-o", program, "../../cmd/stepwork")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// count counts the mapping of 64 requests, by the package's name.
func count(t *testing.T, program, work string) (map[string]int, int) {
	t.Helper()
	n, err := Count(program, strings.Fields(work), func(s string) bool {
		return strings.HasPrefix(s, module+"remap.") || strings.HasPrefix(s, module+"target/")
	})
	if errors.Is(err, syscall.EPERM) {
		t.Skip("ptrace is forbidden here: ", err)
	}
	if err != nil {
		t.Fatalf("%s: %v", work, err)
	}
	total := 0
	for _, v := range n {
		total += v
	}
	return n, total
}

// A table lookup with 10,000 segments costs no more than twice one with 2, in instructions. Where segments are of like
// length it costs the same, whatever their number. The worst that there is, all of them crowded into a corner of the device,
// is still a search by halves.
func TestLookupCostsTheSame(t *testing.T) {
	program := build(t)
	_, two := count(t, program, "even 2")
	if two < 64*20 {
		t.Fatalf("%d instructions for 64 requests: too few to be true", two)
	}
	for work, bound := range map[string]float64{"even 10000": 1.02, "uneven 10000": 1.5, "skewed 10000": 3} {
		_, n := count(t, program, work)
		t.Logf("%s: %.1f instructions a request, %.2f × that of 2", work, float64(n)/64, float64(n)/float64(two))
		if float64(n) > bound*float64(two) {
			t.Errorf("%s: %d instructions, 2 segments take %d: more than %.2f ×", work, n, two, bound)
		}
	}
}

// A count is the same each time, whatever else the machine does.
func TestCountIsExact(t *testing.T) {
	program := build(t)
	const work = "striped 4 128 8"
	first, _ := count(t, program, work)
	if len(first) != 2 || first[module+"remap.(*Table).Map"] == 0 || first[module+"target/stripe.(*Stripe).Map"] == 0 {
		t.Errorf("counted %v", first)
	}
	if again, _ := count(t, program, work); !maps.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
}

func TestCountErrors(t *testing.T) {
	program := build(t)
	all := func(string) bool { return true }
	if _, err := Count(program, []string{"nonsense"}, all); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a program that fails: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	cmd := exec.Command("go", "build", "-o", other, "./testdata/unmarked")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := Count(other, nil, all); !errors.Is(err, ErrMarks) {
		t.Errorf("a program without marks: %v", err)
	}
	if _, err := Count("/nonexistent", nil, all); err == nil {
		t.Error("no program, and no error")
	}
}

// A function that is made to yield at its begin is counted once.
func TestTallyOfAYield(t *testing.T) {
	tl := &tally{funcs: []function{{100, 200, "f"}, {300, 400, "runtime.morestack_noctxt.abi0"}, {500, 600, "runtime.gopreempt"}, {700, 800, "g"}},
		keep: func(s string) bool { return s == "f" || s == "g" }, at: map[uint64]place{}, counts: map[string]*int{}}
	for _, pc := range []uint64{100, 101, 150, 700, 701, 300, 500, 501, 750, 700, 701, 702, 151, 999} {
		tl.add(pc)
	}
	if got := tl.result(); !maps.Equal(got, map[string]int{"f": 4, "g": 3}) {
		t.Errorf("%v", got)
	}
}
