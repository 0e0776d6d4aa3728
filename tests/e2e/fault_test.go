package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// openDirect opens a device for direct I/O.
func openDirect(t testing.TB, node string) int {
	t.Helper()
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("%s: %v", node, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// pages is memory that direct I/O takes.
func pages(t testing.TB, n int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// transfer reads or writes all of b at a sector and returns how many bytes it moved and the errno.
func transfer(fd int, write bool, b []byte, sector uint64) (int, unix.Errno) {
	f := unix.Pread
	if write {
		f = unix.Pwrite
	}
	n, err := f(fd, b, int64(sector)*512)
	var e unix.Errno
	if errors.As(err, &e) {
		return 0, e
	}
	return n, 0
}

// Faulty part of disk a in TestFaults, in sectors.
const badStart, badLen = 20000, 100

// badTable has a part of a disk that fails.
func badTable(disk string, size int) string {
	return fmt.Sprintf("0 %d linear %s 0\n%d %d error\n%d %d linear %s %d", badStart, disk, badStart, badLen,
		badStart+badLen, size-badStart-badLen, disk, badStart+badLen)
}

// The I/O that touches a failing part of a disk fails, with dm's errno; all other I/O does not notice.
func TestFaults(t *testing.T) {
	anyKernel(t)
	const size = 64 << 11
	base, good := nullBlk(t, 64), nullBlk(t, 64)
	ourBad := dmCreate(t, "bad-ours", badTable(base, size))
	dmBad := dmCreate(t, "bad-dm", badTable(base, size)) // the same disk: dm does not exclude dm
	// The bad part begins in the linear target and ends in the third row of the stripe's first leg.
	const lines = "0 20032 linear %[1]s 8\n20032 65520 striped 2 24 %[1]s 20040 %[2]s 0"
	s := up(t, pathDisks(ourBad, good)+tableDevice("data", fmt.Sprintf(lines, "a", "b")))
	ref := dmCreate(t, "ref", fmt.Sprintf(lines, dmBad, nullBlk(t, 64)))
	bad := func(sector uint64) bool {
		leg, at := sector+8, true
		if sector >= 20032 {
			k := (sector - 20032) / 24
			leg, at = 20040+k/2*24+(sector-20032)%24, k%2 == 0
		}
		return at && leg >= badStart && leg < badStart+badLen
	}
	fd, dm := openDirect(t, s.dev["data"]), openDirect(t, ref)

	// Others at work on good ranges the whole time.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var others atomic.Int64
	for w := range 4 {
		b := pages(t, 16<<10)
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				at := uint64(24000 + w*10000 + i%300*32)
				if _, e := transfer(fd, i%2 == 0, b, at); e != 0 {
					t.Errorf("I/O at %d, beside the bad part: %v", at, e)
					return
				}
				others.Add(1)
			}
		})
	}

	b := pages(t, 256<<10)
	rng := rand.New(rand.NewPCG(1, 2))
	before := status(t, s, "data").Errors
	var failed, passed, requests int
	for range scaled(300, 10) {
		at := uint64(badStart - 100 + rng.IntN(400))
		n := 1 + rng.IntN(8)
		if rng.IntN(4) == 0 {
			n = 1 + rng.IntN(512)
		}
		write, want := rng.IntN(2) == 0, unix.Errno(0)
		for i := range n {
			if bad(at + uint64(i)) {
				want = unix.EIO
			}
		}
		got, e := transfer(fd, write, b[:n*512], at)
		_, d := transfer(dm, write, b[:n*512], at)
		if e != want || d != want || e == 0 && got != n*512 {
			t.Errorf("write=%v at %d +%d: %v (%d bytes), dm %v, want %v", write, at, n, e, got, d, want)
		}
		if want != 0 {
			failed++
		} else {
			passed++
		}
		requests++
	}
	close(stop)
	wg.Wait()
	if failed < 20 || passed < 20 || others.Load() < 20 {
		t.Errorf("%d failed, %d passed, %d others: too few to say anything", failed, passed, others.Load())
	}
	// A request of up to 256 KiB is one request of the device: every failure counts once.
	if n := status(t, s, "data").Errors - before; n != uint64(failed) {
		t.Errorf("%d errors counted, %d seen", n, failed)
	}
	t.Logf("%d requests failed, %d passed, %d beside them", failed, passed, others.Load())
	if err := unix.Fsync(fd); err != nil {
		t.Errorf("fsync: %v", err)
	}
}

// What passes beside a failing piece is on the disks, and reads back.
func TestFaultKeepsTheRest(t *testing.T) {
	needGuest(t)
	base, good := nullBlk(t, 64), nullBlk(t, 64)
	s := up(t, pathDisks(dmCreate(t, "bad-keep", badTable(base, 64<<11)), good)+
		tableDevice("data", fmt.Sprintf("0 48000 striped 2 24 a %d b 0", badStart-240)))
	fd, b := openDirect(t, s.dev["data"]), pages(t, 24*512)
	buf := pages(t, 24*512)
	for k := range uint64(40) { // chunk k: leg a or b, row k/2; rows 10 to 14 of a are bad, the last in part
		for i := range b {
			b[i] = byte(k) + 1
		}
		want := k%2 == 0 && k/2 >= 10 && k/2 <= 14
		if _, e := transfer(fd, true, b, k*24); (e != 0) != want {
			t.Errorf("chunk %d: %v", k, e)
		}
		if _, e := transfer(fd, false, buf, k*24); (e != 0) != want || e == 0 && !bytes.Equal(buf, b) {
			t.Errorf("chunk %d read: %v", k, e)
		}
	}
}

// A disk's failing FLUSH fails fsync, whichever leg it is, and only as long as it fails.
func TestFlushFails(t *testing.T) {
	needGuest(t)
	a, b, c := nullBlk(t, 64, withCache), nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)
	const fine, flaky = "0 131072 linear %s 0", "0 131072 flakey %s 0 0 60 1 error_writes"
	node := dmCreate(t, "flaky", fmt.Sprintf(fine, b))
	s := up(t, pathDisks(a, node, c)+tableDevice("data", "0 2048 linear a 0\n2048 2160 striped 3 24 a 2048 b 0 c 0"))
	f, err := os.OpenFile(s.dev["data"], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	dmSwap(t, "flaky", fmt.Sprintf(flaky, b))
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("fsync with one failing leg: %v", err)
	}
	if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EIO) {
		t.Errorf("fdatasync with one failing leg: %v", err)
	}
	fd, p := openDirect(t, s.dev["data"]), pages(t, 4096)
	if _, e := transfer(fd, true, p, 0); e != 0 {
		t.Errorf("a write to a good leg: %v", e)
	}
	if _, e := transfer(fd, true, p, 2048+24); e != unix.EIO {
		t.Errorf("a write to the failing leg: %v", e)
	}
	dmSwap(t, "flaky", fmt.Sprintf(fine, b))
	if err := f.Sync(); err != nil {
		t.Errorf("fsync when all is well again: %v", err)
	}
	if st := status(t, s, "data"); st.Errors != 3 {
		t.Errorf("%d errors counted", st.Errors)
	}
}

// dmSwap gives a dm device another table.
func dmSwap(t testing.TB, name, table string) {
	t.Helper()
	cmd := exec.Command("dmsetup", "reload", name)
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dmsetup reload %s: %v\n%s", name, err, out)
	}
	sh(t, "dmsetup", "resume", "--noudevsync", name)
}

// Errors that are not EIO come through with their own number, as through dm.
func TestErrno(t *testing.T) {
	anyKernel(t)
	both := func(t *testing.T, ours, dms string, sectors int, prepare func(), want unix.Errno) {
		s := up(t, pathDisks(ours)+tableDevice("data", fmt.Sprintf("0 %d linear a 0", sectors)))
		ref := dmCreate(t, "ref", fmt.Sprintf("0 %d linear %s 0", sectors, dms))
		fd, dm, b := openDirect(t, s.dev["data"]), openDirect(t, ref), pages(t, 64<<10)
		prepare()
		var e, d unix.Errno
		for at := uint64(0); at+128 <= uint64(sectors) && (e == 0 || d == 0); at += 128 {
			if e == 0 {
				_, e = transfer(fd, true, b, at)
			}
			if d == 0 {
				_, d = transfer(dm, true, b, at)
			}
		}
		if e != d || e != want {
			t.Errorf("ours %v, dm's %v, want %v", e, d, want)
		}
	}
	t.Run("ENOSPC", func(t *testing.T) {
		thin := func(name string) string {
			pool := dmCreate(t, name+"-pool", fmt.Sprintf("0 8192 thin-pool %s %s 128 0 2 skip_block_zeroing error_if_no_space", nullBlk(t, 4), nullBlk(t, 4)))
			sh(t, "dmsetup", "message", name+"-pool", "0", "create_thin 0")
			return dmCreate(t, name, "0 32768 thin "+pool+" 0")
		}
		both(t, thin("thin-ours"), thin("thin-dm"), 32768, func() {}, unix.ENOSPC)
	})
	t.Run("EREMOTEIO", func(t *testing.T) {
		sh(t, "modprobe", "sd_mod")
		sh(t, "modprobe", "scsi_debug", "add_host=1", "num_tgts=2", "dev_size_mb=8", "delay=0")
		t.Cleanup(func() {
			within(t, "rmmod scsi_debug", func() bool { return exec.Command("rmmod", "scsi_debug").Run() == nil })
		})
		var disks []string
		within(t, "two SCSI disks", func() bool {
			disks, _ = filepath.Glob("/dev/sd?")
			return len(disks) == 2
		})
		if len(disks) != 2 {
			t.Fatalf("disks %v", disks)
		}
		both(t, disks[0], disks[1], 16384, func() {
			if err := os.WriteFile("/sys/module/scsi_debug/parameters/wp", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		}, unix.EREMOTEIO)
	})
}

// Discard is advertised when all disks have it, as by dm.
func TestDiscardNeedsAll(t *testing.T) {
	needGuest(t)
	for _, last := range []string{"discard=1", "discard=0"} {
		t.Run(last, func(t *testing.T) {
			a, b := nullBlk(t, 64), nullBlk(t, 64, last)
			s := up(t, pathDisks(a, b)+tableDevice("data", "0 2048 linear a 0\n2048 4080 striped 2 24 a 2048 b 0"))
			c, d := nullBlk(t, 64), nullBlk(t, 64, last)
			dm := dmCreate(t, "ref", fmt.Sprintf("0 2048 linear %[1]s 0\n2048 4080 striped 2 24 %[1]s 2048 %[2]s 0", c, d))
			attr := func(node string) uint64 {
				return number(t, "/sys/class/block/"+filepath.Base(node)+"/queue/discard_max_bytes")
			}
			ours, theirs := attr(s.dev["data"]), attr(dm)
			if (ours > 0) != (theirs > 0) || (ours > 0) != (last == "discard=1") {
				t.Errorf("discard_max_bytes %d, dm's %d", ours, theirs)
			}
			if _, err := exec.Command("blkdiscard", s.dev["data"]).CombinedOutput(); (err == nil) != (ours > 0) {
				t.Errorf("blkdiscard: %v", err)
			}
		})
	}
}
