package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// faulted is volumes with faults; each is its lines.
func faulted(rules ...string) string {
	out := volumes
	for _, r := range rules {
		out += "[[fault]]\n" + strings.ReplaceAll(r, "; ", "\n") + "\n"
	}
	return out
}

// Without leave a file with faults is refused before anything is touched, at the place of each.
func TestFaultsAreAskedFor(t *testing.T) {
	f := load(t, faulted(`disk = "a"; action = "eio"`, `disk = "b"; action = "hang"`))
	_, copied := CopyOffline(t.Context(), f, ask("data", one(0, 8), "side", one(0, 8)[0]), &CopyOptions{RunDir: runDir(t)})
	_, up := Up(t.Context(), f, &Options{RunDir: runDir(t)})
	for _, err := range []error{copied, up, FaultsAllowed(f, false)} {
		ps := config.Problems{}
		if !errors.As(err, &ps) || len(ps) != 2 || ps[1].Line-ps[0].Line != 3 || ps[0].Message != `[[fault]] of disk "a": faults are injected only with --allow-faults` {
			t.Errorf("%v", err)
		}
	}
	if err := FaultsAllowed(f, true); err != nil {
		t.Error(err)
	}
	if err := FaultsAllowed(load(t, volumes), false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Disks[0].File); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a disk was made: %v", err)
	}
}

// Every errno, op and action that a file may say has its number.
func TestFaultWords(t *testing.T) {
	for _, name := range config.FaultErrnos() {
		if e := faultErrnos[name]; e == 0 || unix.ErrnoName(e) != name && (name != "EOPNOTSUPP" || e != unix.EOPNOTSUPP) { // it has two names
			t.Errorf("%s is %d", name, e)
		}
	}
	for _, op := range config.FaultOps() {
		if faultOps[op] == 0 {
			t.Errorf("op %s", op)
		}
	}
	for _, a := range []string{"errno", "status", "torn", "short", "delay", "hang"} {
		if faultKinds[a] == 0 {
			t.Errorf("action %s", a)
		}
	}
}

// A copy with faults on real files: the result is true byte by byte, whatever the faults.
func TestFaultyCopyTellsTheTruth(t *testing.T) {
	hit, failed := map[string]int{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		var rules []string
		for range rapid.IntRange(1, 3).Draw(rt, "rules") {
			op := rapid.SampledFrom([]string{"read", "write", "any"}).Draw(rt, "op")
			actions := []string{`"eio"`, `"errno:ENODATA"`, `"delay"; delay = "1us"`}
			if op == "write" {
				actions = append(actions, `"torn"; bytes = "1KiB"`)
			}
			if op != "any" {
				actions = append(actions, `"short"; bytes = "3KiB"`)
			}
			r := fmt.Sprintf(`disk = "%s"; op = "%s"; action = %s`, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "disk"), op, rapid.SampledFrom(actions).Draw(rt, "action"))
			r += rapid.SampledFrom([]string{"", "; nth = 2", "; every = 3", "; count = 1", "; probability = 0.3; seed = 5"}).Draw(rt, "when")
			if rapid.Bool().Draw(rt, "ranged") {
				r += fmt.Sprintf(`; range = "%ds+%ds"`, rapid.IntRange(0, 1400).Draw(rt, "start"), rapid.IntRange(1, 400).Draw(rt, "len"))
			}
			rules = append(rules, r)
		}
		f := load(t, faulted(rules...))
		fill(t, f, 1)
		src, dst := content(t, f, "data"), content(t, f, "side")
		const n = 300
		from := rapid.Uint64Range(0, 1352-n).Draw(rt, "from")
		res, err := CopyOffline(t.Context(), f, ask("data", one(from, n), "side", one(20, n)[0]), &CopyOptions{RunDir: runDir(t), AllowFaults: true})
		if err != nil {
			rt.Fatal(err)
		}
		got := content(t, f, "side")
		bad := make([]bool, n)
		for _, x := range res.Failed {
			failed++
			for i := x.Offset / 512; i < (x.Offset+x.Bytes)/512; i++ {
				bad[i] = true
			}
		}
		if res.Complete != (len(res.Failed) == 0 && res.Bytes == n*512) {
			rt.Fatalf("%+v", res)
		}
		for i := range uint64(n) {
			if same := bytes.Equal(got[(20+i)*512:][:512], src[(from+i)*512:][:512]); !same && (i < res.Bytes/512 || res.Complete) {
				rt.Fatalf("sector %d is not copied, and said to be: %+v", i, res)
			}
			if i < res.Bytes/512 && bad[i] {
				rt.Fatalf("sector %d is of the prefix and failed: %+v", i, res)
			}
		}
		dst = slices.Concat(dst[:20*512], got[20*512:(20+n)*512], dst[(20+n)*512:])
		if !bytes.Equal(got, dst) {
			rt.Fatal("bytes beside the destination are touched")
		}
		if res.Complete {
			hit["complete"]++
		} else {
			hit["failed"]++
		}
	})
	if hit["complete"] < 5 || hit["failed"] < 5 || failed == 0 {
		t.Errorf("%v", hit)
	}
}

// memoryDisk is a disk in memory that notes its commands.
type memoryDisk struct {
	data []byte
	log  []string
}

func (m *memoryDisk) Readv(bufs [][]byte, at uint64) (n uint64, err error) {
	for _, b := range bufs {
		n += uint64(copy(b, m.data[at+n:]))
	}
	m.log = append(m.log, fmt.Sprintf("r%d+%d", at/512, n/512))
	return n, nil
}

func (m *memoryDisk) Writev(bufs [][]byte, at uint64, fua bool) (n uint64, err error) {
	for _, b := range bufs {
		n += uint64(copy(m.data[at+n:], b))
	}
	m.log = append(m.log, fmt.Sprintf("w%d+%d", at/512, n/512))
	return n, nil
}

func (m *memoryDisk) Sync() error { m.log = append(m.log, "f"); return nil }
func (m *memoryDisk) Zero(at, n uint64) error {
	m.log = append(m.log, fmt.Sprintf("z%d+%d", at/512, n/512))
	return nil
}
func (m *memoryDisk) NextData(at, limit uint64) (uint64, uint64, error) { return at, limit, nil }

// Each action of a read, write, flush and write-zeroes: what the disk is sent, and what is answered.
func TestFaultyIO(t *testing.T) {
	for _, c := range []struct {
		rule, do string
		sent     string
		moved    uint64 // sectors
		errno    unix.Errno
	}{
		{`op = "any"; action = "eio"`, "r", "", 0, unix.EIO},
		{`op = "any"; action = "errno:ENOSPC"; range = "13s+1s"`, "w", "", 0, unix.ENOSPC},
		{`op = "any"; action = "eio"; range = "20s+8s"`, "w", "w4+16", 16, 0},
		{`op = "any"; action = "eio"; range = "0s+4s"`, "r", "r4+16", 16, 0},
		{`op = "read"; action = "short"; bytes = "5s"`, "r", "r4+5 r9+5 r14+5 r19+1", 16, 0},
		{`op = "read"; action = "short"; bytes = "5s"; nth = 2`, "r", "r4+16", 16, 0},
		{`op = "write"; action = "short"; bytes = "16s"`, "w", "w4+16", 16, 0},
		{`op = "write"; action = "torn"; bytes = "7s"`, "w", "w4+7", 0, unix.EIO},
		{`op = "write"; action = "torn"; bytes = "7s"`, "r", "r4+16", 16, 0},
		{`op = "flush"; action = "eio"`, "f", "", 0, unix.EIO},
		{`op = "flush"; action = "eio"`, "w", "w4+16", 16, 0},
		{`op = "write-zeroes"; action = "errno:EOPNOTSUPP"; range = "5s+1s"`, "z", "", 0, unix.EOPNOTSUPP},
		{`op = "discard"; action = "eio"`, "z", "z4+16", 0, 0},
		{`op = "write-zeroes"; action = "delay"; delay = "1us"`, "z", "z4+16", 0, 0},
	} {
		f := load(t, faulted(`disk = "c"; `+c.rule))
		x := newInjection(f)
		m := &memoryDisk{data: make([]byte, 64*512)}
		d := x.disk(2, "c", m).(copyDisk)
		bufs := [][]byte{bytes.Repeat([]byte{1}, 3*512), bytes.Repeat([]byte{2}, 4*512), bytes.Repeat([]byte{3}, 9*512)}
		flat := slices.Concat(bufs...)
		var moved uint64
		var err error
		switch c.do {
		case "r":
			copy(m.data[4*512:], flat)
			for _, b := range bufs {
				clear(b)
			}
			if moved, err = d.Readv(bufs, 4*512); err == nil && !bytes.Equal(slices.Concat(bufs...), flat) {
				t.Errorf("%s: other bytes", c.rule)
			}
		case "w":
			moved, err = d.Writev(bufs, 4*512, true)
			n := 16
			if strings.Contains(c.rule, "torn") {
				n = 7
			} else if err != nil {
				n = 0
			}
			if want := append(make([]byte, 4*512), flat[:n*512]...); !bytes.Equal(m.data, append(want, make([]byte, 64*512-len(want))...)) {
				t.Errorf("%s: the disk has other bytes", c.rule)
			}
		case "f":
			err = d.Sync()
		case "z":
			err = d.Zero(4*512, 16*512)
		}
		var e unix.Errno
		if errors.As(err, &e); e != c.errno || moved != c.moved*512 || strings.Join(m.log, " ") != c.sent {
			t.Errorf("%s of %s: moved %d, %v, sent %v; want %d, %v, %s", c.rule, c.do, moved, err, m.log, c.moved*512, c.errno, c.sent)
		}
		if x.disk(0, "a", m) != blkcopy.IO(m) {
			t.Error("a disk without faults is wrapped")
		}
	}
}

// noted is a method that notes its commands, and does all of them.
type noted struct{ log []string }

func (m *noted) Copy(c *blkcopy.Command, _ *blkcopy.Policy) (uint64, error) {
	var n uint64
	s := fmt.Sprintf("%d:", c.Dst.Start)
	for _, e := range c.Sources {
		n += e.Len
		s += fmt.Sprintf(" %d+%d", e.Start, e.Len)
	}
	if n != c.Dst.Len {
		s += " BAD"
	}
	m.log = append(m.log, s)
	return n, nil
}

// Each action of a disk's own copy.
func TestFaultyMethod(t *testing.T) {
	ext := func(d target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: d, Range: target.Range{Start: start, Len: n}}
	}
	for _, c := range []struct {
		rule string
		sent string
		done uint64
		err  string // "": none
	}{
		{`op = "read"; action = "eio"`, "100: 0+8 20+8 40+8", 24, ""},
		{`op = "copy"; action = "eio"`, "", 0, "disk b: copy: injected fault: input/output error"},
		{`op = "copy"; action = "errno:ENOSPC"; range = "100s+1s"`, "", 0, "disk b: copy: injected fault: no space left on device"},
		{`op = "copy"; action = "eio"; range = "48s+52s"`, "100: 0+8 20+8 40+8", 24, ""},
		{`op = "copy"; action = "short"; bytes = "11s"`, "100: 0+8 20+3", 11, ""},
		{`op = "copy"; action = "torn"; bytes = "8s"`, "100: 0+8", 0, "disk b: copy, torn: injected fault: input/output error"},
		{`op = "copy"; action = "torn"; bytes = "24s"`, "100: 0+8 20+8 40+8", 24, ""},
		{`op = "copy"; action = "delay"; delay = "1us"`, "100: 0+8 20+8 40+8", 24, ""},
		{`op = "copy"; action = "status:0x183"; dw0 = 2`, "100: 0+8 20+8", 16, "disk b: copy to sector 100: injected fault: NVMe status 0x183, Command Size Limit Exceeded, source range 2"},
		{`op = "copy"; action = "status:0x281"`, "", 0, "disk b: copy to sector 100: injected fault: NVMe status 0x281, Unrecovered Read Error, source range 0"},
		{`op = "copy"; action = "status:0x183"; dw0 = 3`, "", 0, "disk b: copy to sector 100: injected fault: NVMe status 0x183, Command Size Limit Exceeded, source range 3"},
		{`op = "copy"; action = "status:0x6"; dw0 = 2`, "", 0, "disk b: copy to sector 100: injected fault: NVMe status 0x6, Internal Error"},
	} {
		x := newInjection(load(t, faulted(`disk = "b"; `+c.rule)))
		inner := &noted{}
		m := &faultyMethod{inner, x}
		done, err := m.Copy(&blkcopy.Command{Sources: []target.Extent{ext(1, 0, 8), ext(1, 20, 8), ext(1, 40, 8)}, Dst: ext(1, 100, 24)}, &blkcopy.Policy{})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if done != c.done || text != c.err || strings.Join(inner.log, ";") != c.sent {
			t.Errorf("%s: %d done, %q, sent %q; want %d, %q, %q", c.rule, done, text, inner.log, c.done, c.err, c.sent)
		}
		var n *disk.NVMeError
		if strings.Contains(c.rule, "status") != errors.As(err, &n) {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
}

// What hangs and what is late ends when a copy is cancelled, as long as that copy is under way; then things hang again.
func TestHangEndsWithTheCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newInjection(load(t, faulted(`disk = "a"; op = "read"; action = "hang"`, `disk = "a"; op = "write"; action = "delay"; delay = "10s"`)))
		d := x.disk(0, "a", &memoryDisk{data: make([]byte, 4096)})
		ctx, cancel := context.WithCancel(t.Context())
		end := x.during(ctx)
		other, stop := context.WithCancel(t.Context())
		defer x.during(other)()
		defer stop()
		got := make(chan error, 2)
		try := func() {
			_, err := d.Readv([][]byte{make([]byte, 512)}, 0)
			got <- err
		}
		began := time.Now()
		go try()
		go func() {
			_, err := d.Writev([][]byte{make([]byte, 512)}, 0, false)
			got <- err
		}()
		time.Sleep(time.Second) // of the bubble's time
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("it does not hang")
		}
		cancel()
		var errs []error
		for range 2 {
			errs = append(errs, <-got)
		}
		if slices.Index(errs, nil) < 0 || !errors.Is(errors.Join(errs...), unix.EIO) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", errs, time.Since(began))
		}
		try() // the copy is not at its end: nothing hangs
		if err := <-got; !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
		end()
		go try()
		synctest.Wait()
		if len(got) != 0 {
			t.Error("it does not hang any more")
		}
		stop()
		if err := <-got; !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
	})
}

// A copy that hangs is ended by its context, and says what it has not done.
func TestCopyThatHangsIsCancelled(t *testing.T) {
	f := load(t, faulted(`disk = "b"; op = "write"; nth = 2; action = "hang"`))
	fill(t, f, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		// Long enough that the copy hangs by then, mostly; the test holds for any time.
		time.Sleep(50 * time.Millisecond)
		cancel()
	}()
	res, err := CopyOffline(ctx, f, ask("data", one(0, 300), "side", one(0, 300)[0]), &CopyOptions{RunDir: runDir(t), AllowFaults: true})
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return
	}
	if res.Complete || res.Error == "" {
		t.Errorf("%+v", res)
	}
}

// Both calls of one who is cancelled may come in any order.
func TestHangsInAnyOrder(t *testing.T) {
	var h hangs
	closed := func() bool {
		select {
		case <-h.over():
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		add  int
		want bool
	}{{0, false}, {-1, false}, {1, false}, {1, true}, {1, true}, {-1, true}, {-1, false}, {1, true}, {-1, false}} {
		waits, was := h.over(), closed()
		if h.add(c.add); closed() != c.want {
			t.Errorf("after %+d: over %v", c.add, !c.want)
		}
		select {
		case <-waits:
			if !was && !c.want {
				t.Errorf("after %+d: who waited was woken", c.add)
			}
		default:
		}
	}
}

// status tells the faults of a device's disks, with what they have done.
func TestFaultStatus(t *testing.T) {
	x := newInjection(load(t, faulted(`disk = "a"; op = "write"; range = "8s+8s"; every = 2; action = "torn"; bytes = "1s"`, `disk = "b"; action = "hang"`)))
	d := x.disk(0, "a", &memoryDisk{data: make([]byte, 1<<16)})
	for range 5 {
		_, _ = d.Writev([][]byte{make([]byte, 1024)}, 4096, false)
	}
	got := x.status(func(name string) bool { return name == "a" })
	want := FaultStatus{Disk: "a", Op: "write", Range: "4KiB+4KiB", When: "every 2", Action: "torn 512B", Matched: 5, Hits: 2}
	if len(got) == 1 {
		want.Line = got[0].Line
	}
	if len(got) != 1 || got[0] != want || want.Line < 20 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if (*injection)(nil).status(nil) != nil {
		t.Error("no faults have a status")
	}
}
