package fault

import (
	"slices"
	"sync/atomic"

	"github.com/ublk-go/ublk-linear/target"
)

// Set is rules in force. Its methods may be called from any goroutine; a nil Set has no rules.
type Set struct {
	rules []counted
	disks []*Disk // by target.Disk
}

// Disk is the rules of one disk. A nil one has none.
type Disk struct{ rules []*counted }

// counted is a rule with what it has seen.
type counted struct {
	Rule
	below uint64 // of Probability: what a draw must be below
	seen  atomic.Uint64
	fired atomic.Uint64 // how often it would have acted, without Count
}

// New puts rules in force. nil when there are none.
func New(rules []Rule) *Set {
	if len(rules) == 0 {
		return nil
	}
	s := &Set{rules: make([]counted, len(rules))}
	for i, r := range rules {
		c := &s.rules[i]
		c.Rule = r
		if c.Probability >= 1 {
			c.Probability = 0 // every one
		}
		c.below = uint64(c.Probability * (1 << 63) * 2)
		for int(r.Disk) >= len(s.disks) {
			s.disks = append(s.disks, nil)
		}
		if s.disks[r.Disk] == nil {
			s.disks[r.Disk] = &Disk{}
		}
		s.disks[r.Disk].rules = append(s.disks[r.Disk].rules, c)
	}
	return s
}

// Disk is the rules of a disk; nil when there are none.
func (s *Set) Disk(d target.Disk) *Disk {
	if s == nil || int(d) >= len(s.disks) {
		return nil
	}
	return s.disks[d]
}

// Match is asked before each command that a disk is sent, and says what becomes of it. A flush has no range: Len 0. The rules
// are asked in their order; behind one that acts, none is asked or counts the command.
func (s *Set) Match(d target.Disk, op Op, at target.Range) Action { return s.Disk(d).Match(op, at) }

// Match is Set.Match for the disk.
// hot path
func (d *Disk) Match(op Op, at target.Range) Action {
	if d == nil {
		return Action{}
	}
	for _, c := range d.rules {
		if c.matches(op, at) && c.acts() {
			return c.Action
		}
	}
	return Action{}
}

// MatchCopy is Match for a disk's own copy, which a rule sees once, however many of its places lie on the rule's disk and in
// its range. Torn and Short count the destination's sectors. rule is the number of the rule that acts.
func (s *Set) MatchCopy(dst target.Extent, sources []target.Extent) (a Action, rule int) {
	if s == nil {
		return Action{}, -1
	}
	for i := range s.rules {
		c := &s.rules[i]
		if (c.Action.Kind == Torn || c.Action.Kind == Short) && dst.Len <= c.Action.Sectors {
			continue
		}
		touches := func(e target.Extent) bool {
			return e.Disk == c.Disk && c.Ops&Copy != 0 && (c.Range.Len == 0 || e.Start < c.Range.End() && c.Range.Start < e.End())
		}
		if (touches(dst) || slices.ContainsFunc(sources, touches)) && c.acts() {
			return c.Action, i
		}
	}
	return Action{}, -1
}

// acts counts a command that matches, and says whether the rule acts on it.
// hot path
func (c *counted) acts() bool {
	n := c.seen.Add(1)
	switch {
	case c.Nth != 0 && n != c.Nth:
		return false
	case c.Every != 0 && n%c.Every != 0:
		return false
	case c.Probability != 0 && draw(c.Seed, n) >= c.below:
		return false
	}
	return c.fired.Add(1) <= c.Count || c.Count == 0
}

// draw is the n-th number of a seed: splitmix64, which can be asked for any n, so that those who ask at once need no lock.
// hot path
func draw(seed, n uint64) uint64 {
	z := seed + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Counts is how many commands matched rule i of New, and on how many it acted.
func (s *Set) Counts(i int) (seen, hits uint64) {
	c := &s.rules[i]
	hits = c.fired.Load()
	if c.Count != 0 {
		hits = min(hits, c.Count)
	}
	return c.seen.Load(), hits
}
