package ublk

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// queueRing is the io_uring of a queue's thread.
type queueRing interface {
	ring
	Ready() uint32
	RegisterEmpty(n uint32) error
	IdleAt(n *int)
	BriefAt(n *int)
	Close() error
}

// server is a queue's goroutine and the memory it maps. The memory outlives the goroutine: it is given back only when
// the kernel can no longer write to it.
type server struct {
	dev    *Device
	id     int
	mask   unix.CPUSet
	mapper Mapper
	disks  []Backing
	q      *queue
	descs  []byte
	bufs   []byte
	iovs   []byte
	spares [][]byte // iovecs of worlds that came to nothing
	gate   *gate
	faults atomic.Pointer[injector] // nil: none
	tid    int                      // of the goroutine's thread
	ring   queueRing                // with fetches that the driver has not ended, to be closed when the thread is gone
	begin  chan struct{}            // closed when every queue of the device is prepared
	quit   chan struct{}            // closed when the goroutine is not to begin any more
	ready  chan error
	done   chan struct{} // closed when the goroutine has ended
	leak   bool          // the queue ended with commands in flight: its memory stays mapped
}

func newServer(d *Device, id int, mask unix.CPUSet, m Mapper, disks []Backing) *server {
	return &server{dev: d, id: id, mask: mask, mapper: m, disks: disks,
		begin: make(chan struct{}), quit: make(chan struct{}), ready: make(chan error, 1), done: make(chan struct{})}
}

// prepare maps the queue's memory, starts its goroutine and waits until that can fetch.
func (s *server) prepare() (err error) {
	depth, maxIO := s.dev.spec.Depth, int(s.dev.spec.MaxIO)
	defer func() {
		if err != nil {
			s.free()
		}
	}()
	page := os.Getpagesize()
	round := func(n int) int { return (n + page - 1) / page * page }
	const desc = uapi.SizeofIODesc
	stride := round(uapi.UBLK_MAX_QUEUE_DEPTH * desc) // of the largest depth, whatever ours is
	if s.descs, err = unix.Mmap(s.dev.charFD, int64(uapi.UBLKSRV_CMD_BUF_OFFSET+s.id*stride), round(depth*desc), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return &os.SyscallError{Syscall: "mmap descriptors", Err: err}
	}
	if s.dev.spec.DataPath != ZeroCopyPath {
		if s.bufs, err = mapAnon(depth * maxIO); err != nil {
			return err
		}
	}
	if s.iovs, err = s.mapIovecs(s.mapper.Fan()); err != nil {
		return err
	}
	if s.gate, err = s.dev.holds.join(); err != nil {
		return err
	}
	x, err := newInjector(s.disks, opsFor(depth, s.mapper.Fan()))
	if err != nil {
		return err
	}
	s.faults.Store(x)
	go s.run()
	if err = <-s.ready; err != nil {
		<-s.done
	}
	return err
}

// fetched waits until every tag is fetched.
func (s *server) fetched() error {
	err := <-s.ready
	if err != nil {
		<-s.done
	}
	return err
}

// cancel ends a goroutine that has not begun.
func (s *server) cancel() {
	select {
	case <-s.begin:
	case <-s.quit:
	default:
		close(s.quit)
	}
}

func (s *server) mapIovecs(fan int) ([]byte, error) {
	return mapAnon(s.dev.spec.Depth * waveFor(fan) * uapi.SizeofIovec)
}

// run is the queue's thread. It never unlocks: the thread ends with the goroutine, and with it all that the kernel ties
// to a task.
func (s *server) run() {
	runtime.LockOSThread()
	if s.tid = unix.Gettid(); s.tid == os.Getpid() {
		// The process's first thread does not end before the process. While it is locked here the other goroutine gets another.
		other := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(other)
			s.run()
		}()
		<-other
		runtime.UnlockOSThread()
		return
	}
	defer close(s.done)
	defer s.dev.holds.leave(s.gate)       // behind the ring's end
	_ = unix.SchedSetaffinity(0, &s.mask) // a hint: a cpuset may forbid it
	depth, fan := s.dev.spec.Depth, s.mapper.Fan()
	ops := opsFor(depth, fan)
	r, err := s.dev.c.ring(uring.Options{Entries: uint32(min(4096, 2*depth+64)), CQEntries: uint32(min(65536, depth+ops+1)), Deferred: true})
	if err != nil {
		s.ready <- err
		return
	}
	fetching := false
	defer func() {
		if fetching { // the driver has fetches of ours
			s.ring = r
			return
		}
		_ = r.Close()
	}()
	fixed := s.dev.spec.DataPath == ZeroCopyPath
	if fixed {
		if err := r.RegisterEmpty(uint32(depth)); err != nil {
			s.ready <- err
			return
		}
	}
	b := bounds{sectors: s.dev.spec.Sectors, maxIO: s.dev.spec.MaxIO / 512, lbs: uint64(s.dev.spec.Limits.LogicalBlock) / 512, readOnly: s.dev.spec.ReadOnly || s.dev.spec.Limits.ReadOnly}
	s.q = newQueue(s.id, depth, r, s.dev.charFD, b, s.mapper, s.disks,
		queueMemory{descs: descsOf(s.descs, depth), fixed: fixed, bufAddr: addrOf(s.bufs), iovs: iovecsOf(s.iovs, len(s.iovs)/uapi.SizeofIovec)}, s.dev.holds, s.gate)
	r.IdleAt(&s.q.flying) // fetches and the read of the bell are always pending
	r.BriefAt(&s.q.lengthy)
	s.q.failed, s.q.diskFailed, s.q.faults = s.dev.fail, s.dev.spec.DiskFailed, s.faults.Load()
	s.q.loss = &s.dev.loss
	s.ready <- nil
	select {
	case <-s.begin:
	case <-s.quit:
		return
	}
	fetching = true
	if err := s.q.fetch(); err != nil {
		s.ready <- err
		return
	}
	// A fetch that the driver refuses is answered at once; one that it takes, not before a request.
	for c, ok := r.Next(); ok; c, ok = r.Next() {
		switch {
		case c.Res < 0:
			s.ready <- unix.Errno(-c.Res)
			return
		case !s.dev.recovered:
			s.ready <- errors.New("a request before the device was started")
			return
		}
		s.q.early = append(s.q.early, uint16(c.UserData)) // a driver may send what has waited for a server as soon as all is fetched
	}
	s.ready <- nil
	if err := s.q.run(); err != nil {
		s.dev.fail(err)
	}
	fetching = s.q.leaving
	s.leak = s.q.flying > 0
}

// world makes what Swap gives to the queue, and the memory it needs beyond what the queue has.
func (s *server) world(m Mapper, disks []Backing) (*world, []byte, error) {
	depth, fan := s.dev.spec.Depth, m.Fan()
	x, err := newInjector(disks, max(opsFor(depth, fan), len(*s.q.watched.Load())))
	if err != nil {
		return nil, nil, err
	}
	w := &world{mapper: m, disks: disks, faults: x}
	if waveFor(fan) <= s.wave() && opsFor(depth, fan) <= len(*s.q.watched.Load()) {
		return w, nil, nil
	}
	fan = max(fan, s.mapper.Fan()) // it serves the old mapper too, if that comes back
	mem, err := s.mapIovecs(fan)
	if err != nil {
		x.free()
		return nil, nil, err
	}
	p := newPool(depth, fan, iovecsOf(mem, len(mem)/uapi.SizeofIovec))
	w.pool, w.mem = &p, mem
	return w, mem, nil
}

func (s *server) wave() int { return len(s.iovs) / uapi.SizeofIovec / s.dev.spec.Depth }

// moved gives back what the queue does not use any more: nothing of it was in flight when it changed.
func (s *server) moved(w *world) {
	s.mapper, s.disks = w.mapper, w.disks
	s.faults.Swap(w.faults).free()
	if w.mem != nil {
		_ = unix.Munmap(s.iovs)
		s.iovs = w.mem
	}
}

// keep keeps the memory of a world that the queue may still look at, to the end.
func (s *server) keep(w *world) {
	if w.mem != nil {
		s.spares = append(s.spares, w.mem)
	}
}

// wait waits for the goroutine's end.
func (s *server) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
		return nil
	case <-t.C:
		return ErrTimeout
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives the memory back.
func (s *server) free() {
	if s.descs != nil {
		_ = unix.Munmap(s.descs)
		s.descs = nil
	}
	if s.gate != nil {
		s.gate.free()
	}
	if s.leak {
		return
	}
	s.faults.Swap(nil).free()
	for _, m := range append(s.spares, s.bufs, s.iovs) {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	s.bufs, s.iovs, s.spares = nil, nil, nil
}

func mapAnon(n int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, &os.SyscallError{Syscall: "mmap buffers", Err: err}
	}
	// A fork of a helper program must not make the kernel copy pages that a disk is writing to.
	_ = unix.Madvise(m, unix.MADV_DONTFORK)
	return m, nil
}
