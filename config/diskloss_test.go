package config

import (
	"os"
	"testing"
	"time"
)

// TestOnDiskLoss: what is not said is no parking.
func TestOnDiskLoss(t *testing.T) {
	text, err := os.ReadFile("testdata/good_on_disk_loss.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, ps := Parse("x.toml", text)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := map[string]time.Duration{"d": 0, "e": 30 * time.Second, "f": time.Second, "g": 24 * time.Hour, "h": 0}
	for _, d := range f.Devices {
		if got := d.OnDiskLoss.Park(); got != want[d.Name] {
			t.Errorf("%s: %v, want %v", d.Name, got, want[d.Name])
		}
	}
	if len(f.Devices) != len(want) {
		t.Errorf("%d devices", len(f.Devices))
	}
}
