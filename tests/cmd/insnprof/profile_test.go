package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

var update = flag.Bool("update", false, "write testdata/tables.md")

const someCounts = `window 1
who 0 0 (none)
who 1 8 fio
who 2 4 tool0
who 3 2 swapper/0
who 4 2 swapper/1
who 5 1 kworker/0:1
who 6 1 iou-wrk-12
who 7 9 kublk
who 8 1 iou-wrk-99
block ffffffff81000000 10 2 6
block ffffffff81000004 2 2 1
block ffffffffc0001000 5 2 3
block ffffffffc0001000 5 1 1
block ffffffffc0001010 1 2 2
block 401000 4 2 4
block 7ffff7fc1000 3 2 4
block 401000 100 1 4
block ffffffff81000000 10 3 2
block ffffffff81000000 10 4 1
block ffffffff81000000 1 5 1
block ffffffff81000000 1 6 4
block ffffffffd0000000 2 2 2
block ffffffff81000000 1 8 3
end
`

func someProfile(t *testing.T) *profile {
	t.Helper()
	kernel, err := kallsyms("ffffffff81000000 T schedule\nffffffffc0001000 t ublk_init_iod.isra.0\t[ublk_drv]\nffffffffc0001100 t end\t[ublk_drv]\n")
	if err != nil {
		t.Fatal(err)
	}
	all, err := readCounts(strings.NewReader(someCounts))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d windows, %v", len(all), err)
	}
	w := bench.Window{Sample: bench.Sample{Job: "4K"}, Program: "ublk-linear", Scheduler: "none", Tasks: []string{"tool0", "iou-wrk-12"}, Nanos: 4000, Busy: 500}
	p, err := attribute(w, all[0], kernel, symbols{{0x401000, 0x402000, module + "ublk.(*queue).run"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Four requests: three came to the server, one to the client's own time; a block inside the function is no request.
func TestAttribute(t *testing.T) {
	p := someProfile(t)
	want := &profile{
		Window: p.Window, Requests: 4, User: (4*4 + 3*4) / 4.0, Kernel: (60 + 2 + 15 + 2 + 4 + 4) / 4.0, Client: (5 + 400 + 3) / 4.0, Switches: 5 / 4.0,
		Others: map[string]float64{"swapper": 30 / 4.0, "kworker": 1 / 4.0},
		Functions: map[string]float64{
			"schedule": 66 / 4.0, "ublk_init_iod.isra.0 [ublk_drv]": 17 / 4.0, "(no symbol)": 4 / 4.0,
			"* ublk.(*queue).run": 16 / 4.0, "* (no symbol: vdso, libraries)": 12 / 4.0,
		},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := attribute(p.Window, &counted{}, nil, nil); err == nil {
		t.Error("a window without requests")
	}
}

func TestReadCounts(t *testing.T) {
	for text, why := range map[string]string{
		"window 1\nwho 1 1 a\n":             "cut short",
		"window 2\nend\n":                   "the first is missing",
		"who 1 1 a\n":                       "no window",
		"window 1\nwindow 2\nend\n":         "a window in a window",
		"window 1\nblock 1 1 1 1\nend\n":    "nobody",
		"window 1\nwho 1 a\nend\n":          "no name",
		"window 1\nblock x\nend\n":          "no address",
		"window 1\nsomething\nend\n":        "no word of it",
		"window 1\nend\nwindow 1\nend\n":    "twice the same",
		"window 1\nwho 1 x a\nend\n":        "no number",
		"window 1\nwho 1 1 a\nblock 1 1 1 ": "cut short in a line",
	} {
		if _, err := readCounts(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error: %s", text, why)
		}
	}
}

// What a run leaves is read together; a window that one side knows of only is an error.
func TestProfiles(t *testing.T) {
	needGCC(t)
	o := &options{dir: t.TempDir()}
	if said, err := exec.Command("gcc", "-no-pie", "-o", o.server("a"), "testdata/guest.c", "plugin/plugin.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	at, err := address(o.server("a"), "main")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kallsyms", "ffffffffc0001000 t ublk_init_iod\t[ublk_drv]\n")
	write("windows.json", `[{"job":"4K","contender":"it","program":"a","tasks":["it"],"nanos":1}]`)
	counts := fmt.Sprintf("window 1\nwho 1 1 it\nblock ffffffffc0001000 1 1 2\nblock %x 3 1 4\nend\n", at)
	write(countsFile, counts)
	all, err := profiles(o)
	if err != nil || len(all) != 1 || all[0].Functions["* main"] != 6 || all[0].Kernel != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	write(countsFile, counts+strings.Replace(counts, "window 1", "window 2", 1))
	if _, err := profiles(o); err == nil || !strings.Contains(err.Error(), "1 windows were opened, and 2 counted") {
		t.Errorf("another window: %v", err)
	}
	write(countsFile, counts)
	if err := os.Remove(o.server("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := profiles(o); err == nil {
		t.Error("a program that is not there has symbols")
	}
}

func TestTables(t *testing.T) {
	ours := someProfile(t)
	theirs := &profile{
		Window: bench.Window{Sample: bench.Sample{Job: "4K"}, Program: "kublk", Scheduler: "mq-deadline", Nanos: 2000, Busy: 100}, Requests: 10,
		User: 3, Kernel: 20, Client: 100, Others: map[string]float64{"swapper": 8}, Switches: 1,
		Functions: map[string]float64{"schedule": 16, "dd_dispatch_request": 4, "* ublk_stripe_queue_io": 3},
	}
	another := someProfile(t)
	another.Window.Job = "1M"
	var got strings.Builder
	for _, differ := range []bool{false, true} {
		for _, s := range tables([]*profile{ours, another, theirs}, 4, differ) {
			got.WriteString(s + "\n")
		}
	}
	const golden = "testdata/tables.md"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
