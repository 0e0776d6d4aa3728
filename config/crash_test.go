package config

import (
	"os"
	"testing"
)

// TestCrash: what is not said is reissue, and what lies on memory goes with it.
func TestCrash(t *testing.T) {
	text, err := os.ReadFile("testdata/good_on_crash.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, ps := Parse("x.toml", text)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := map[string]OnCrash{"d": CrashReissue, "e": CrashQueue, "f": CrashFail, "g": CrashRemove, "h": CrashRemove, "i": CrashReissue}
	for _, d := range f.Devices {
		if got := f.Crash(d); got != want[d.Name] {
			t.Errorf("%s: %q, want %q", d.Name, got, want[d.Name])
		}
	}
	if len(f.Devices) != len(want) {
		t.Errorf("%d devices", len(f.Devices))
	}
	// Said of memory, whatever a file that was built by hand says, nothing is promised that cannot be kept.
	h := f.Device("h")
	h.OnCrash = CrashQueue
	if got := f.Crash(h); got != CrashRemove {
		t.Errorf("on memory: %q", got)
	}
	if bad := f.Check(nil).Errors(); len(bad) != 1 {
		t.Errorf("on memory: %v", bad)
	}
}
