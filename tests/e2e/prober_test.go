package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prober does to devices what udev and its like do, and worse: every node of ublk's is opened as soon as it is there, a disk's first
// and last sectors are read and its partitions read again, and it is closed late, when the server may be gone. The character
// device, which only one may open, is opened before its server can.
type prober struct {
	t     testing.TB
	watch *os.File
	work  sync.WaitGroup

	opened, read, partitions, chars atomic.Int64
}

// startProber probes from now on. stop waits until everything is closed again.
func startProber(t testing.TB) (p *prober, stop func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	p = &prober{t: t, watch: os.NewFile(uintptr(fd), "inotify")}
	if _, err := unix.InotifyAddWatch(fd, "/dev", unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	p.work.Go(p.run)
	stop = sync.OnceFunc(func() {
		_ = p.watch.Close()
		done := make(chan struct{})
		go func() { p.work.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(hang):
			t.Errorf("a probe has not ended after %v", hang)
		}
	})
	t.Cleanup(stop)
	return p, stop
}

func (p *prober) run() {
	buf := make([]byte, 64<<10)
	for late := 0; ; {
		n, err := p.watch.Read(buf)
		if err != nil {
			return // closed
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := unix.SizeofInotifyEvent + int(binary.LittleEndian.Uint32(b[12:]))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
			b = b[size:]
			late++
			wait := []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond}[late%3]
			switch node := filepath.Join("/dev", name); {
			case strings.HasPrefix(name, "ublkb"):
				p.work.Go(func() { p.disk(node, wait) })
			case strings.HasPrefix(name, "ublkc"):
				p.work.Go(func() { p.char(node, wait/10) })
			}
		}
	}
}

// disk probes a block device. Any of it may fail: the device may be going.
func (p *prober) disk(node string, late time.Duration) {
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	p.opened.Add(1)
	defer unix.Close(fd)
	b := make([]byte, 4096)
	end, _ := unix.Seek(fd, 0, 2)
	_, first := unix.Pread(fd, b, 0)
	_, last := unix.Pread(fd, b, max(0, end-4096))
	if first == nil && last == nil && end > 0 {
		p.read.Add(1)
	}
	if unix.IoctlSetInt(fd, unix.BLKRRPART, 0) == nil {
		p.partitions.Add(1)
	}
	time.Sleep(late) // not a wait for something: this is how late it closes
}

// char keeps a server from its character device for a moment.
func (p *prober) char(node string, late time.Duration) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	p.chars.Add(1)
	time.Sleep(late)
	_ = unix.Close(fd)
}
