package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// twoPartitions makes two partitions of a SCSI disk and returns the second.
func twoPartitions(t *testing.T, disk string, start, sectors uint32) string {
	t.Helper()
	mbr := make([]byte, 512)
	binary.LittleEndian.PutUint32(mbr[440:], 0x0d6ea1a1) // or its partitions have no UUID
	for i, p := range [][2]uint32{{2048, 2048}, {start, sectors}} {
		e := mbr[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], p[0])
		binary.LittleEndian.PutUint32(e[12:], p[1])
	}
	mbr[510], mbr[511] = 0x55, 0xaa
	f, err := os.OpenFile(disk, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	within(t, "the partitions of "+disk, func() bool {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0) // busy while somebody looks at the disk
		_, err := os.Stat(disk + "2")
		return err == nil
	})
	return disk + "2"
}

// byUUID makes the name of the second partition, as udev does: kernels before 6.14 do not say the UUID otherwise.
func byUUID(t *testing.T, disk string) {
	t.Helper()
	const name = "/dev/disk/by-partuuid/0d6ea1a1-02"
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(name)
	if err := os.Symlink(disk+"2", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(name) })
}

// A partition comes back with its disk: it is the same one, and what is written lands in it.
func TestDiskLossPartition(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	const start = 8192
	part := twoPartitions(t, scsi[0], start, 122880)
	byUUID(t, scsi[0])
	losses := []loss{offlineLoss(t, scsi[0]), scsiLoss(t, scsi[0])}
	s := up(t, parkConfig(part, scsi[1], "park:1h", noCache))
	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	w := startWriter(t, s.dev["data"], 8)
	for i, l := range losses {
		n := commandsOf(t, s, 0)
		within(t, "writes", func() bool { return commandsOf(t, s, 0) > n+10 })
		l.away(t)
		diskState(t, s, daemon.DiskParked)
		within(t, "a parked command", func() bool { return state(t, s, "data").Disks[0].Parked > 0 })
		l.back(t)
		for _, n := range scsiNodes(t, 2) {
			if n != scsi[1] {
				byUUID(t, n)
			}
		}
		d := diskState(t, s, daemon.DiskPresent)
		if (d.Node == part) != (i == 0) || !strings.HasSuffix(d.Node, "2") || d.Returned == nil {
			t.Errorf("%s: it was %s, and is %+v", l.what, part, d)
		}
		stampBlock(b, uint64(i)+7)
		if _, e := transfer(fd, true, b, 4096); e != 0 {
			t.Error(e)
		}
		disk := openDirect(t, strings.TrimSuffix(d.Node, "2"))
		if _, e := transfer(disk, false, b, start+8+4096); e != 0 {
			t.Error(e)
		} else if got, _ := blockValue(b); got != uint64(i)+7 {
			t.Errorf("%s: %d is in the partition", l.what, got)
		}
		_ = unix.Close(disk)
	}
	w.end(t)
}

// A disk that is back with less of it is refused, and told of; when it is back as it was, it is taken.
func TestDiskLossSmaller(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	const size = "/sys/bus/pseudo/drivers/scsi_debug/virtual_gb"
	put(t, size, "1") // more than it has: the rest is the beginning again
	for _, n := range scsi {
		put(t, "/sys/block/"+filepath.Base(n)+"/device/rescan", "1")
	}
	l := scsiLoss(t, scsi[0])
	s := up(t, parkConfig(scsi[0], scsi[1], "park:1h", noCache))
	w := startWriter(t, s.dev["data"], 8)
	l.away(t)
	diskState(t, s, daemon.DiskParked)
	put(t, size, "0")
	l.back(t)
	within(t, "the disk is refused", func() bool {
		x := eventsOf(t, s, daemon.DiskUnfit)
		return len(x) == 1 && x[0].Disk == "a" && strings.Contains(x[0].Error, "131072 sectors, fewer than the 2097152 it had")
	})
	if st := state(t, s, "data"); st.Disks[0].State != daemon.DiskParked || st.Errors != 0 {
		t.Errorf("%+v, %d errors", st.Disks[0], st.Errors)
	}
	l.away(t)
	put(t, size, "1")
	l.back(t)
	if d := diskState(t, s, daemon.DiskPresent); d.Bytes != 1<<30 {
		t.Errorf("it has %d bytes", d.Bytes)
	}
	w.end(t)
	if x := eventsOf(t, s, daemon.DiskUnfit, daemon.DiskReturned); len(x) != 2 || x[1].Kind != daemon.DiskReturned {
		t.Errorf("events %+v", x)
	}
}

// A copy whose disk vanishes ends while the disk is away, and what it claims is there. When the disk is back, one from the
// beginning on does all.
func TestDiskLossUnderCopy(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	l := scsiLoss(t, scsi[0])
	s := up(t, pathDisks(scsi...)+noCache+"[device.data]\non_disk_loss = \"park:1h\"\ntable = \"\"\"\n0 16384 linear a 8\n\"\"\"\n"+tableDevice("other", "0 8192 linear b 8"))
	force := []string{"--force"} // the writer has the device open
	for i, c := range []copies{{src: "data", dst: "other", n: 8192, policy: force}, {src: "other", dst: "data", n: 8192, policy: force}} {
		scribble(t, s.dev[c.src], uint64(i)*2+1)
		scribble(t, s.dev[c.dst], uint64(i)*2+2)
		src := whole(t, s.dev[c.src])
		w := startWriter(t, s.dev["data"], 10000)
		var out, say bytes.Buffer
		cmd := exec.Command("ublk-linear", append([]string{"copy", "-c", s.file, "--json", "--force", "--rate=1MiB", "--window=256KiB", "--in-flight=512KiB"}, c.ranges()...)...)
		cmd.Stdout, cmd.Stderr = &out, &say
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		within(t, "a part of the copy", func() bool { // more than is in flight, so that the first window is among it
			l, err := client(t, s.file).Copies(t.Context())
			return err == nil && len(l.Copies) == 1 && l.Copies[0].Bytes >= 1<<20
		})
		l.away(t)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(hang / 2):
			l.back(t)
			t.Fatalf("%v waits for the disk: %v\n%s", c, <-ended, &say)
		}
		d := diskState(t, s, daemon.DiskParked)
		var res daemon.CopyResult
		if err := json.Unmarshal(out.Bytes(), &res); err != nil || cmd.ProcessState.ExitCode() != 7 {
			t.Fatalf("%v: exit %d: %v\n%s\n%s", c, cmd.ProcessState.ExitCode(), err, &out, &say)
		}
		t.Logf("%v: %d bytes, %d emulated, failed %+v: %s", c, res.Bytes, res.Emulated, res.Failed, res.Error)
		// A destination that is gone cannot be flushed, and nothing of it is claimed.
		if res.Complete || res.Emulated == 0 || res.Emulated >= c.n*512 || res.Bytes > res.Emulated || res.Host < res.Emulated || res.Error == "" || (res.Bytes > 0) != (c.dst == "other") {
			t.Errorf("%v: %+v, the disk %+v", c, res, d)
		}
		l.back(t)
		diskState(t, s, daemon.DiskPresent)
		w.end(t)
		if at, n := differ(whole(t, s.dev[c.dst])[:res.Bytes], src[:res.Bytes]); n > 0 {
			t.Errorf("%v: %d bytes are said to be copied, but %d sectors are not, the first is %d", c, res.Bytes, n, at)
		}
		c.expect(t, s)
		if x := eventsOf(t, s, daemon.CopyFailed); len(x) != i+1 {
			t.Errorf("events %+v", x)
		}
	}
}

// scsiTwin is a disk over the store of the last disk of scsi_debug: by it a test changes what that one has.
func scsiTwin(t *testing.T, others ...string) *raw {
	t.Helper()
	put(t, "/sys/bus/pseudo/drivers/scsi_debug/per_host_store", "0")
	put(t, "/sys/bus/pseudo/drivers/scsi_debug/add_host", "1")
	for _, n := range scsiNodes(t, len(others)+1) {
		if !strings.Contains(strings.Join(others, " "), n) {
			within(t, n+" can be opened", func() bool {
				f, err := os.Open(n)
				_ = f.Close()
				return err == nil && number(t, "/sys/block/"+filepath.Base(n)+"/size") > 0
			})
			return openRaw(t, n)
		}
	}
	t.Fatal("it is not there")
	return nil
}

// A file system over a disk that comes back without what was in its cache: nothing that an fsync has confirmed is lost, and
// the next fsync says that what came behind it is. Over a disk that keeps its cache nothing fails, and nothing is lost.
func TestDiskLossFileSystem(t *testing.T) {
	anyKernel(t)
	cleared(t)
	for _, keeps := range []bool{false, true} {
		t.Run(fmt.Sprintf("keeps its cache %v", keeps), func(t *testing.T) {
			node := scsiDisks(t, 1, 64, 512)[0]
			l, twin := scsiLoss(t, node), scsiTwin(t, node)
			more := ""
			if keeps {
				more = noCache
			}
			s := up(t, pathDisks(node)+more+"[device.data]\non_disk_loss = \"park:1h\"\ntable = \"\"\"\n0 32768 linear a 8\n\"\"\"\n")
			dev, dir := s.dev["data"], filepath.Join(t.TempDir(), "m")
			words(t, "mkfs.ext4 -q -F -E lazy_itable_init=0", dev)
			unmount := mount(t, dev, dir, "ext4")
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "commit=600"); err != nil { // no flush of its own
				t.Fatal(err)
			}
			kept := bytes.Repeat([]byte("confirmed "), 4000)
			for i := range 10 {
				syncedFile(t, filepath.Join(dir, "kept"+strconv.Itoa(i)), kept[i:])
			}
			name := filepath.Join(dir, "over")
			syncedFile(t, name, make([]byte, 1<<20))
			over, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = over.Close() })
			before, b := aligned(t, (8+32768)*512), aligned(t, 1<<20)
			fill(b, 7)
			within(t, "a write that no flush confirms", func() bool {
				flushes := func() uint64 { return status(t, s, "data").IO["flush"].Requests }
				err1 := over.Sync()
				n := flushes()
				_, err2 := twin.ReadAt(before, 0)
				_, err3 := over.WriteAt(b, 0)
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Fatal(err)
				}
				return flushes() == n
			})
			l.away(t)
			wrote := make(chan error, 1)
			go func() {
				_, err := over.WriteAt(b[:4096], 0)
				wrote <- err
			}()
			diskState(t, s, daemon.DiskParked)
			if !keeps {
				if _, err := twin.WriteAt(before, 0); err != nil {
					t.Fatal(err)
				}
			}
			l.back(t)
			if d := diskState(t, s, daemon.DiskPresent); d.Returned == nil || d.Returned.Unflushed == keeps {
				t.Errorf("%+v", d)
			}
			if err := <-wrote; err != nil {
				t.Errorf("the write that waited: %v", err)
			}
			if err := over.Sync(); (err == nil) != keeps {
				t.Errorf("fsync behind it: %v", err)
			}
			if err := os.WriteFile(filepath.Join(dir, "more"), kept, 0o600); keeps && err != nil {
				t.Errorf("a file more: %v", err)
			}
			_ = over.Close()
			unmount()
			if out, err := exec.Command("e2fsck", "-fy", dev).CombinedOutput(); exitStatus(err) > 1 || keeps && err != nil {
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
			unmount = mount(t, dev, dir, "ext4")
			for i := range 10 {
				if got, err := os.ReadFile(filepath.Join(dir, "kept"+strconv.Itoa(i))); err != nil || !bytes.Equal(got, kept[i:]) {
					t.Errorf("file %d: %v, %d bytes", i, err, len(got))
				}
			}
			if got, err := os.ReadFile(name); err != nil || len(got) != len(b) || keeps != bytes.Equal(got, b) {
				t.Errorf("what was written and not confirmed: %v, %d bytes, as it was written %v", err, len(got), bytes.Equal(got, b))
			}
			unmount()
			if x := eventsOf(t, s, daemon.DiskGone, daemon.DiskReturned); len(x) != 2 {
				t.Errorf("events %+v", x)
			}
		})
	}
}

// syncedFile writes a file, and has it and its name confirmed.
func syncedFile(t *testing.T, name string, b []byte) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// While requests wait for a disk, a reload that would change their device is refused, and one of another device is done.
func TestReloadBesideParked(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	l := scsiLoss(t, scsi[0])
	text := parkConfig(scsi[0], scsi[1], "park:1h", noCache)
	s := up(t, text)
	w, other := startWriter(t, s.dev["data"], 8), startWriter(t, s.dev["other"], 8)
	l.away(t)
	diskState(t, s, daemon.DiskParked)
	within(t, "a parked command", func() bool { return state(t, s, "data").Disks[0].Parked > 0 })
	was := tableOf(t, s, "data")
	changed := strings.Replace(text, "0 65536 linear a 8\n", "0 1024 linear a 8\n1024 64512 linear a 1032\n", 1)
	if changed == text {
		t.Fatal(text)
	}
	s.rewrite(changed)
	if out := exits(t, 4, "reload", "-c", s.file); !strings.Contains(out, "disk a is gone") {
		t.Errorf("%s", out)
	}
	if now := tableOf(t, s, "data"); now != was {
		t.Errorf("%s is now %s", was, now)
	}
	s.rewrite(strings.Replace(text, "0 16384 linear b 40000", "0 1024 linear b 40000\n1024 15360 linear b 41024", 1) + tableDevice("comes", "0 1024 linear b 100000"))
	exits(t, 0, "reload", "-c", s.file)
	if now := tableOf(t, s, "other"); !strings.Contains(now, "15360") {
		t.Errorf("other is %s", now)
	}
	if d := diskState(t, s, daemon.DiskParked); d.Parked == 0 {
		t.Errorf("%+v", d)
	}
	l.back(t)
	diskState(t, s, daemon.DiskPresent)
	n := commandsOf(t, s, 0)
	within(t, "writes afterwards", func() bool { return commandsOf(t, s, 0) > n+10 })
	w.end(t)
	other.end(t)
}
