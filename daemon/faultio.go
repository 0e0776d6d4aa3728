package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// copyDisk is what a copy's engine has of a disk.
type copyDisk interface {
	blkcopy.IO
	blkcopy.Zeroer
	blkcopy.Holes
}

// disk is a disk with its faults, for a copy's engine.
func (x *injection) disk(i int, name string, d copyDisk) blkcopy.IO {
	if x == nil || x.set.Disk(target.Disk(i)) == nil {
		return d
	}
	return &faultyIO{d, name, x.set.Disk(target.Disk(i)), x}
}

// faultyIO is a disk with faults. A command is what the disk would be sent: of a short one it goes on with the rest, as the
// disk itself does, and that is another command.
type faultyIO struct {
	copyDisk
	name  string
	rules *fault.Disk
	x     *injection
}

// Readv implements blkcopy.IO.
func (f *faultyIO) Readv(bufs [][]byte, at uint64) (uint64, error) {
	return f.transfer("read", fault.Read, bufs, at, f.copyDisk.Readv)
}

// Writev implements blkcopy.IO. Of a torn write what reached the disk does not count as moved.
func (f *faultyIO) Writev(bufs [][]byte, at uint64, fua bool) (uint64, error) {
	return f.transfer("write", fault.Write, bufs, at, func(bufs [][]byte, at uint64) (uint64, error) { return f.copyDisk.Writev(bufs, at, fua) })
}

func (f *faultyIO) transfer(what string, op fault.Op, bufs [][]byte, at uint64, do func([][]byte, uint64) (uint64, error)) (moved uint64, err error) {
	for {
		var n uint64
		for _, b := range bufs {
			n += uint64(len(b))
		}
		a := f.rules.Match(op, target.Range{Start: at / 512, Len: n / 512})
		if err := f.wait(what, &a); err != nil {
			return moved, err
		}
		if a.Kind != fault.Short && a.Kind != fault.Torn {
			n, err = do(bufs, at)
			return moved + n, err
		}
		head, rest := split(bufs, a.Sectors*512)
		n, err = do(head, at)
		if a.Kind == fault.Torn && err == nil {
			return moved, injectedError(f.name, fmt.Sprintf("%s at byte %d, torn", what, at), unix.Errno(a.Errno))
		}
		moved += n
		if err != nil || n < a.Sectors*512 {
			return moved, err
		}
		bufs, at = rest, at+n
	}
}

// Sync implements blkcopy.IO.
func (f *faultyIO) Sync() error {
	a := f.rules.Match(fault.Flush, target.Range{})
	if err := f.wait("flush", &a); err != nil {
		return err
	}
	return f.copyDisk.Sync()
}

// Zero implements blkcopy.Zeroer.
func (f *faultyIO) Zero(at, n uint64) error {
	a := f.rules.Match(fault.WriteZeroes, target.Range{Start: at / 512, Len: n / 512})
	if err := f.wait("write-zeroes", &a); err != nil {
		return err
	}
	return f.copyDisk.Zero(at, n)
}

// wait does what comes before a command, and is the error of one that is not sent.
func (f *faultyIO) wait(what string, a *fault.Action) error {
	switch a.Kind {
	case fault.Delay:
		f.x.pause(a.Delay)
	case fault.Fail:
		f.x.pause(a.Delay)
		return injectedError(f.name, what, unix.Errno(a.Errno))
	case fault.Hang:
		f.x.hang()
		return injectedError(f.name, what+", hung", unix.EIO)
	}
	return nil
}

// split cuts buffers behind n bytes, of which they have more.
func split(bufs [][]byte, n uint64) (head, rest [][]byte) {
	for i, b := range bufs {
		if n < uint64(len(b)) {
			head = append(head, bufs[:i]...)
			if n > 0 {
				head = append(head, b[:n])
			}
			return head, append([][]byte{b[n:]}, bufs[i+1:]...)
		}
		n -= uint64(len(b))
	}
	return bufs, nil
}

// methods are the ways in which the disks copy by themselves, with faults.
func (x *injection) methods(ms map[limits.Method]blkcopy.Method) map[limits.Method]blkcopy.Method {
	if x != nil {
		for name, m := range ms {
			ms[name] = &faultyMethod{m, x}
		}
	}
	return ms
}

// faultyMethod is a method whose commands fail.
type faultyMethod struct {
	blkcopy.Method
	x *injection
}

// Copy implements blkcopy.Method. What a fault says is done is really done, by a command of its own.
func (m *faultyMethod) Copy(c *blkcopy.Command, p *blkcopy.Policy) (done uint64, err error) {
	a, rule := m.x.set.MatchCopy(c.Dst, c.Sources)
	if rule < 0 {
		return m.Method.Copy(c, p)
	}
	name := m.x.rules[rule].Disk
	switch a.Kind {
	case fault.Delay:
		m.x.pause(a.Delay)
	case fault.Hang:
		m.x.hang()
		return 0, injectedError(name, "copy, hung", unix.EIO)
	case fault.Short:
		return m.Method.Copy(first(c, a.Sectors), p)
	case fault.Torn:
		if done, err = m.Method.Copy(first(c, a.Sectors), p); err != nil {
			return done, err
		}
		return 0, injectedError(name, "copy, torn", unix.Errno(a.Errno))
	case fault.Fail:
		m.x.pause(a.Delay)
		if a.Status == 0 {
			return 0, injectedError(name, "copy", unix.Errno(a.Errno))
		}
		return m.status(c, p, name, &a)
	}
	return m.Method.Copy(c, p)
}

// status ends a command with an NVMe status. The source ranges before the one that the completion names are copied, if the
// status is one with which a device names a range (as disk.CopyNVMe has it), and the command has that one.
func (m *faultyMethod) status(c *blkcopy.Command, p *blkcopy.Policy, name string, a *fault.Action) (done uint64, err error) {
	e := &disk.NVMeError{Status: a.Status, Raw: a.Status, Result: a.Result}
	other := &disk.NVMeError{Status: a.Status, Raw: a.Status, Result: a.Result + 1}
	ranged := e.Error() != other.Error() // its words name the range
	if ranged && a.Result > 0 && uint64(a.Result) < uint64(len(c.Sources)) {
		var n uint64
		for _, s := range c.Sources[:a.Result] {
			n += s.Len
		}
		if done, err = m.Method.Copy(first(c, n), p); err != nil {
			return done, err
		}
	}
	return done, fmt.Errorf("disk %s: copy to sector %d: injected fault: %w", name, c.Dst.Start, e)
}

// first is a command's first n sectors.
func first(c *blkcopy.Command, n uint64) *blkcopy.Command {
	out := &blkcopy.Command{Method: c.Method, Dst: c.Dst}
	out.Dst.Len = min(n, c.Dst.Len)
	for _, s := range c.Sources {
		s.Len = min(s.Len, n)
		if n -= s.Len; s.Len > 0 {
			out.Sources = append(out.Sources, s)
		}
	}
	return out
}
