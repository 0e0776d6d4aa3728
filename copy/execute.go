package blkcopy

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// execution is one window under way, in order:
//
//  1. commands that are emulated anyway begin: emulation (emulate.go);
//  2. offloads are sent, as many at a time as their destination's lane takes;
//  3. of an offload that failed, what is not certainly copied is emulated, where the policy says so;
//  4. settle tells the job what is done, and what is not (settle.go).
//
// A worker has one, for one window after the other: its memory is used again.
type execution struct {
	j *job
	w Window

	offloads []*Command
	emulated []task
	emulator emulator

	mu        sync.Mutex
	fallbacks []broken // guarded by mu
	broken    []broken // guarded by mu
	again     []task   // guarded by mu; what is emulated in place of an offload
	count     counts   // guarded by mu
}

func (x *execution) reset() {
	x.offloads, x.emulated = x.offloads[:0], x.emulated[:0]
	x.fallbacks, x.broken, x.again = x.fallbacks[:0], x.broken[:0], x.again[:0]
	clear(x.count.commands)
	x.count = counts{commands: x.count.commands}
	for i := range x.w.Commands {
		if c := &x.w.Commands[i]; c.Method == Emulated {
			x.emulated = append(x.emulated, task{Command: *c})
		} else {
			x.offloads = append(x.offloads, c)
		}
	}
}

func (x *execution) run() {
	x.reset()
	if len(x.offloads) == 0 {
		x.emulate(x.emulated)
		return
	}
	var wg sync.WaitGroup
	if len(x.emulated) > 0 {
		wg.Go(func() { x.emulate(x.emulated) })
	}
	x.j.e.spread(len(x.offloads), func(i int) target.Disk { return x.offloads[i].Dst.Disk }, offloadWay, func(i int) uint64 { return x.send(x.offloads[i]) })
	wg.Wait()
	if len(x.again) > 0 {
		slices.SortFunc(x.again, func(a, b task) int {
			return cmp.Or(cmp.Compare(a.Dst.Disk, b.Dst.Disk), cmp.Compare(a.Dst.Start, b.Dst.Start))
		})
		x.emulate(x.again)
	}
}

// send does one offload command, and returns the sectors that are certainly copied.
func (x *execution) send(c *Command) uint64 {
	done, err := x.copy(c)
	moved, err := x.j.believe(min(done, c.Dst.Len)*512, c.Dst.Len*512, err)
	policy := x.j.pol.AfterFailure
	x.mu.Lock()
	defer x.mu.Unlock()
	if errors.Is(err, ErrNoOffload) {
		policy = x.j.pol.WithoutOffload
	} else if err != errOverlapping {
		x.count.commands[c.Method]++
	}
	x.count.offloaded += moved
	if err == nil {
		return c.Dst.Len
	}
	rest := c.from(moved / 512)
	b := broken{part: rest.Dst, method: c.Method, at: rest.Dst, err: err}
	if s, ok := errors.AsType[sided](err); ok {
		if b.side = s.Side(); b.side == SourceSide {
			b.at = rest.Sources[0]
		}
	}
	if policy == Fail {
		x.broken = append(x.broken, b)
		return moved / 512
	}
	x.fallbacks = append(x.fallbacks, b)
	x.again = append(x.again, task{Command: rest})
	return moved / 512
}

// sided is an error that knows which side failed.
type sided interface {
	error
	Side() string
}

// copy is the method's turn, after a last look: a command that writes what it reads is never sent, since a device may do
// its ranges in any order.
func (x *execution) copy(c *Command) (uint64, error) {
	for _, s := range c.Sources {
		if s.Disk == c.Dst.Disk && s.Start < c.Dst.End() && c.Dst.Start < s.End() {
			return 0, errOverlapping
		}
	}
	m := x.j.e.methods[c.Method]
	if m == nil {
		return 0, errNoMethod
	}
	return m.Copy(c, x.j.pol)
}

var (
	errNoMethod    error = &refusal{"the disks have no such method", ErrNoOffload, unix.EOPNOTSUPP}
	errOverlapping error = &refusal{"the command would write what it reads", ErrOverlap, unix.EINVAL}
)

// from is the command without its first n sectors, emulated.
func (c *Command) from(n uint64) Command {
	out := Command{Method: Emulated, Dst: c.Dst}
	out.Dst.Start += n
	out.Dst.Len -= n
	for _, s := range c.Sources {
		if n >= s.Len {
			n -= s.Len
			continue
		}
		s.Start += n
		s.Len -= n
		n = 0
		out.Sources = append(out.Sources, s)
	}
	return out
}
