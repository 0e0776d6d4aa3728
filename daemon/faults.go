package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// FaultsAllowed refuses a checked file with faults, unless they are wanted. The error is config.Problems.
func FaultsAllowed(f *config.File, allow bool) error {
	if allow || len(f.Faults) == 0 {
		return nil
	}
	var ps config.Problems
	for i, x := range f.Faults {
		ps = append(ps, config.Problem{File: f.Path, Line: x.Pos.Line, Col: x.Pos.Col, Key: fmt.Sprintf("fault[%d]", i),
			Message: fmt.Sprintf("[[fault]] of disk %q: faults are injected only with --allow-faults", x.Disk)})
	}
	return ps
}

// injection is the faults of a file in force: in the queues of served devices, and in copies. A nil one has none.
type injection struct {
	set   *fault.Set
	rules []*config.Fault
	hangs hangs
}

// newInjection is nil for a file without faults.
func newInjection(f *config.File) *injection {
	if len(f.Faults) == 0 {
		return nil
	}
	index := map[string]target.Disk{}
	for i, d := range f.Disks {
		index[d.Name] = target.Disk(i)
	}
	x := &injection{rules: f.Faults}
	var rules []fault.Rule
	for _, c := range f.Faults {
		rules = append(rules, ruleOf(c, index[c.Disk]))
	}
	x.set = fault.New(rules)
	return x
}

// faultErrnos are config.FaultErrnos.
var faultErrnos = map[string]unix.Errno{"EIO": unix.EIO, "EOPNOTSUPP": unix.EOPNOTSUPP, "ETIMEDOUT": unix.ETIMEDOUT, "ENOSPC": unix.ENOSPC,
	"ENOLINK": unix.ENOLINK, "EREMOTEIO": unix.EREMOTEIO, "EBADE": unix.EBADE, "ENODATA": unix.ENODATA, "EILSEQ": unix.EILSEQ, "ENOMEM": unix.ENOMEM,
	"EBUSY": unix.EBUSY, "ENODEV": unix.ENODEV, "EOVERFLOW": unix.EOVERFLOW, "ETOOMANYREFS": unix.ETOOMANYREFS}

var faultOps = map[string]fault.Op{"read": fault.Read, "write": fault.Write, "flush": fault.Flush, "discard": fault.Discard,
	"write-zeroes": fault.WriteZeroes, "copy": fault.Copy, "any": fault.Any}

var faultKinds = map[string]fault.Kind{"errno": fault.Fail, "status": fault.Fail, "torn": fault.Torn, "short": fault.Short, "delay": fault.Delay, "hang": fault.Hang}

// ruleOf says a fault of a checked file in fault's words.
func ruleOf(c *config.Fault, d target.Disk) fault.Rule {
	return fault.Rule{Disk: d, Ops: faultOps[c.Op], Range: target.Range{Start: c.Start, Len: c.Sectors}, Nth: c.Nth, Every: c.Every,
		Probability: c.Probability, Seed: c.Seed, Count: c.Count,
		Action: fault.Action{Kind: faultKinds[c.Action], Errno: int(faultErrnos[c.Errno]), Status: c.Status, Result: c.DW0, Delay: c.Delay, Sectors: c.Bytes / 512}}
}

// backings gives the queues their disks' rules.
func (x *injection) backings(bs []ublk.Backing) []ublk.Backing {
	if x != nil {
		for i := range bs {
			bs[i].Faults = x.set.Disk(target.Disk(i))
		}
	}
	return bs
}

// during lets nothing of a copy hang, or be late, any more once its context is cancelled, until end is called. Which copy a
// command is of, a disk does not know: what hangs of other copies ends with it.
func (x *injection) during(ctx context.Context) (end func()) {
	if x == nil {
		return func() {}
	}
	stop := context.AfterFunc(ctx, func() { x.hangs.add(1) })
	return func() {
		if !stop() {
			x.hangs.add(-1)
		}
	}
}

// status is the faults of some disks, and what they have done.
func (x *injection) status(uses func(disk string) bool) []FaultStatus {
	if x == nil {
		return nil
	}
	var out []FaultStatus
	for i, c := range x.rules {
		if uses(c.Disk) {
			seen, hits := x.set.Counts(i)
			out = append(out, FaultStatus{Line: c.Pos.Line, Disk: c.Disk, Op: c.Op, Range: c.Where(), When: c.When(), Action: c.Does(), Matched: seen, Hits: hits})
		}
	}
	return out
}

// warn says that things will go wrong.
func (x *injection) warn(log *slog.Logger) {
	if x != nil {
		log.Warn("faults are injected, as the file says: I/O fails and data may be lost", "faults", len(x.rules))
	}
}

// injectedError is the error of a fault.
func injectedError(disk, what string, errno unix.Errno) error {
	return fmt.Errorf("disk %s: %s: injected fault: %w", disk, what, errno)
}

// pause waits for a time, or until something ends what hangs.
func (x *injection) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.hangs.over():
	}
}

// hang waits until something ends what hangs.
func (x *injection) hang() { <-x.hangs.over() }
