package conform

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// Command is a Target of the copy engine's parts: a disk and a method, as a simulated disk has them. The whole disk is the
// region. Close gives its memory back.
type Command struct {
	geometry Geometry
	io       blkcopy.IO
	method   blkcopy.Method
	memory   buffers
}

// NewCommand is a target on a disk that is read and written by io and copies by m. Everything in it is overwritten.
func NewCommand(g Geometry, io blkcopy.IO, m blkcopy.Method) *Command {
	return &Command{geometry: g, io: io, method: m, memory: newBuffers()}
}

// Geometry is a Target's.
func (c *Command) Geometry() Geometry { return c.geometry }

// ReadAt is a Target's.
func (c *Command) ReadAt(p []byte, at uint64) error { return readFrom(c.io, c.memory, p, at) }

// WriteAt is a Target's.
func (c *Command) WriteAt(p []byte, at uint64) error { return writeTo(c.io, c.memory, p, at) }

// Flush is a Target's.
func (c *Command) Flush() error { return c.io.Sync() }

// PowerCut cuts the power of a disk that has a method of that name.
func (c *Command) PowerCut() error {
	if p, ok := c.io.(PowerCutter); ok {
		return p.PowerCut()
	}
	return skip("the power of this target cannot be cut from here")
}

// Break makes blocks unreadable of a disk that has a method of that name.
func (c *Command) Break(at, n uint64) error {
	if b, ok := c.io.(Breaker); ok {
		return b.Break(at, n)
	}
	return skip("no block of this target can be made unreadable from here")
}

// Copy is a Target's.
func (c *Command) Copy(sources []target.Range, dst uint64, fua bool) Answer {
	cmd := &blkcopy.Command{Method: c.geometry.Method}
	for _, s := range sources {
		cmd.Sources = append(cmd.Sources, target.Extent{Range: s})
		cmd.Dst.Len += s.Len
	}
	cmd.Dst.Start = dst
	_, err := c.method.Copy(cmd, &blkcopy.Policy{FUA: fua})
	return answer(err)
}

// Close gives the memory back.
func (c *Command) Close() { c.memory.close() }

// answer is an error of the disk room's copies as what the device answered.
func answer(err error) Answer {
	var nvme *disk.NVMeError
	var scsi *disk.SCSIError
	switch {
	case err == nil:
		return Answer{}
	case errors.As(err, &nvme):
		return Answer{Status: nvme.Status, DW0: nvme.Result}
	case errors.As(err, &scsi):
		return Answer{Err: scsi}
	case errors.Is(err, disk.ErrCopyRequest), errors.Is(err, unix.EOPNOTSUPP):
		return Answer{Err: errors.Join(ErrNotSent, err)}
	}
	return Answer{Err: err}
}

func readFrom(io blkcopy.IO, memory buffers, p []byte, at uint64) error {
	return pieces(p, at, func(p []byte, at uint64) error {
		return memory.use(len(p), func(b []byte) error {
			_, err := io.Readv([][]byte{b}, at)
			copy(p, b)
			return err
		})
	})
}

func writeTo(io blkcopy.IO, memory buffers, p []byte, at uint64) error {
	return pieces(p, at, func(p []byte, at uint64) error {
		return memory.use(len(p), func(b []byte) error {
			copy(b, p)
			_, err := io.Writev([][]byte{b}, at, false)
			return err
		})
	})
}
