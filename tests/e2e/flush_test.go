package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The witness is dm-log-writes below every leg: what it logs before a FLUSH had completed when that FLUSH arrived, and
// a FUA write is logged when it has completed.

// logEntry is one entry of a log.
type logEntry struct {
	sector, sectors, flags uint64
	data                   []byte // of a write, or the name of a mark
}

const (
	logFlush = 1 << iota
	logFUA
	logDiscard
	logMark
)

func (e logEntry) write() bool { return e.flags&(logDiscard|logMark) == 0 && e.sectors > 0 }

// logDisk is a disk that keeps a log of what it is sent.
type logDisk struct {
	name, node, log string
	sectors         int
}

func newLogDisk(t testing.TB, name string, mib, logMiB int, attrs ...string) *logDisk {
	t.Helper()
	d := &logDisk{name: "log-" + name, log: nullBlk(t, logMiB), sectors: mib << 11}
	d.node = dmCreate(t, d.name, fmt.Sprintf("0 %d log-writes %s %s", d.sectors, nullBlk(t, mib, attrs...), d.log))
	return d
}

// mark puts a mark into the log: it comes after all that was flushed or written with FUA before.
func (d *logDisk) mark(t testing.TB, mark string) {
	t.Helper()
	sh(t, "dmsetup", "message", d.name, "0", "mark", mark)
}

// entries reads the log up to a mark, which was sent before, and waits until it is there.
func (d *logDisk) entries(t testing.TB, mark string) (out []logEntry) {
	t.Helper()
	within(t, "mark "+mark+" in the log of "+d.name, func() bool {
		out = d.read(t)
		for i, e := range out {
			if e.flags&logMark != 0 && string(e.data) == mark {
				out = out[:i]
				return true
			}
		}
		return false
	})
	return out
}

// between is what lies between two marks.
func (d *logDisk) between(t testing.TB, from, to string) []logEntry {
	t.Helper()
	out := d.entries(t, to)
	for i, e := range out {
		if e.flags&logMark != 0 && string(e.data) == from {
			return out[i+1:]
		}
	}
	t.Errorf("no mark %s in the log of %s", from, d.name)
	return nil
}

func (d *logDisk) read(t testing.TB) []logEntry {
	t.Helper()
	fd, err := unix.Open(d.log, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const window = 1 << 20
	buf := pages(t, window)
	have := uint64(1) << 63 // the sector that buf begins with
	at := func(sector, n uint64) []byte {
		if sector < have || sector+n > have+window/512 {
			if got, err := unix.Pread(fd, buf, int64(sector)*512); err != nil || uint64(got) < n*512 {
				t.Fatalf("log of %s at %d: %d, %v", d.name, sector, got, err)
			}
			have = sector
		}
		return buf[(sector-have)*512:][:n*512]
	}
	super := at(0, 1)
	if m := binary.LittleEndian.Uint64(super); m != 0x6a736677736872 {
		return nil // no super block yet
	}
	var out []logEntry
	pos := uint64(1)
	for range binary.LittleEndian.Uint64(super[16:]) {
		h := at(pos, 1)
		e := logEntry{sector: binary.LittleEndian.Uint64(h), sectors: binary.LittleEndian.Uint64(h[8:]), flags: binary.LittleEndian.Uint64(h[16:])}
		n := binary.LittleEndian.Uint64(h[24:])
		pos++
		switch {
		case e.flags&logMark != 0:
			e.data = bytes.Clone(h[32:][:min(n, 480)])
		case e.write():
			e.data = bytes.Clone(at(pos, e.sectors))
			pos += e.sectors
		}
		out = append(out, e)
	}
	return out
}

// replay puts what the log guarantees onto an empty disk: all that came before the last FLUSH, and FUA writes.
func (d *logDisk) replay(log []logEntry) []byte {
	last := 0
	for i, e := range log {
		if e.flags&(logFlush|logFUA) != 0 {
			last = i
		}
	}
	image := make([]byte, d.sectors*512)
	for _, e := range log[:min(last+1, len(log))] {
		if e.write() {
			copy(image[e.sector*512:], e.data)
		}
	}
	return image
}

// Where a sector of the device of these tests is. Disk a is in the first stripe, and twice in the second; d is not
// used.
const flushTable = "0 16384 striped 2 64 a 0 b 1024\n16384 4096 linear c 128\n20480 4080 striped 2 24 a 8192 a 12288"

func flushPlace(sector uint64) (disk int, at uint64) {
	switch {
	case sector < 16384:
		k := sector / 64
		return int(k % 2), []uint64{0, 1024}[k%2] + k/2*64 + sector%64
	case sector < 20480:
		return 2, 128 + sector - 16384
	}
	k := (sector - 20480) / 24
	return 0, []uint64{8192, 12288}[k%2] + k/2*24 + (sector-20480)%24
}

const flushSectors = 24560

// flushDevice serves the table over four logging disks, of which the last is not used.
func flushDevice(t testing.TB, mib int, limits string) (*server, []*logDisk) {
	t.Helper()
	var disks []*logDisk
	var nodes []string
	for _, n := range []string{"a", "b", "c", "d"} {
		d := newLogDisk(t, n, 16, mib, withCache)
		disks, nodes = append(disks, d), append(nodes, d.node)
		if wc := sysWord(t, d.node, "write_cache"); wc != "write back" {
			t.Fatalf("%s is %q: no FLUSH would reach it", d.node, wc)
		}
	}
	toml := pathDisks(nodes...)
	if limits != "" {
		for _, n := range []string{"a", "b", "c", "d"} {
			toml += fmt.Sprintf("[disk.%s.limits]\n%s\n", n, limits)
		}
	}
	s := up(t, toml+tableDevice("data", flushTable))
	if wc := sysWord(t, s.dev["data"], "write_cache"); wc != "write back" {
		t.Errorf("the device is %q", wc)
	}
	return s, disks
}

func sysWord(t testing.TB, node, attr string) string {
	t.Helper()
	b, err := os.ReadFile("/sys/class/block/" + node[len("/dev/"):] + "/queue/" + attr)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

func markAll(t testing.TB, disks []*logDisk, mark string) {
	t.Helper()
	for _, d := range disks {
		d.mark(t, mark)
	}
}

// fsync is one FLUSH on every disk of the device, behind the data.
func TestFlushReachesEveryLeg(t *testing.T) {
	needGuest(t)
	s, disks := flushDevice(t, 64, "")
	for _, mode := range []string{"direct", "buffered", "nothing", "one-leg"} {
		flags := os.O_RDWR
		if mode != "buffered" {
			flags |= unix.O_DIRECT
		}
		f, err := os.OpenFile(s.dev["data"], flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		b := pages(t, 512<<10)
		r := rand.NewChaCha8([32]byte{byte(len(mode))})
		_, _ = r.Read(b)
		markAll(t, disks, mode)
		wrote := map[uint64][]byte{}
		put := func(sector uint64, p []byte) {
			if _, err := f.WriteAt(p, int64(sector)*512); err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			for i := range uint64(len(p) / 512) {
				wrote[sector+i] = p[i*512:][:512]
			}
		}
		switch mode {
		case "direct", "buffered":
			put(64, b[:256<<10])
			put(16376, b[256<<10:][:64<<10])
			put(20480, b[320<<10:][:128<<10])
			put(8192, b[448<<10:][:4096])
		case "one-leg":
			put(17000, b[:8192])
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		markAll(t, disks, mode+"-end")
		_ = f.Close()
		for i, d := range disks {
			log := d.between(t, mode, mode+"-end")
			if i == 3 {
				if len(log) > 0 {
					t.Errorf("%s: disk d, which the device does not use, saw %d requests", mode, len(log))
				}
				continue
			}
			flushes, last := 0, -1
			image := map[uint64][]byte{}
			for j, e := range log {
				if e.flags&logFlush != 0 {
					flushes, last = flushes+1, j
				}
				for k := range uint64(len(e.data) / 512) {
					image[e.sector+k] = e.data[k*512:][:512]
				}
			}
			if flushes != 1 || last != len(log)-1 {
				t.Errorf("%s: %s saw %d FLUSHes, the last as entry %d of %d", mode, d.name, flushes, last, len(log))
			}
			n := 0
			for sector, p := range wrote {
				if disk, at := flushPlace(sector); disk == i {
					n++
					if !bytes.Equal(image[at], p) {
						t.Errorf("%s: %s sector %d is not in the log before the FLUSH", mode, d.name, at)
						break
					}
				}
			}
			t.Logf("%s: %s: %d entries, %d sectors", mode, d.name, len(log), n)
		}
	}
}

// An O_DSYNC write puts FUA on each of its pieces and touches no other leg; a device without FUA flushes all its disks.
func TestDsyncWrite(t *testing.T) {
	needGuest(t)
	// What dm makes of a disk with a cache always has FUA: the file takes it away.
	for _, limits := range []string{"", "fua = false"} {
		t.Run(map[string]string{"": "FUA"}[limits]+limits, func(t *testing.T) {
			s, disks := flushDevice(t, 64, limits)
			last := "start"
			markAll(t, disks, last)
			fua := limits == ""
			if has := sysWord(t, s.dev["data"], "fua") == "1"; has != fua {
				t.Fatalf("fua is %v, want %v", has, fua)
			}
			for _, w := range []struct {
				name      string
				at, bytes int
				legs      [4]int // sectors on each
			}{
				{"two-legs", 64 - 8, 8192, [4]int{8, 8, 0, 0}},
				{"one-leg", 17000, 8192, [4]int{0, 0, 16, 0}},
				{"rows", 128, 128 << 10, [4]int{128, 128, 0, 0}},
				{"one-disk-twice", 20480 + 16, 8192, [4]int{16, 0, 0, 0}},
				{"targets", 16384 - 8, 8192, [4]int{0, 8, 8, 0}},
			} {
				// Asynchronous: behind a synchronous one the kernel sends a FLUSH of its own (generic_write_sync).
				out, err := exec.Command("fio", "--name=w", "--filename="+s.dev["data"], "--ioengine=io_uring", "--direct=1", "--sync=dsync",
					"--rw=write", fmt.Sprintf("--bs=%d", w.bytes), fmt.Sprintf("--size=%d", w.bytes), fmt.Sprintf("--offset=%d", w.at*512),
					"--invalidate=0", "--thread=1", "--minimal").CombinedOutput()
				if err != nil {
					t.Fatalf("fio: %v\n%s", err, out)
				}
				markAll(t, disks, w.name)
				from := last
				last = w.name
				extra := -1 // FLUSHes beyond those that the write needs: the same on every disk
				for i, d := range disks {
					log := d.between(t, from, w.name)
					var plain, durable, flushes int
					covered := 0
					for _, e := range log {
						switch {
						case e.write() && e.flags&logFUA != 0:
							durable += int(e.sectors)
							covered += int(e.sectors)
						case e.write():
							plain += int(e.sectors)
						case e.flags&logFlush != 0:
							flushes++
							covered += plain
							plain = 0
						}
					}
					if covered != w.legs[i] {
						t.Errorf("%s: %s: %d sectors are durable, want %d", w.name, d.name, covered, w.legs[i])
					}
					want := 0
					if !fua && i < 3 {
						want = 1 // the kernel makes a FLUSH of it, and that is the whole device's
					}
					sectors := w.legs[i]
					if !fua {
						sectors = 0
					}
					// A write that io_uring had to hand to a worker is synchronous after all: then the kernel sends one more
					// FLUSH to the whole device.
					if extra < 0 {
						extra = min(max(flushes-want, 0), 1)
					}
					if i < 3 {
						want += extra
					}
					if durable != sectors || flushes != want {
						t.Errorf("%s: %s: FUA on %d sectors, %d FLUSHes; want %d, %d", w.name, d.name, durable, flushes, sectors, want)
					}
				}
			}
		})
	}
}

// What was written before an fsync that has returned survives: the log up to that moment has it, under load.
func TestFsyncReplay(t *testing.T) {
	anyKernel(t)
	s, disks := flushDevice(t, 256, "")
	const writers, block = 4, 8 // sectors
	const per = flushSectors / writers / block
	var mu sync.Mutex
	done := make([]uint64, writers*per) // the stamp of each block's last completed write
	begun := make([]uint64, writers*per)
	writes := 0 // completed
	stop := make(chan struct{})
	var wg sync.WaitGroup
	fd := openDirect(t, s.dev["data"])
	for w := range writers {
		buf := pages(t, 4*block*512)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for stamp := uint64(1); ; stamp++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rng.IntN(4)) * time.Millisecond):
				}
				n := 1 + rng.IntN(4)
				first := w*per + rng.IntN(per-n)
				for i := range n {
					fillBlock(buf[i*block*512:][:block*512], uint64(first+i), stamp)
				}
				mu.Lock()
				for i := range n {
					begun[first+i] = stamp
				}
				mu.Unlock()
				if _, e := transfer(fd, true, buf[:n*block*512], uint64(first*block)); e != 0 {
					t.Errorf("write: %v", e)
					return
				}
				mu.Lock()
				for i := range n {
					done[first+i] = stamp
				}
				writes++
				mu.Unlock()
			}
		})
	}
	var promised [][]uint64
	for i := range scaled(4, 4) {
		var now []uint64
		for written := 0; written < 60*(i+1) && !t.Failed(); { // not all of these are other blocks each time
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			now, written = append(now[:0], done...), writes
			mu.Unlock()
		}
		if err := unix.Fsync(fd); err != nil {
			t.Fatal(err)
		}
		promised = append(promised, now)
		markAll(t, disks, fmt.Sprint(i))
	}
	close(stop)
	wg.Wait()
	if t.Failed() {
		return
	}
	logs := make([][]logEntry, 3)
	for k, d := range disks[:3] {
		logs[k] = d.entries(t, fmt.Sprint(len(promised)-1))
	}
	checked := 0
	for i, want := range promised {
		var images [3][]byte
		for k, d := range disks[:3] {
			images[k] = d.replay(beforeMark(logs[k], fmt.Sprint(i)))
		}
		got := make([]byte, block*512)
		for b, stamp := range want {
			if stamp == 0 {
				continue
			}
			for s := range uint64(block) {
				disk, at := flushPlace(uint64(b)*block + s)
				copy(got[s*512:][:512], images[disk][at*512:][:512])
			}
			checked++
			// A later write may be there as well, in part: each sector is at least as new as promised.
			for s := range block {
				if !stampedSector(got[s*512:][:512], uint64(b), stamp, begun[b]) {
					t.Errorf("fsync %d: block %d sector %d is older than write %d, or damaged", i, b, s, stamp)
					return
				}
			}
		}
	}
	t.Logf("%d fsyncs, %d blocks checked, %d log entries", len(promised), checked, len(logs[0])+len(logs[1])+len(logs[2]))
	if checked < 100 {
		t.Error("too few to say anything")
	}
}

// beforeMark cuts a log at a mark.
func beforeMark(log []logEntry, mark string) []logEntry {
	for i, e := range log {
		if e.flags&logMark != 0 && string(e.data) == mark {
			return log[:i]
		}
	}
	return log
}

// fillBlock gives every sector the block's number and stamp, repeated.
func fillBlock(b []byte, block, stamp uint64) {
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], block)
		binary.LittleEndian.PutUint64(b[i+8:], stamp)
	}
}

// stampedSector says whether a sector is whole, of that block, and of a write from lo on.
func stampedSector(b []byte, block, lo, hi uint64) bool {
	stamp := binary.LittleEndian.Uint64(b[8:])
	for i := 0; i < len(b); i += 16 {
		if binary.LittleEndian.Uint64(b[i:]) != block || binary.LittleEndian.Uint64(b[i+8:]) != stamp {
			return false
		}
	}
	return stamp >= lo && stamp <= hi
}
