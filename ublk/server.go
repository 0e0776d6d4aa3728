package ublk

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

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
	gate   *gate
	faults *injector
	done   chan struct{} // closed when the goroutine has ended
	leak   bool          // the queue ended with commands in flight: its memory stays mapped
}

// start maps the queue's memory, starts its goroutine and waits until every tag is fetched.
func (s *server) start() (err error) {
	depth, maxIO := s.dev.spec.Depth, int(s.dev.spec.MaxIO)
	wave := waveFor(s.mapper.Fan())
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
	if s.bufs, err = mapAnon(depth * maxIO); err != nil {
		return err
	}
	if s.iovs, err = mapAnon(depth * wave * 16); err != nil {
		return err
	}
	if s.gate, err = s.dev.holds.join(); err != nil {
		return err
	}
	if s.faults, err = newInjector(s.disks, opsFor(depth, s.mapper.Fan())); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go s.run(ready)
	if err = <-ready; err != nil {
		<-s.done
	}
	return err
}

// run is the queue's thread. It never unlocks: the thread ends with the goroutine, and with it all that the kernel ties
// to a task.
func (s *server) run(ready chan<- error) {
	runtime.LockOSThread()
	defer close(s.done)
	defer s.dev.holds.leave(s.gate)       // behind the ring's end
	_ = unix.SchedSetaffinity(0, &s.mask) // a hint: a cpuset may forbid it
	depth, fan := s.dev.spec.Depth, s.mapper.Fan()
	ops := opsFor(depth, fan)
	r, err := uring.New(uring.Options{Entries: uint32(min(4096, 2*depth+64)), CQEntries: uint32(min(65536, depth+ops+1)), Deferred: true})
	if err != nil {
		ready <- err
		return
	}
	defer r.Close()
	b := bounds{sectors: s.dev.spec.Sectors, maxIO: s.dev.spec.MaxIO / 512, lbs: uint64(s.dev.spec.Limits.LogicalBlock) / 512, readOnly: s.dev.spec.ReadOnly || s.dev.spec.Limits.ReadOnly}
	s.q = newQueue(s.id, depth, r, s.dev.charFD, b, s.mapper, s.disks,
		queueMemory{descs: descsOf(s.descs, depth), bufAddr: addrOf(s.bufs), iovs: iovecsOf(s.iovs, len(s.iovs)/16)}, s.dev.holds, s.gate)
	s.q.failed, s.q.faults = s.dev.fail, s.faults
	if err := s.q.fetch(); err != nil {
		ready <- err
		return
	}
	// A fetch that the driver refuses is answered at once; one that it takes, not before a request.
	if n := r.Ready(); n > 0 {
		if c, ok := r.Next(); ok && c.Res < 0 {
			ready <- unix.Errno(-c.Res)
			return
		}
		ready <- errors.New("a request before the device was started")
		return
	}
	ready <- nil
	if err := s.q.run(); err != nil {
		s.dev.fail(err)
	}
	s.leak = s.q.flying > 0
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
	s.faults.free()
	for _, m := range []*[]byte{&s.bufs, &s.iovs} {
		if *m != nil {
			_ = unix.Munmap(*m)
			*m = nil
		}
	}
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
