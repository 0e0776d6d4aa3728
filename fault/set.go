package fault

import (
	"context"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// Set is rules with what they have seen. Its methods may be called by any goroutine.
type Set struct {
	rules []Rule
	over  context.Context
	end   context.CancelFunc

	mu     sync.Mutex
	counts []Count // guarded by mu
}

// Count is what a rule has seen.
type Count struct {
	Matched uint64
	Fired   uint64
}

// New makes a set. Of several rules that fire at one command the first one is done; every rule counts every match, so that
// "the third" does not depend on other rules.
func New(rules []Rule) *Set {
	s := &Set{rules: rules, counts: make([]Count, len(rules))}
	s.over, s.end = context.WithCancel(context.Background())
	return s
}

// Command says what becomes of a command to a disk; r is in its sectors, and empty for a flush. ok is false for nothing.
func (s *Set) Command(d target.Disk, op Op, r target.Range) (a Action, ok bool) {
	i := s.find(func(rule *Rule) bool { return rule.matches(d, op, r) })
	if i < 0 {
		return Action{}, false
	}
	return s.rules[i].Action, true
}

// Copy says what becomes of a copy command. at is the first of its sources whose place, or the place that it is to go to,
// is the rule's: a device that fails there has copied the sources before it.
func (s *Set) Copy(sources []target.Extent, dst target.Extent) (a Action, at int, ok bool) {
	touched := func(rule *Rule) int {
		to := dst.Start
		for i, src := range sources {
			if rule.matches(src.Disk, Copy, src.Range) || rule.matches(dst.Disk, Copy, target.Range{Start: to, Len: src.Len}) {
				return i
			}
			to += src.Len
		}
		return -1
	}
	i := s.find(func(rule *Rule) bool { return touched(rule) >= 0 })
	if i < 0 {
		return Action{}, 0, false
	}
	return s.rules[i].Action, touched(&s.rules[i]), true
}

// find counts a command at every rule that it matches; the first that fires is returned, or -1.
func (s *Set) find(matches func(*Rule) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	hit := -1
	for i := range s.rules {
		r, c := &s.rules[i], &s.counts[i]
		if !matches(r) {
			continue
		}
		c.Matched++
		if hit < 0 && (r.Count == 0 || c.Fired < r.Count) && r.fires(c.Matched) {
			c.Fired++
			hit = i
		}
	}
	return hit
}

// Rules are the set's; they are not to be changed.
func (s *Set) Rules() []Rule { return s.rules }

// Counts is what every rule has seen, in their order.
func (s *Set) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Count(nil), s.counts...)
}

// Release lets go on at once what is delayed or hangs, and what will be: who ends does not wait for faults.
func (s *Set) Release() { s.end() }

// Released is done after Release.
func (s *Set) Released() context.Context { return s.over }

// Wait is a delay of d, which Release ends.
func (s *Set) Wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.over.Done():
	}
}
