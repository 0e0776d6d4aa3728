package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// copyWorld is what the copies of a file are planned with.
type copyWorld struct {
	file    *config.File
	devices []*blkcopy.Device // in file order
	blocks  []uint32          // logical block of every disk
	real    []limits.Copy     // what every disk can by itself, without what the file says
	queues  []uint64          // bytes that every disk takes at once; 0: unknown
	used    func(target.Disk) bool
}

// plan makes a request of names one of tables, and plans it. Errors: fs.ErrNotExist for a device that is not there, and
// those of blkcopy.NewPlan.
func (w *copyWorld) plan(r *CopyRequest) (*blkcopy.Plan, error) {
	pol, problems := r.Policy.policy()
	if len(problems) > 0 {
		return nil, &blkcopy.RequestError{Problems: problems}
	}
	src, err := w.device(r.Source.Device)
	if err != nil {
		return nil, err
	}
	dst, err := w.device(r.Destination.Device)
	if err != nil {
		return nil, err
	}
	q := &blkcopy.Request{Src: src, Dst: dst, SrcSegs: segs(r.Source.Segments), DstSegs: segs(r.Destination.Segments), Policy: pol, Used: w.used}
	return blkcopy.NewPlan(q, w.disks(pol.ShareExtents))
}

func segs(in []CopySegment) []blkcopy.Seg {
	out := make([]blkcopy.Seg, len(in))
	for i, s := range in {
		out[i] = blkcopy.Seg{Pos: s.Pos, Len: s.Len}
	}
	return out
}

func (w *copyWorld) device(name string) (*blkcopy.Device, error) {
	for _, d := range w.devices {
		if d.Name == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("no device %q: %w", name, fs.ErrNotExist)
}

// disks are all disks with what they can, as far as a request may use it.
func (w *copyWorld) disks(share bool) []blkcopy.Disk {
	out := make([]blkcopy.Disk, len(w.file.Disks))
	for i, d := range w.file.Disks {
		out[i] = blkcopy.Disk{Name: d.Name, LogicalBlock: w.blocks[i], Copy: overrideCopy(usable(w.real[i], share), d), QueueBytes: w.queues[i]}
	}
	return out
}

// usable is what of an ability can be used in a copy. A plan says no more than the disk will do: a file system that shares
// blocks has no other copy of its own, and without leave to share it has none.
func usable(c limits.Copy, share bool) limits.Copy {
	if c.Method == limits.FileCopy && !share {
		return limits.Copy{Method: limits.NoCopy, Reason: "its file system shares blocks instead of copying them, and the policy has no share_extents"}
	}
	return c
}

// newCopyWorld is of open disks. Devices are as they are served: with the limits and the mode of the specs.
func newCopyWorld(f *config.File, ds disks, devices []*blkcopy.Device) *copyWorld {
	w := &copyWorld{file: f, devices: devices, blocks: make([]uint32, len(ds)), real: make([]limits.Copy, len(ds)), queues: make([]uint64, len(ds))}
	for i, d := range ds {
		if d != nil {
			w.blocks[i], w.real[i], w.queues[i] = override(d.Limits(), f.Disks[i].Limits).LogicalBlock, d.Copy(), d.QueueBytes()
		}
	}
	return w
}

// engine copies between open disks of a checked file, with its faults.
func (ds disks) engine(f *config.File, x *injection) *blkcopy.Engine {
	io := make([]blkcopy.IO, len(ds))
	for i, d := range ds {
		if d != nil { // an interface that holds a nil disk would not be nil
			io[i] = x.disk(i, d.Name(), d)
		}
	}
	return blkcopy.NewEngine(io, &blkcopy.Options{Methods: x.methods(ds.simulate(f, blkcopy.Methods(ds)))})
}

// result says in words and names what an engine says in numbers.
func (w *copyWorld) result(r *blkcopy.Result, err error) *CopyResult {
	name := DiskName(w.file)
	out := &CopyResult{Schema: Schema, Bytes: r.Bytes, Offloaded: r.Offloaded, Emulated: r.Emulated, Host: r.HostRead + r.HostWritten, Seconds: r.Duration.Seconds(),
		Failed: failures(r.Failed, name), Total: r.Total, Zeroed: r.Zeroed, Onto: r.Onto, HostRead: r.HostRead, HostWritten: r.HostWritten,
		CommandsByMethod: map[string]uint64{}, Reads: r.Reads, Fallbacks: failures(r.Fallbacks, name), MoreFailures: r.More,
		Complete: err == nil && r.Bytes == r.Total}
	for m, n := range r.Commands {
		out.Commands += n
		out.CommandsByMethod[string(m)] = n
	}
	if err != nil {
		out.Error = describe(err, name)
	}
	return out
}

func failures(in []blkcopy.Failure, name func(target.Disk) string) []CopyFailure {
	out := []CopyFailure{}
	for _, f := range in {
		out = append(out, CopyFailure{Offset: f.Offset, Bytes: f.Bytes, Method: string(f.Method), Side: f.Side, Disk: name(f.Disk), Sector: f.Sector, Error: f.Err.Error()})
	}
	return out
}

// describe is an error of an engine with the disk's name in it.
func describe(err error, name func(target.Disk) string) string {
	switch e := err.(type) {
	case *blkcopy.Failure:
		at := "disk " + name(e.Disk)
		if e.Side != blkcopy.UnknownSide {
			at = e.Side + " " + at
		}
		return fmt.Sprintf("%s of bytes %d+%d of the request: %s at sector %d: %v", e.Method, e.Offset, e.Bytes, at, e.Sector, e.Err)
	case interface{ Unwrap() []error }:
		var all []string
		for _, x := range e.Unwrap() {
			all = append(all, describe(x, name))
		}
		return strings.Join(all, "\n")
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	return err.Error()
}
