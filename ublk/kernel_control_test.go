package ublk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// fakeDriver is the driver as control commands see it, with one device. Its rings (kernel_ring_test.go) are those of the
// device's queues.
type fakeDriver struct {
	t   *testing.T
	c   *Control
	dir string

	mu     sync.Mutex
	old    bool // as before 6.16: what a server has fetched is forgotten by START_USER_RECOVERY only
	there  bool
	state  State
	info   uapi.DevInfo
	params uapi.Params
	ready  int // tags fetched
	begun  bool
	rings  []*fakeRing
	sent   []uint32
	fail   map[uint32][]error // of the next commands of an op; nil: none
	ringAt func(n int) error  // of the n-th ring
	refuse func(queue, tag int) unix.Errno
	onCmd  func(op uint32)
	ready1 func(queue int) bool            // whether a queue has a task, for who asks by a command that no driver has
	early  bool                            // tag 0 of each queue has a request as soon as it is fetched
	stuck  bool                            // disk commands stay in flight
	does   func(e uapi.SQE, n int32) int32 // what becomes of a disk command
}

// newDriver makes a driver and a Control to it. Device nodes are files.
func newDriver(t *testing.T, features Features) *fakeDriver {
	t.Helper()
	d := &fakeDriver{t: t, dir: t.TempDir(), fail: map[uint32][]error{}}
	d.c = &Control{dev: d.dir, log: slog.New(slog.DiscardHandler), features: features, jobs: make(chan *job), closed: make(chan struct{})}
	d.c.ring = func(uring.Options) (queueRing, error) { return d.newRing() }
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-d.c.closed:
				return
			case j := <-d.c.jobs:
				j.reply <- d.command(j)
			}
		}
	}()
	t.Cleanup(func() {
		close(d.c.closed)
		<-done
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.rings) > 0 {
			t.Errorf("%d rings are open at the end", len(d.rings))
		}
	})
	return d
}

func (d *fakeDriver) char() string  { return filepath.Join(d.dir, "ublkc0") }
func (d *fakeDriver) block() string { return filepath.Join(d.dir, "ublkb0") }

func (d *fakeDriver) command(j *job) error {
	if d.onCmd != nil {
		d.onCmd(j.op)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent = append(d.sent, j.op)
	if f := d.fail[j.op]; len(f) > 0 {
		d.fail[j.op] = f[1:]
		if f[0] != nil {
			return f[0]
		}
	}
	if !d.there && j.op != uapi.UBLK_U_CMD_ADD_DEV {
		return unix.ENODEV
	}
	switch j.op {
	case uapi.UBLK_U_CMD_ADD_DEV:
		copy(infoBytes(&d.info), j.data)
		d.info.DevID, d.info.Flags = 0, d.info.Flags&uint64(d.c.features)
		copy(j.data, infoBytes(&d.info))
		d.there, d.state, d.ready = true, Dead, 0
		return errors.Join(os.WriteFile(d.char(), make([]byte, 1<<20), 0o600))
	case uapi.UBLK_U_CMD_SET_PARAMS:
		copy(paramBytes(&d.params), j.data)
	case uapi.UBLK_U_CMD_GET_PARAMS:
		copy(j.data, paramBytes(&d.params))
	case uapi.UBLK_U_CMD_GET_QUEUE_AFFINITY:
		clear(j.data)
	case uapi.UBLK_U_CMD_GET_DEV_INFO:
		d.info.State = uint16(d.state)
		copy(j.data, infoBytes(&d.info))
	case uapi.UBLK_U_CMD_START_DEV:
		if d.ready != d.tags() {
			return unix.ETIME // it would wait for ever
		}
		d.state, d.info.UblksrvPID = Live, int32(j.cmd.Data)
		return os.WriteFile(d.block(), nil, 0o600)
	case uapi.UBLK_U_CMD_STOP_DEV:
		d.state = Dead
		d.abort()
	case uapi.UBLK_U_CMD_DEL_DEV_ASYNC:
		d.there = false
		return errors.Join(os.Remove(d.char()))
	case uapi.UBLK_U_CMD_START_USER_RECOVERY:
		switch {
		case d.old && d.ready == 0:
			return unix.EINVAL
		case d.state != Quiesced && d.state != FailIO || len(d.rings) > 0:
			return unix.EBUSY
		}
		d.ready, d.begun = 0, true
	case uapi.UBLK_U_CMD_END_USER_RECOVERY:
		if !d.begun || d.ready != d.tags() {
			return unix.ETIME
		}
		d.state, d.begun, d.info.UblksrvPID = Live, false, int32(j.cmd.Data)
	case uapi.UBLK_U_CMD_UPDATE_SIZE:
		d.params.Basic.DevSectors = j.cmd.Data
	case uapi.UBLK_U_CMD_QUIESCE_DEV:
		d.abort()
	default:
		return unix.EOPNOTSUPP
	}
	return nil
}

func (d *fakeDriver) tags() int { return int(d.info.NrHwQueues) * int(d.info.QueueDepth) }

// abort ends the tags that the driver has.
func (d *fakeDriver) abort() {
	for _, r := range d.rings {
		r.abort()
	}
}

// left is the driver's notice that a queue's ring is closed.
func (d *fakeDriver) left(r *fakeRing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings = slices.DeleteFunc(d.rings, func(x *fakeRing) bool { return x == r })
	if len(d.rings) > 0 {
		return
	}
	if !d.old {
		d.ready = 0
	}
	if d.state == Live {
		switch Features(d.info.Flags).Recovery() {
		case NoRecovery:
			d.state = Dead
		case RecoveryFail:
			d.state = FailIO
		default:
			d.state = Quiesced
		}
	}
}

func (d *fakeDriver) count(op uint32) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.sent {
		if o == op {
			n++
		}
	}
	return n
}

// is fails the test when the driver is not in a state.
func (d *fakeDriver) is(want State) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.there || d.state != want || len(d.rings) > 0 && want != Live {
		d.t.Errorf("there %v, %v, %d rings; want %v", d.there, d.state, len(d.rings), want)
	}
}

// eventually waits for something of another thread.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// give puts a request into a tag of a queue, which the driver must have.
func (d *fakeDriver) give(queue, tag int, desc uapi.IODesc) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.describe(queue, tag, desc)
	for _, r := range d.rings {
		if r.qid == queue {
			r.give(tag)
			return
		}
	}
	d.t.Fatal(fmt.Errorf("queue %d is not there", queue))
}

// describe writes a tag's descriptor.
func (d *fakeDriver) describe(queue, tag int, desc uapi.IODesc) {
	d.t.Helper()
	page := os.Getpagesize()
	stride := (uapi.UBLK_MAX_QUEUE_DEPTH*uapi.SizeofIODesc + page - 1) / page * page
	f, err := os.OpenFile(d.char(), os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [uapi.SizeofIODesc]byte
	binary.NativeEndian.PutUint32(b[:], desc.OpFlags)
	binary.NativeEndian.PutUint32(b[4:], desc.NrSectors)
	binary.NativeEndian.PutUint64(b[8:], desc.StartSector)
	if _, err := f.WriteAt(b[:], int64(queue*stride+tag*uapi.SizeofIODesc)); err != nil {
		d.t.Fatal(err)
	}
}

// ring is a queue's.
func (d *fakeDriver) ring(queue int) *fakeRing {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rings {
		if r.qid == queue {
			return r
		}
	}
	return nil
}
