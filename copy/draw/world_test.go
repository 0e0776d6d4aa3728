package draw

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

type fatal interface {
	Helper()
	Fatal(...any)
}

func lin(t fatal, d target.Disk, start, n uint64) remap.Part {
	t.Helper()
	x, err := linear.New(d, target.Range{Start: start, Len: n})
	if err != nil {
		t.Fatal(err)
	}
	return remap.Part{Sectors: n, Target: x}
}

func str(t fatal, n uint64, chunk uint32, legs ...stripe.Leg) remap.Part {
	t.Helper()
	x, err := stripe.New(n, chunk, legs)
	if err != nil {
		t.Fatal(err)
	}
	return remap.Part{Sectors: n, Target: x}
}

func dev(t fatal, name string, parts ...remap.Part) *series.Device {
	t.Helper()
	x, err := remap.NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	return &series.Device{Name: name, Table: x, LogicalBlock: 512}
}

func segs(in ...uint64) (out []blkcopy.Seg) {
	for i := 0; i < len(in); i += 2 {
		out = append(out, blkcopy.Seg{Pos: in[i] * 512, Len: in[i+1] * 512})
	}
	return out
}

func letters(d target.Disk) string { return string(rune('A' + d)) }

// nvme is the ability of disks of one namespace, with QEMU's limits.
func nvme(domain string) blkcopy.Disk {
	return blkcopy.Disk{Name: domain, LogicalBlock: 512, Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: 128, MCL: 128, MSRC: 127, Domain: domain}}
}

// plan is our commands for a request.
func plan(t fatal, r *series.Request, disks ...blkcopy.Disk) []series.Command {
	t.Helper()
	of := func(d *series.Device) *blkcopy.Device {
		return &blkcopy.Device{Name: d.Name, Table: d.Table, LogicalBlock: d.LogicalBlock}
	}
	q := &blkcopy.Request{Src: of(r.Src), SrcSegs: r.SrcSegs, DstSegs: r.DstSegs}
	if q.Dst = q.Src; r.Dst != r.Src {
		q.Dst = of(r.Dst)
	}
	p, err := blkcopy.NewPlan(q, disks)
	if err != nil {
		t.Fatal(err)
	}
	var out []series.Command
	var w blkcopy.Window
	for p.Next(&w) {
		for _, c := range w.Commands {
			sources := append(c.Sources[:0:0], c.Sources...)
			out = append(out, series.Command{Method: c.Method, Sources: sources, Dst: c.Dst, Ranges: len(sources)})
		}
	}
	return out
}

// cases are requests that the designs were asked about.
func cases(t fatal) map[string]*Picture {
	one := []blkcopy.Disk{nvme("ns1"), nvme("ns1"), nvme("ns1")}
	l := dev(t, "L", lin(t, 0, 2048, 1000), lin(t, 1, 0, 1000))
	s := dev(t, "S", str(t, 1536, 64, stripe.Leg{Disk: 0}, stripe.Leg{Disk: 1, Start: 128}, stripe.Leg{Disk: 2}))
	m := dev(t, "M", lin(t, 0, 2048, 100), str(t, 512, 16, stripe.Leg{Disk: 1}, stripe.Leg{Disk: 2, Start: 8}))
	to := dev(t, "to", lin(t, 0, 1<<20, 4096))
	out := map[string]*Picture{}
	for name, r := range map[string]*series.Request{
		"S3":     {Src: l, Dst: l, SrcSegs: segs(980, 40), DstSegs: segs(990, 40)},
		"S7":     {Src: s, Dst: s, SrcSegs: segs(0, 192), DstSegs: segs(64, 192)},
		"S10":    {Src: m, Dst: m, SrcSegs: segs(90, 30), DstSegs: segs(200, 30)},
		"gather": {Src: s, Dst: to, SrcSegs: segs(0, 32, 200, 16, 640, 48, 1000, 8), DstSegs: segs(0, 104)},
	} {
		out[name] = &Picture{Request: r, Disk: letters, Commands: plan(t, r, one...)}
	}
	return out
}
