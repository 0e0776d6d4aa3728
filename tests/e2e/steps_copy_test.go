package e2e

import (
	"strings"
	"testing"
)

// Without a server nothing is copied on the disks of a device that waits for one, by this file or by another: what waits is
// written later. By force it is, and when the device has been taken over or removed.
func TestCopyBesideOrphans(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b, c := nullBlk(t, 16), nullBlk(t, 16), nullBlk(t, 16)
	text := pathDisks(a, b, c) + tableDevice("data", "0 8192 linear a 8") + tableDevice("free", "0 8192 linear b 0\n8192 8192 linear c 0")
	file := writeConfig(t, text)
	other := writeConfig(t, pathDisks(b, a)+tableDevice("mine", "0 4096 linear b 16384")+tableDevice("theirs", "0 4096 linear a 0"))
	copies := func(file string, want int, args ...string) string {
		t.Helper()
		return exits(t, want, append([]string{"copy", "-c", file, "--progress", "never"}, args...)...)
	}
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	load := startBlocks(t, s.dev["data"], 8192, false)
	load.moves(20)
	s.crash()
	for _, x := range []struct {
		file string
		args []string
		say  []string
	}{
		{file, []string{"data:0s+64s", "free:0s"}, []string{"device data", "device free", "waits for its server"}},
		{file, []string{"free:0s+64s", "free:8192s"}, []string{"device free", "disk b"}},
		{other, []string{"mine:0s+64s", "mine:128s"}, []string{"device data", "disk b (" + a + ")", file}},
		{other, []string{"theirs:0s+64s", "theirs:128s"}, []string{"device free", "disk a (" + b + ")", file}},
	} {
		out := copies(x.file, 4, x.args...)
		for _, say := range x.say {
			if !strings.Contains(out, say) {
				t.Errorf("%v: no %q in\n%s", x.args, say, out)
			}
		}
	}
	copies(other, 0, "mine:0s+64s", "mine:128s", "--force")
	if s, err = tryUp(t, file); err != nil {
		t.Fatal(err)
	}
	load.moves(20)
	load.end()
	s.down()
	copies(other, 0, "mine:0s+64s", "mine:128s")
	copies(file, 0, "data:0s+64s", "free:0s")
	nothingLeft(t, a, b, c)
}
