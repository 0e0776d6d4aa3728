// Package fault has rules for what is to go wrong on purpose: which commands to which disk, how often, and how. It knows
// neither queues nor copies: who sends a command asks a Set what becomes of it, and does that.
//
// A Set is deterministic: what it says depends on its rules and on the order in which it is asked, on nothing else.
package fault

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// Op is what a command asks of a disk.
type Op uint8

// The operations; Any is all of them.
const (
	Any Op = iota
	Read
	Write
	Flush
	Discard
	WriteZeroes
	Copy
)

var opNames = [...]string{"any", "read", "write", "flush", "discard", "write-zeroes", "copy"}

// String is the word of the file.
func (o Op) String() string { return opNames[o] }

// ParseOp finds an operation by its word.
func ParseOp(s string) (Op, bool) {
	for i, n := range opNames {
		if n == s {
			return Op(i), true
		}
	}
	return 0, false
}

// Kind is what a fault does to a command.
type Kind uint8

// The kinds of fault. "Half" is the first half in whole logical blocks, rounded down.
const (
	Errno  Kind = iota // nothing is done, and the command fails with Action.Errno
	Status             // of a copy: it ends with the NVMe status Action.Status
	Torn               // half is done, then EIO, and nothing says how far it came
	Short              // half is done, without an error, and the number says so
	Delay              // all is done, Action.For later
	Hang               // nothing is done; after Action.For the command fails with ETIMEDOUT, as the block layer ends one
)

var kindNames = [...]string{"errno", "status", "torn", "short", "delay", "hang"}

// String is the word of the file.
func (k Kind) String() string { return kindNames[k] }

// Action is what becomes of a command.
type Action struct {
	Kind   Kind
	Errno  unix.Errno
	Status uint16 // status code type in bits 10:8, status code in 7:0
	For    time.Duration
}

// Rule says which commands a fault hits. A command matches when it is of the operation, on the disk, and touches the range;
// a flush has no range, and matches only a rule without one. A copy matches by its destination and by its sources.
//
// At most one of Nth, Every and Probability is set; without any the rule fires at every match.
type Rule struct {
	Disk        target.Disk
	Op          Op
	Range       target.Range // sectors of the disk; Len 0: everywhere
	Nth         uint64       // from the nth match on, 1-based
	Every       uint64       // at every so many matches
	Probability float64      // 0 to 1, of each match, as Seed says
	Seed        uint64
	Count       uint64 // fires so often at most; 0: no bound
	Action      Action
}

// matches says whether a command that is of the operation touches the rule's place.
func (r *Rule) matches(d target.Disk, op Op, at target.Range) bool {
	if r.Disk != d || r.Op != Any && r.Op != op {
		return false
	}
	return r.Range.Len == 0 || at.Start < r.Range.End() && r.Range.Start < at.End()
}

// fires says whether the rule fires at its nth match.
func (r *Rule) fires(n uint64) bool {
	switch {
	case r.Nth > 0:
		return n >= r.Nth
	case r.Every > 0:
		return n%r.Every == 0
	case r.Probability > 0:
		return float64(mix(r.Seed^mix(n))>>11)/(1<<53) < r.Probability
	}
	return true
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): n-th matches get numbers that look random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
