package e2e

import (
	"testing"
)

// A disk in memory that says nvme is a simulated namespace of the server: copies inside it, and to another of its domain, are
// offloaded whole, what its limits do not hold is many commands, and the data is memmove's. One that refuses copies is copied
// by reading and writing.
func TestSimulatedCopy(t *testing.T) {
	anyKernel(t)
	const more = "mssrl = 128\nmcl = 256\nmsrc = 3\n"
	s := up(t, "version = 1\n[disk.a]\nmemory = \"24MiB\"\n[disk.a.copy]\nmethod = \"nvme\"\ndomain = \"n\"\nseed = 3\nlatency = \"1ms\"\n"+more+
		"[disk.b]\nmemory = \"24MiB\"\n[disk.b.copy]\nmethod = \"nvme\"\ndomain = \"n\"\nmisbehave = [\"lba-late\", \"limits-late\", \"overlap-forward\"]\n"+more+
		"[disk.c]\nmemory = \"8MiB\"\n[disk.c.copy]\nmethod = \"nvme\"\nmisbehave = [\"mcl-zero\"]\n"+
		tableDevice("lin", "0 20000 linear a 8\n20000 20000 linear b 1024")+
		tableDevice("str", "0 4800 striped 2 24 a 30000 b 30000")+
		tableDevice("bad", "0 16000 linear c 0"))
	for i, c := range []struct {
		copies
		all bool // offloaded
	}{
		{copies{src: "lin", from: 100, dst: "lin", to: 9000, n: 8000}, true},
		{copies{src: "lin", from: 19000, dst: "lin", to: 30000, n: 5000}, true}, // from both to one
		{copies{src: "lin", from: 7, dst: "str", to: 11, n: 4000}, true},
		{copies{src: "lin", from: 1000, dst: "lin", to: 1064, n: 3000, policy: []string{"--fua"}}, false}, // onto itself: as much as may be
		{copies{src: "bad", from: 0, dst: "bad", to: 8000, n: 4000}, false},
	} {
		scribble(t, s.dev[c.src], uint64(i)*2+1)
		if c.dst != c.src {
			scribble(t, s.dev[c.dst], uint64(i)*2+2)
		}
		out := c.expect(t, s)
		switch {
		case c.all && (out.Offloaded != c.n*512 || out.Host != 0 || out.ByMethod["nvme"] < c.n/256):
			t.Errorf("%v: not offloaded: %+v", c.copies, out)
		case c.src == "bad" && (out.Offloaded != 0 || out.Emulated != c.n*512 || len(out.Fallbacks) == 0):
			t.Errorf("%v: %+v", c.copies, out)
		}
	}
}
