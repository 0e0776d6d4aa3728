package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
)

// TestSeriesCopy: the models are told of the same disks as the plan, by their place in the file; those of no device of the
// copy are not looked at.
func TestSeriesCopy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f.img"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.toml")
	text := `version = 1
[disk.elsewhere]
path = "/dev/disk/by-id/none"
[disk.n]
size = "1MiB"
[disk.n.copy]
method = "nvme"
mssrl = 16
mcl = 64
msrc = 3
domain = "ns"
[disk.n.limits]
logical_block = 4096
[disk.s]
memory = "1MiB"
[disk.s.copy]
method = "xcopy"
[disk.f]
file = "f.img"
[disk.m]
memory = "1MiB"
[disk.ro]
size = "1MiB"
read_only = true
[device.src]
read_only = true
table = "0 64 linear ro 0\n64 64 linear n 0"
[device.dst]
table = "0 64 linear n 128\n64 64 linear s 0\n128 64 linear f 0\n192 64 linear m 0"
[device.other]
table = "0 8 linear elsewhere 0"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, ps, err := config.Load(file)
	if err != nil || len(ps.Errors()) > 0 {
		t.Fatal(err, ps)
	}
	r := &CopyRequest{Source: CopySide{"src", []CopySegment{{0, 4096}, {8192, 4096}}}, Destination: CopySide{"dst", []CopySegment{{0, 8192}}}}
	w, q, err := SeriesCopy(f, r)
	if err != nil {
		t.Fatal(err)
	}
	var drivers []string
	for _, d := range w.Disks {
		drivers = append(drivers, d.Name+" "+d.Driver)
	}
	if d := cmp.Diff([]string{"elsewhere sd", "n nvme", "s sd", "f loop", "m brd", "ro sd"}, drivers); d != "" {
		t.Error(d)
	}
	want := series.Disk{Name: "n", Driver: "nvme", LogicalBlock: 4096, Sectors: 2048, Copy: limits.Copy{Method: "nvme", MSSRL: 16, MCL: 64, MSRC: 3, Domain: "ns"}}
	if d := cmp.Diff(want, w.Disks[1]); d != "" {
		t.Error(d)
	}
	if !w.Disks[5].ReadOnly || w.Disks[1].ReadOnly || w.Disks[3].Sectors != 2048 {
		t.Errorf("%+v", w.Disks)
	}
	if q.Src.Name != "src" || !q.Src.ReadOnly || q.Dst.Name != "dst" || q.Dst.ReadOnly || q.Src.LogicalBlock != 4096 || len(q.SrcSegs) != 2 || q.SrcSegs[1].Pos != 8192 || q.DstSegs[0].Len != 8192 {
		t.Errorf("%+v %+v %+v", q.Src, q.Dst, q)
	}
	r.Destination.Device = "src"
	if _, q, err = SeriesCopy(f, r); err != nil || q.Src != q.Dst {
		t.Errorf("one device is two: %v", err)
	}
	r.Destination.Device = "none"
	if _, _, err = SeriesCopy(f, r); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
