package ublk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// Deadlines of control commands. A command that only looks things up answers at once; one that adds, starts, stops or
// deletes waits for I/O, for udev and for other devices (ublk_ctl_mutex is global to the host).
const (
	quickDeadline = 5 * time.Second
	slowDeadline  = 30 * time.Second
)

// Options of a Control. The zero value is what a server wants.
type Options struct {
	Logger *slog.Logger // nil: silent
	Dev    string       // where the device nodes are; "": /dev
}

// Control is the way to the driver: /dev/ublk-control and one thread that sends commands, one at a time.
//
// A command past its deadline is abandoned with its ring and its memory, which the driver may still write; the next
// command gets a new ring.
type Control struct {
	fd       int
	dev      string
	log      *slog.Logger
	features Features
	ring     func(uring.Options) (queueRing, error) // of a queue
	jobs     chan *job
	closed   chan struct{}
	done     sync.WaitGroup
	once     sync.Once
}

type job struct {
	op       uint32
	cmd      uapi.CtrlCmd
	data     []byte // in and out; copied to and from memory that the kernel may keep
	deadline time.Time
	reply    chan error
}

// OpenControl opens the driver and asks for its features. Errors: ErrNoDriver, ErrTooOld, or what open(2) and
// io_uring_setup(2) say, EACCES and EPERM among them when CAP_SYS_ADMIN is missing.
func OpenControl(o *Options) (*Control, error) {
	if o == nil {
		o = &Options{}
	}
	c := &Control{dev: o.Dev, log: o.Logger, jobs: make(chan *job), closed: make(chan struct{}),
		ring: func(o uring.Options) (queueRing, error) { return uring.New(o) }}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.dev == "" {
		c.dev = "/dev"
	}
	fd, err := unix.Open(c.dev+"/ublk-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil, &OpError{"open control", -1, ErrNoDriver}
	}
	if err != nil {
		return nil, &OpError{"open control", -1, &os.PathError{Op: "open", Path: c.dev + "/ublk-control", Err: err}}
	}
	c.fd = fd
	ready := make(chan error, 1)
	c.done.Go(func() { c.run(ready) })
	if err := <-ready; err != nil {
		c.Close()
		return nil, &OpError{"open control", -1, err}
	}
	var b [uapi.UBLK_FEATURES_LEN]byte
	err = c.do(context.Background(), &job{op: uapi.UBLK_U_CMD_GET_FEATURES, cmd: uapi.CtrlCmd{DevID: 0}, data: b[:]}, quickDeadline)
	c.features = Features(le64(b[:]))
	if err != nil && !errors.Is(err, ErrTimeout) || err == nil && !c.features.Has(uapi.UBLK_F_CMD_IOCTL_ENCODE) {
		err = errors.Join(ErrTooOld, err)
	}
	if err != nil {
		c.Close()
		return nil, &OpError{"get features", -1, err}
	}
	return c, nil
}

// Features is what the driver can do.
func (c *Control) Features() Features { return c.features }

// Close ends the control thread. Devices live on: they are the driver's.
func (c *Control) Close() error {
	var err error
	c.once.Do(func() {
		close(c.closed)
		c.done.Wait()
		err = unix.Close(c.fd)
	})
	return err
}

// do sends one command and waits for its answer. The deadline is the sooner of ctx's and d from now.
func (c *Control) do(ctx context.Context, j *job, d time.Duration) error {
	j.deadline = time.Now().Add(d)
	if t, ok := ctx.Deadline(); ok && t.Before(j.deadline) {
		j.deadline = t
	}
	j.cmd.QueueID = 0xFFFF
	j.reply = make(chan error, 1)
	select {
	case c.jobs <- j:
	case <-c.closed:
		return os.ErrClosed
	case <-time.After(time.Until(j.deadline)):
		return ErrTimeout
	}
	return <-j.reply
}

// run owns the control ring: a goroutine locked to its thread, which ends with it.
func (c *Control) run(ready chan<- error) {
	runtime.LockOSThread()
	s, err := newSender(c.fd)
	ready <- err
	if err != nil {
		return
	}
	defer func() { s.close() }()
	for {
		select {
		case <-c.closed:
			return
		case j := <-c.jobs:
			err := s.send(j)
			j.reply <- err
			if !errors.Is(err, ErrTimeout) {
				continue
			}
			c.log.Error("control command timed out", "op", fmt.Sprintf("%#x", j.op), "dev", int32(j.cmd.DevID))
			s.abandon()
			if s, err = newSender(c.fd); err != nil {
				c.log.Error("control ring", "err", err)
				c.refuse(err)
				return
			}
		}
	}
}

// refuse answers every further command with err.
func (c *Control) refuse(err error) {
	for {
		select {
		case <-c.closed:
			return
		case j := <-c.jobs:
			j.reply <- err
		}
	}
}

// sender is one SQE128 ring and the memory that a command's payload crosses in.
type sender struct {
	fd    int
	ring  *uring.Ring
	mem   []byte
	stale bool
}

func newSender(fd int) (*sender, error) {
	r, err := uring.New(uring.Options{Entries: 4, SQE128: true})
	if err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &sender{fd: fd, ring: r, mem: mem}, nil
}

// send puts one command on the ring and waits for it. Errors: ErrTimeout, or the driver's errno.
func (s *sender) send(j *job) error {
	if len(j.data) > len(s.mem) {
		return unix.EINVAL
	}
	copy(s.mem, j.data)
	if len(j.data) > 0 {
		j.cmd.Addr, j.cmd.Len = addrOf(s.mem), uint16(len(j.data))
	}
	e := s.ring.SQE()
	e.Opcode, e.FD, e.Off = uapi.IORING_OP_URING_CMD, int32(s.fd), uint64(j.op)
	putCtrlCmd(s.ring.Payload(), &j.cmd)
	if err := s.ring.EnterTimeout(time.Until(j.deadline)); err != nil {
		if errors.Is(err, uring.ErrTimeout) {
			return ErrTimeout
		}
		return err
	}
	cqe, _ := s.ring.Next()
	if cqe.Res < 0 {
		return unix.Errno(-cqe.Res)
	}
	copy(j.data, s.mem)
	return nil
}

// abandon leaves ring and memory to a command that the driver still holds: neither may be given back.
func (s *sender) abandon() { s.stale = true }

func (s *sender) close() {
	if s == nil || s.stale {
		return
	}
	s.ring.Close()
	_ = unix.Munmap(s.mem)
}

func le64(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
