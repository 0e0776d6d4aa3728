package fault

import (
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// Op is a kind of command to a disk. Several are or-ed.
type Op uint8

// The kinds of command. Copy is a disk's own copy, whichever side of it the disk is.
const (
	Read Op = 1 << iota
	Write
	Flush
	Discard
	WriteZeroes
	Copy

	Any = Read | Write | Flush | Discard | WriteZeroes | Copy
)

// Kind is what becomes of a command.
type Kind uint8

// The kinds of action.
const (
	None  Kind = iota // it is sent
	Fail              // it is not sent, and has the error
	Torn              // its first Sectors are done, and then it has the error
	Short             // its first Sectors are done, and that is what it reports
	Delay             // it is sent when Delay is over
	Hang              // it is neither sent nor answered until the faults are released
)

// Action is what becomes of one command. The zero value sends it.
type Action struct {
	Kind    Kind
	Errno   int           // of Fail and Torn; 0 when Status is set
	Status  uint16        // of Fail of a Copy: an NVMe status; 0: Errno counts
	Result  uint32        // beside Status: dword 0 of the completion
	Delay   time.Duration // of Delay, and of a Fail that comes late
	Sectors uint64        // of Torn and Short: how many are done, from 1, and fewer than the command has
}

// Rule is one fault. Of the commands that match (disk, op, range) it acts on those that Nth, Every or Probability name: at most
// one of them is set, and none means every one. Count bounds how often it acts.
type Rule struct {
	Disk        target.Disk
	Ops         Op
	Range       target.Range // of the disk; Len 0: all of it. A command that touches it matches. A flush has no range
	Nth         uint64       // only the Nth command that matches, from 1
	Every       uint64       // the Every-th, and each Every-th behind it
	Probability float64      // each with this probability, 0 to 1
	Seed        uint64       // of Probability
	Count       uint64       // 0: without bound
	Action      Action
}

// matches says whether a command is of the rule's kind. Torn and Short are for commands that have more sectors than they do.
// hot path
func (r *Rule) matches(op Op, at target.Range) bool {
	if r.Ops&op == 0 || (r.Action.Kind == Torn || r.Action.Kind == Short) && at.Len <= r.Action.Sectors {
		return false
	}
	return r.Range.Len == 0 || at.Start < r.Range.End() && r.Range.Start < at.End()
}
