package config

import (
	"reflect"
	"testing"
	"time"
)

// TestSimulated: only a disk in memory that says nvme is simulated, and it has what the file says.
func TestSimulated(t *testing.T) {
	for disk, want := range map[string]bool{
		`memory = "1MiB"`:                      true,
		"file = \"x.img\"\ncreate = \"1MiB\"":  false,
		`size = "1MiB"`:                        false,
		`path = "/dev/disk/by-id/nvme-eui.01"`: false,
	} {
		for _, method := range []string{"nvme", "xcopy", "file", "none"} {
			f, ps := Parse("x.toml", []byte("version = 1\n[disk.a]\n"+disk+"\n[disk.a.copy]\nmethod = \""+method+"\"\n"))
			if got := f.Disk("a").Simulated(); len(ps.Errors()) > 0 || got != (want && method == "nvme") {
				t.Errorf("%s, %s: %v, %v", disk, method, got, ps)
			}
		}
	}
	f, ps := Parse("x.toml", []byte("version = 1\n[disk.a]\nmemory = \"1MiB\"\n[disk.b]\nmemory = \"1MiB\"\n[disk.a.copy]\nmethod = \"nvme\"\n"+
		"misbehave = [\"hangs\", \"copies-less\"]\nlatency = \"1.5ms\"\nrate = \"100MiB\"\nseed = 7\n"))
	want := Simulate{[]string{"hangs", "copies-less"}, 1500 * time.Microsecond, 100 << 20, 7}
	if got := f.Disk("a").Copy.Simulate; len(ps.Errors()) > 0 || !reflect.DeepEqual(got, want) || f.Disk("b").Simulated() {
		t.Errorf("%+v, %v", got, ps)
	}
}
