package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// inject serves a file with [[fault]] tables; each is its lines.
func inject(t *testing.T, toml string, rules ...string) *server {
	t.Helper()
	for _, r := range rules {
		toml += "[[fault]]\n" + strings.ReplaceAll(r, "; ", "\n") + "\n"
	}
	s, err := tryUp(t, writeConfig(t, toml), "--allow-faults")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.down)
	return s
}

// state is what the server says of a device, its faults among it.
func state(t *testing.T, s *server, name string) daemon.Status {
	t.Helper()
	st, err := client(t, s.file).Status(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// hits is how often each fault of a device has acted.
func hits(t *testing.T, s *server, name string) (out []uint64) {
	t.Helper()
	for _, f := range state(t, s, name).Faults {
		out = append(out, f.Hits)
	}
	return out
}

// A file with faults is refused, at their places, and nothing is started; check takes it.
func TestFaultInjectIsAskedFor(t *testing.T) {
	needGuest(t)
	a := nullBlk(t, 64)
	file := writeConfig(t, pathDisks(a)+tableDevice("x", "0 4096 linear a 0")+tableDevice("y", "0 4096 linear a 8192")+"[[fault]]\ndisk = \"a\"\naction = \"eio\"\n")
	for _, args := range [][]string{{"up", "-c", file}, {"copy", "-c", file, "x:0s+8s", "y:0s"}} {
		out, err := exec.Command("ublk-linear", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), file+":13:") || !strings.Contains(string(out), "faults are injected only with --allow-faults") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	sh(t, "ublk-linear", "check", "-c", file)
	nothingLeft(t, a)
}

// A range that fails fails what touches it, with its errno; everything else works; status counts.
func TestFaultInjectRange(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64, withCache) // without a cache no flush comes
	s := inject(t, pathDisks(a, b)+tableDevice("data", "0 40000 linear a 8\n40000 48000 striped 2 24 a 50000 b 0"),
		`disk = "a"; op = "write"; range = "20008s+16s"; action = "errno:ENOSPC"`,
		`disk = "b"; op = "read"; nth = 3; range = "1000s+1s"; action = "eio"`,
		`disk = "b"; op = "flush"; count = 1; action = "eio"`)
	if !strings.Contains(s.err.String(), "faults are injected") {
		t.Errorf("no warning: %s", s.err)
	}
	fd, p := openDirect(t, s.dev["data"]), pages(t, 16<<10)
	for at := uint64(20000 - 40); at < 20000+50; at++ {
		want := unix.Errno(0)
		if at+8 > 20000 && at < 20016 {
			want = unix.ENOSPC
		}
		if _, e := transfer(fd, true, p[:4096], at); e != want {
			t.Errorf("write at %d: %v, want %v", at, e, want)
		}
		if _, e := transfer(fd, false, p[:4096], at); e != 0 {
			t.Errorf("read at %d: %v", at, e)
		}
	}
	// Sector 1000 of b: chunk 41 of the leg, 16 sectors in; on the device row 41, second leg.
	const at = 40000 + 41*48 + 24 + 16
	for i := 1; i <= 5; i++ {
		want := unix.Errno(0)
		if i == 3 {
			want = unix.EIO
		}
		if _, e := transfer(fd, false, p[:512], at); e != want {
			t.Errorf("read %d: %v, want %v", i, e, want)
		}
	}
	for _, want := range []error{unix.EIO, nil} {
		if err := unix.Fsync(fd); err != want {
			t.Errorf("fsync: %v, want %v", err, want)
		}
	}
	st := state(t, s, "data")
	if len(st.Faults) != 3 || st.Faults[0].Hits != 23 || st.Faults[1].Hits != 1 || st.Faults[1].Matched != 5 || st.Faults[2].Hits != 1 || st.Errors != 25 {
		t.Errorf("%d errors, faults %+v", st.Errors, st.Faults)
	}
	if out := sh(t, "ublk-linear", "status", "data", "-c", s.file); !strings.Contains(out, "write of a, 10004KiB+8KiB, always: errno:ENOSPC; 23 matched, 23 hit") {
		t.Errorf("status: %s", out)
	}
}

// Of a torn write the first bytes are on the disk and no other; short transfers lose nothing.
func TestFaultInjectTorn(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	scribble(t, a, 1)
	scribble(t, b, 2)
	s := inject(t, pathDisks(a, b)+tableDevice("data", "0 48000 striped 2 24 a 0 b 0"),
		`disk = "b"; op = "write"; range = "24s+96s"; count = 1; action = "torn"; bytes = "15KiB"`,
		`disk = "a"; op = "write"; range = "480s+2400s"; every = 2; action = "short"; bytes = "1s"`,
		`disk = "b"; op = "read"; range = "480s+2400s"; action = "short"; bytes = "4KiB"`)
	fd, p := openDirect(t, s.dev["data"]), pages(t, 96*512)
	before := whole(t, s.dev["data"])
	fill(p, 7)
	if _, e := transfer(fd, true, p, 48); e != unix.EIO { // two chunks of each disk
		t.Errorf("the torn write: %v", e)
	}
	want := bytes.Clone(before)
	for i := range 96 {
		row, in := i/48, i%48
		if in < 24 || row*24+in-24 < 30 { // all of a, and 30 sectors of b
			copy(want[(48+i)*512:][:512], p[i*512:])
		}
	}
	if at, n := differ(whole(t, s.dev["data"]), want); n > 0 {
		t.Errorf("%d sectors are not as the torn write leaves them, the first is %d", n, at)
	}
	if _, e := transfer(fd, true, p, 48); e != 0 {
		t.Errorf("the write behind it: %v", e)
	}
	buf := pages(t, 96*512)
	for at := uint64(960); at < 4000; at += 96 {
		fill(p, at)
		if n, e := transfer(fd, true, p, at); e != 0 || n != len(p) {
			t.Errorf("write at %d: %d bytes, %v", at, n, e)
		}
		if n, e := transfer(fd, false, buf, at); e != 0 || n != len(p) || !bytes.Equal(p, buf) {
			t.Errorf("read at %d: %d bytes, %v", at, n, e)
		}
	}
	if st := state(t, s, "data"); st.Faults[0].Hits != 1 || st.Faults[1].Hits < 10 || st.Faults[2].Hits < 10 || st.Retries < 20 {
		t.Errorf("%d retries, %+v", st.Retries, st.Faults)
	}
}

// A delay is as long as it says, and holds up nothing else, on the same queue.
func TestFaultInjectDelay(t *testing.T) {
	anyKernel(t)
	const delay = 3 * time.Second
	a := nullBlk(t, 64)
	s := inject(t, pathDisks(a)+"[device.data]\nqueues = 1\ntable = \"0 100000 linear a 0\"\n",
		`disk = "a"; op = "read"; range = "50000s+8s"; action = "delay"; delay = "3s"`,
		`disk = "a"; op = "read"; range = "60000s+8s"; action = "errno:ETIMEDOUT"; delay = "3s"`)
	fd, p := openDirect(t, s.dev["data"]), pages(t, 4096)
	type end struct {
		e    unix.Errno
		took time.Duration
	}
	late := map[uint64]chan end{50000: make(chan end, 1), 60000: make(chan end, 1)}
	began := time.Now()
	for at, c := range late {
		b := pages(t, 4096)
		go func() {
			_, e := transfer(fd, false, b, at)
			c <- end{e, time.Since(began)}
		}()
	}
	within(t, "both are late", func() bool { h := hits(t, s, "data"); return h[0] == 1 && h[1] == 1 })
	beside := 0
	for ; beside < 20; beside++ {
		if _, e := transfer(fd, beside%2 == 0, p, uint64(beside)*8); e != 0 {
			t.Errorf("I/O beside it: %v", e)
		}
	}
	if took := time.Since(began); took < delay && len(late[50000])+len(late[60000]) > 0 {
		t.Errorf("it was over before %v", delay)
	}
	for at, want := range map[uint64]unix.Errno{50000: 0, 60000: unix.ETIMEDOUT} {
		if got := <-late[at]; got.e != want || got.took < delay {
			t.Errorf("read at %d: %v after %v, want %v after %v", at, got.e, got.took, want, delay)
		}
	}
}

// What hangs is not answered, and holds up neither other I/O nor the end: then it has EIO.
func TestFaultInjectHang(t *testing.T) {
	anyKernel(t)
	a := nullBlk(t, 64)
	s := inject(t, pathDisks(a)+tableDevice("data", "0 100000 linear a 0"), `disk = "a"; op = "write"; range = "50000s+80s"; action = "hang"`)
	fd, p := openDirect(t, s.dev["data"]), pages(t, 4096)
	answers := make(chan unix.Errno, 10)
	for i := range uint64(10) {
		b := pages(t, 4096)
		go func() {
			_, e := transfer(fd, true, b, 50000+8*i)
			answers <- e
		}()
	}
	within(t, "ten hang", func() bool { return hits(t, s, "data")[0] == 10 })
	for i := range uint64(50) {
		if _, e := transfer(fd, i%2 == 0, p, 1000+8*i); e != 0 {
			t.Errorf("I/O beside it: %v", e)
		}
	}
	if len(answers) != 0 {
		t.Errorf("%d were answered", len(answers))
	}
	if _, err := client(t, s.file).Down(t.Context(), daemon.DownRequest{Force: true}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		select {
		case e := <-answers:
			if e != unix.EIO {
				t.Errorf("what hung ended with %v", e)
			}
		case <-time.After(hang):
			t.Fatal("it hangs, and the server was told to end")
		}
	}
	if err := s.wait(); err != nil {
		t.Errorf("up: %v\n%s", err, s.err)
	}
}

// A file system is told of a write that its disk has lost, and works beside it.
func TestFaultInjectFileSystem(t *testing.T) {
	anyKernel(t)
	a := nullBlk(t, 64)
	s := inject(t, pathDisks(a)+tableDevice("data", "0 131072 linear a 0"), `disk = "a"; op = "write"; range = "44MiB+1MiB"; count = 1; action = "eio"`)
	node, dir := s.dev["data"], filepath.Join(t.TempDir(), "m")
	sh(t, "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0", node)
	unmount := mount(t, node, dir, "ext4")
	h := hits(t, s, "data")[0]
	lost := 0
	for i := range 64 { // until it is full: then the range was written
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4<<20)
		fill(b, uint64(i))
		_, full := f.Write(b)
		if full != nil && !errors.Is(full, unix.ENOSPC) {
			t.Errorf("write: %v", full)
		}
		if err := f.Sync(); errors.Is(err, unix.EIO) {
			lost++
		} else if err != nil {
			t.Errorf("fsync: %v", err)
		}
		_ = f.Close()
		if full != nil {
			break
		}
	}
	if now := hits(t, s, "data")[0]; h != 0 || now != 1 || lost != 1 {
		t.Errorf("%d hits before, %d now, %d files were not written", h, now, lost)
	}
	unmount()
	if err := exec.Command("e2fsck", "-fn", node).Run(); err != nil {
		t.Errorf("e2fsck: %v", err)
	}
}

// A copy with faults: what the result says is copied is, what it says is not is not, and what lies behind is untouched; by a
// server, and without one.
func TestFaultInjectCopy(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 16), nullBlk(t, 16)
	toml := pathDisks(a, b) + tableDevice("x", "0 20000 linear a 8") + tableDevice("y", "0 20000 linear b 1000")
	scribble(t, a, 1)
	for _, served := range []bool{false, true} {
		for _, c := range []struct {
			rule     string
			bad      uint64 // sector of the request
			exact    bool   // nothing before it fails
			side     string
			complete bool
		}{
			{`disk = "b"; op = "write"; range = "11000s+8s"; action = "eio"`, 10000, false, "destination", false},
			{`disk = "a"; op = "read"; range = "9016s+8s"; action = "errno:ENODATA"`, 9008, true, "source", false},
			{`disk = "b"; op = "write"; range = "11000s+8s"; action = "torn"; bytes = "64KiB"`, 10000, false, "destination", false},
			{`disk = "a"; op = "read"; every = 2; action = "short"; bytes = "4KiB"`, 0, false, "", true},
			{`disk = "b"; op = "any"; range = "3000s+8s"; action = "delay"; delay = "100ms"`, 0, false, "", true},
		} {
			scribble(t, b, 2)
			x, y := whole(t, a), whole(t, b)
			file := writeConfig(t, toml+"[[fault]]\n"+strings.ReplaceAll(c.rule, "; ", "\n")+"\n")
			var s *server
			if served {
				var err error
				if s, err = tryUp(t, file, "--allow-faults"); err != nil {
					t.Fatal(err)
				}
			}
			var out copied
			code := tool(t, &out, "copy", "-c", file, "x:0s+20000s", "y:0s", "--allow-faults", "--window", "4MiB", "--in-flight", "4MiB")
			if s != nil {
				s.down()
			}
			if c.complete != (code == 0 && out.Bytes == 20000*512) {
				t.Errorf("served %v, %s: exit %d, %+v", served, c.rule, code, out)
				continue
			}
			var first uint64 // sector that failed
			if !c.complete {
				f := out.Failed
				if code != 7 || len(f) != 1 || f[0].Offset != out.Bytes || f[0].Side != c.side || f[0].Offset > c.bad*512 || f[0].Offset+f[0].Bytes <= c.bad*512 || f[0].Offset < 8192*512 || c.exact && f[0].Offset != c.bad*512 {
					t.Errorf("served %v, %s: exit %d, %+v", served, c.rule, code, out)
					continue
				}
				first = f[0].Offset / 512
			}
			done := func(sector uint64) bool {
				for _, f := range out.Failed {
					if sector*512 >= f.Offset && sector*512 < f.Offset+f.Bytes {
						return false
					}
				}
				return c.complete || sector < 8192*2 // the second window is the last that began
			}
			got := whole(t, b)
			torn := strings.Contains(c.rule, "torn")
			for i := range uint64(20000) {
				now, was, new := got[(1000+i)*512:][:512], y[(1000+i)*512:][:512], x[(8+i)*512:][:512]
				switch {
				case done(i) && !bytes.Equal(now, new):
					t.Fatalf("served %v, %s: sector %d is not copied", served, c.rule, i)
				case torn && i >= first && i < first+128 && !bytes.Equal(now, new):
					t.Fatalf("served %v, %s: sector %d is not what the torn write left", served, c.rule, i)
				case !done(i) && !(torn && i < first+128) && !bytes.Equal(now, was):
					t.Fatalf("served %v, %s: sector %d is touched", served, c.rule, i)
				}
			}
			copy(y[1000*512:21000*512], got[1000*512:21000*512])
			if !bytes.Equal(got, y) || !bytes.Equal(whole(t, a), x) {
				t.Fatalf("served %v, %s: bytes outside the destination are touched", served, c.rule)
			}
		}
	}
}

// An NVMe Copy that ends with a status: the source ranges before the one it names count, the rest is read and written, or not.
func TestFaultInjectNVMeCopy(t *testing.T) {
	anyKernel(t)
	node := "/dev/" + nvmeBySerial(t, "cpa")
	toml := pathDisks(node) + tableDevice("x", "0 4096 striped 2 8 a 0 a 4096") + tableDevice("y", "0 4096 linear a 16384")
	var p planned
	if tool(t, &p, "plan", "-c", writeConfig(t, toml), "x:0s+512s", "y:0s"); len(p.Commands) < 3 || len(p.Commands[1].Sources) < 4 {
		t.Fatalf("%d commands: %+v", len(p.Commands), p.Commands)
	}
	bad := p.Commands[1]
	file := writeConfig(t, toml+fmt.Sprintf("[[fault]]\ndisk = \"a\"\nop = \"copy\"\nrange = \"%ds+1s\"\naction = \"status:0x183\"\ndw0 = 3\n", bad.Dst.Start+5))
	for _, fallback := range []bool{true, false} {
		scribble(t, node, 3)
		before := whole(t, node)
		args := []string{"copy", "-c", file, "x:0s+512s", "y:0s", "--allow-faults"}
		if !fallback {
			args = append(args, "--on-failure", "fail")
		}
		var out copied
		code := tool(t, &out, args...)
		var sum uint64
		for _, s := range bad.Sources[:3] {
			sum += s.Sectors
		}
		stop := bad.Dst.Start - 16384 + sum
		want := bytes.Clone(before)
		done := uint64(0)
		for i := range uint64(512) {
			src := i/16*8 + i%8
			if i/8%2 == 1 {
				src += 4096
			}
			if in := i >= stop && i < bad.Dst.Start-16384+bad.Sectors; fallback || !in {
				copy(want[(16384+i)*512:][:512], before[src*512:])
				done++
			}
		}
		if at, n := differ(whole(t, node), want); n > 0 {
			t.Errorf("fallback %v: %d sectors are wrong, the first is %d", fallback, n, at)
		}
		if fallback {
			if code != 0 || out.Bytes != 512*512 || len(out.Fallbacks) != 1 || out.Emulated != (bad.Sectors-sum)*512 || !strings.Contains(out.Fallbacks[0].Error, "NVMe status 0x183") {
				t.Errorf("with fallback: exit %d, %+v", code, out)
			}
		} else if code != 7 || out.Bytes != stop*512 || len(out.Failed) != 1 || out.Failed[0].Offset != stop*512 || out.Failed[0].Bytes != (bad.Sectors-sum)*512 || out.Offloaded != done*512 {
			t.Errorf("without fallback: exit %d, %+v", code, out)
		}
	}
}
