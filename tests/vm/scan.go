package vm

import (
	"regexp"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// Problem is a report of the kernel's that no test may cause.
type Problem struct {
	Line    string   // the line that gave it away
	Context []string // what was printed before and after, that line included
	Hang    bool     // a task is stuck: the guest will not end by itself
}

const (
	contextBefore = 3
	contextAfter  = 40
	reportEnd     = "---[ end trace"
)

// scanner finds problems in a kernel's console, line by line.
type scanner struct {
	bad, hang, goesOn *regexp.Regexp
	allow             []*regexp.Regexp
	errs              []error // of regular expressions the job declared
	before            []string
	problems          []Problem
	left              int  // lines of the current report still to come
	allowed           bool // the current report is an allowed one
	muted             bool
}

func newScanner(allow []*regexp.Regexp) *scanner {
	return &scanner{
		bad: regexp.MustCompile(`\bWARNING: |\bBUG: |kernel BUG at |\bUBSAN: |\bKASAN: |\bKCSAN: |Call Trace:|\bOops\b|general protection fault|` +
			`Kernel panic|[Uu]nable to handle|rcu.*(detected stall|self-detected stall|detected expedited stall)|` +
			`INFO: task .* blocked for more than|INFO: (possible|lockdep|suspicious)|Out of memory: Killed`),
		hang:   regexp.MustCompile(`blocked for more than|soft lockup|hard LOCKUP|rcu.*stall`),
		goesOn: regexp.MustCompile(`Call Trace:|\bOops\b|Kernel panic`),
		allow: append([]*regexp.Regexp{
			// Registering a request's pages reads one element past a flexible array that is there: 7.2's own, and harmless.
			regexp.MustCompile(`UBSAN: array-index-out-of-bounds in .*io_uring/rsrc\.c`),
		}, allow...),
	}
}

// Mute ends the search: from here on the kernel prints traces because we asked for them.
func (s *scanner) Mute() { s.muted = true }

// Line takes the next line and says whether a new problem begins with it.
func (s *scanner) Line(line string) bool {
	if s.mark(line) {
		return false
	}
	if s.left > 0 && !s.begins(line) {
		s.left--
		if !s.allowed {
			p := &s.problems[len(s.problems)-1]
			p.Context = append(p.Context, line)
		}
		if strings.Contains(line, reportEnd) {
			s.left = 0
		}
		return false
	}
	defer s.remember(line)
	if s.muted || !s.bad.MatchString(line) {
		return false
	}
	s.left, s.allowed = contextAfter, s.isAllowed(line)
	if s.allowed {
		return false
	}
	s.problems = append(s.problems, Problem{
		Line:    line,
		Context: append(slices.Clone(s.before), line),
		Hang:    s.hang.MatchString(line),
	})
	return true
}

// mark takes in what the job or the guest's init say to us in the kernel's log.
func (s *scanner) mark(line string) bool {
	if strings.Contains(line, guest.StuckMark) {
		s.muted = true
		return true
	}
	_, expr, ok := strings.Cut(line, guest.ExpectMark)
	if !ok {
		return false
	}
	re, err := regexp.Compile(strings.TrimSpace(expr))
	if err != nil {
		s.errs = append(s.errs, err)
	} else {
		s.allow = append(s.allow, re)
	}
	return true
}

// begins tells, within a report, the first line of another one. A trace, and the panic that an oops
// ends in, go on with the one there is.
func (s *scanner) begins(line string) bool {
	if s.muted || !s.bad.MatchString(line) {
		return false
	}
	if s.allowed {
		return !strings.Contains(line, "Call Trace:")
	}
	return !s.goesOn.MatchString(line)
}

func (s *scanner) isAllowed(line string) bool {
	return slices.ContainsFunc(s.allow, func(re *regexp.Regexp) bool { return re.MatchString(line) })
}

func (s *scanner) remember(line string) {
	if s.before = append(s.before, line); len(s.before) > contextBefore {
		s.before = s.before[1:]
	}
}
