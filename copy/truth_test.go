package blkcopy

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// run runs the case and holds the Result against the disks.
func (c *copyCase) run(t rapid.TB, ctx context.Context, progress func(Progress)) (*Result, error) {
	t.Helper()
	e := NewEngine(c.w.ios(), &c.o)
	defer e.Close()
	r, err := e.Run(ctx, c.plan(t), c.lock, progress)
	c.check(t, r, err)
	return r, err
}

// claimed is the sectors of the request that the Result says are copied: those of windows that were touched, and those
// that were there already, but for what failed. Where more failed than is listed, it is the prefix.
func (c *copyCase) claimed(t rapid.TB, r *Result) []bool {
	t.Helper()
	at := map[remap.Place]int{}
	for i, p := range c.dst {
		at[p] = i
	}
	out, may := make([]bool, len(c.dst)), make([]bool, len(c.dst))
	if r.More > 0 {
		for i := range out[:r.Bytes/512] {
			out[i] = true
		}
		return out
	}
	for _, v := range c.lock.past {
		for p := range v.puts {
			out[at[p]], may[at[p]] = v.touched, true
		}
	}
	if r.Onto > 0 {
		for i := range out {
			if c.src[i] == c.dst[i] {
				out[i], may[i] = true, true
			}
		}
	}
	for _, f := range r.Failed {
		if f.Bytes == 0 || f.Err == nil || f.Offset+f.Bytes > r.Total {
			t.Fatalf("failed: %+v", f)
		}
		for s := f.Offset / 512; s < (f.Offset+f.Bytes)/512; s++ {
			if !may[s] {
				t.Fatalf("sector %d failed twice, or was never begun: %+v", s, f)
			}
			out[s], may[s] = false, false
		}
	}
	return out
}

// check holds a Result against the disks, and against what the disks have counted.
func (c *copyCase) check(t rapid.TB, r *Result, err error) {
	t.Helper()
	for _, s := range c.w.wrong {
		t.Error(s)
	}
	if len(c.lock.held) > 0 || len(c.w.active) > 0 {
		t.Errorf("%d windows under lock, %d under way", len(c.lock.held), len(c.w.active))
	}
	claimed := c.claimed(t, r)
	c.right(t, claimed)
	if r.More > 0 {
		return
	}
	prefix := slices.Index(claimed, false)
	if prefix < 0 {
		prefix = len(claimed)
	}
	if r.Total != uint64(len(c.dst))*512 || r.Bytes != uint64(prefix)*512 {
		t.Errorf("bytes %d of %d, want %d of %d", r.Bytes, r.Total, prefix*512, len(c.dst)*512)
	}
	var sum, unflushed uint64
	for _, is := range claimed {
		if is {
			sum += 512
		}
	}
	for _, f := range r.Failed {
		if f.Method == Flushing {
			unflushed += f.Bytes
		}
	}
	if got := r.Offloaded + r.Emulated + r.Zeroed + r.Onto; got != sum+unflushed {
		t.Errorf("offloaded %d + emulated %d + zeroed %d + onto %d = %d, want %d", r.Offloaded, r.Emulated, r.Zeroed, r.Onto, got, sum+unflushed)
	}
	if (err == nil) != (r.Bytes == r.Total) {
		t.Errorf("%d of %d bytes, and the error is %v", r.Bytes, r.Total, err)
	}
	c.counted(t, r)
}

// right holds the disks against memmove's answer, and where nothing is to be copied, against what was there.
func (c *copyCase) right(t rapid.TB, claimed []bool) {
	t.Helper()
	free := map[remap.Place]bool{}
	for i, p := range c.dst {
		free[p] = true
		if got := c.w.disks[p.Disk].data[p.Sector*512 : p.Sector*512+512]; claimed[i] && !bytes.Equal(got, c.want[i]) {
			t.Fatalf("sector %d of the request is claimed, and wrong: disk %d sector %d", i, p.Disk, p.Sector)
		}
	}
	for _, v := range c.lock.past { // what was not begun is as it was
		if v.touched {
			continue
		}
		for p := range v.puts {
			delete(free, p)
		}
	}
	for i, d := range c.w.disks {
		for s := range uint64(len(d.data) / 512) {
			if !free[remap.Place{Disk: target.Disk(i), Sector: s}] && !bytes.Equal(d.data[s*512:s*512+512], c.before[i][s*512:s*512+512]) {
				t.Fatalf("disk %d sector %d changed", i, s)
			}
		}
	}
}

// counted holds the Result's counts against the disks'.
func (c *copyCase) counted(t rapid.TB, r *Result) {
	t.Helper()
	b := c.w.bytes
	if r.HostRead != b.read || r.HostWritten != b.written || r.Offloaded != b.offloaded || r.Zeroed > b.zeroed || r.Reads != c.w.reads {
		t.Errorf("read %d, written %d, offloaded %d, zeroed %d, reads %d; the disks say %d, %d, %d, %d, %d", r.HostRead, r.HostWritten, r.Offloaded, r.Zeroed, r.Reads, b.read, b.written, b.offloaded, b.zeroed, c.w.reads)
	}
	if !maps.Equal(r.Commands, c.w.sent) {
		t.Errorf("commands %v, the disks say %v", r.Commands, c.w.sent)
	}
	if most := cmp.Or(c.req.InFlight, DefaultInFlight); c.lock.most*512 > most {
		t.Errorf("%d bytes in flight, at most %d", c.lock.most*512, most)
	}
	if depth := cmp.Or(c.o.Depth, DefaultDepth); c.w.most > depth {
		t.Errorf("a disk had %d commands at a time, %d is the depth", c.w.most, depth)
	}
	for _, d := range c.w.synced {
		if !slices.ContainsFunc(c.dst, func(p remap.Place) bool { return p.Disk == d }) {
			t.Errorf("disk %d was flushed, and not written", d)
		}
	}
	if !c.req.Flush && len(c.w.synced) > 0 || len(slices.Compact(slices.Sorted(slices.Values(c.w.synced)))) < len(c.w.synced) {
		t.Errorf("flushed %v", c.w.synced)
	}
}

// planned is how many commands the plan has, by method, and its windows.
func (c *copyCase) planned(t rapid.TB) (map[limits.Method]uint64, []Window) {
	t.Helper()
	p := c.plan(t)
	n := map[limits.Method]uint64{}
	var ws []Window
	var w Window
	for p.Next(&w) {
		for _, cmd := range w.Commands {
			n[cmd.Method]++
		}
		ws = append(ws, Window{Src: slices.Clone(w.Src), Dst: slices.Clone(w.Dst), Sequence: w.Sequence})
	}
	return n, ws
}
