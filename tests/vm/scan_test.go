package vm

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ubsanReport = `[   9.1] ------------[ cut here ]------------
[   9.1] UBSAN: array-index-out-of-bounds in io_uring/rsrc.c:1070:28
[   9.1] index 0 is out of range for type 'bio_vec [*]'
[   9.1] Call Trace:
[   9.1]  <TASK>
[   9.1] ---[ end trace ]---`

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		name  string
		log   string
		allow []string
		want  []string // the lines that give a problem away
		hang  bool
	}{
		{name: "quiet", log: "[ 0.1] Linux version\n[ 0.2] debugfs: ready\n[ 0.3] nvme nvme0: oops is no Oopsie\nDEBUG: x"},
		{name: "warning", log: "[ 1.0] a\n[ 1.1] WARNING: CPU: 0 PID: 1 at mm/x.c:1 y+0x1\n[ 1.1] Call Trace:\n[ 1.1] ---[ end trace 0 ]---\n", want: []string{"WARNING: CPU"}},
		{name: "two warnings", log: "WARNING: one\n---[ end trace 0 ]---\nfine\nWARNING: two", want: []string{"one", "two"}},
		{name: "two without an end", log: "WARNING: one\nCall Trace:\nWARNING: two", want: []string{"one", "two"}},
		{name: "an oops is one", log: "BUG: kernel NULL pointer dereference\nOops: 0000 [#1]\nCall Trace:\nKernel panic - not syncing", want: []string{"BUG"}},
		{name: "bare trace", log: "Call Trace:\n <TASK>", want: []string{"Call Trace"}},
		{name: "hung task", log: "INFO: task dd:12 blocked for more than 60 seconds.\nCall Trace:", want: []string{"INFO: task"}, hang: true},
		{name: "rcu stall", log: "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", want: []string{"rcu"}, hang: true},
		{name: "lockup", log: "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", want: []string{"lockup"}, hang: true},
		{name: "lockdep", log: "WARNING: possible circular locking dependency detected", want: []string{"circular"}},
		{name: "kasan", log: "BUG: KASAN: slab-out-of-bounds in x", want: []string{"KASAN"}},
		{name: "protection fault", log: "Oops: general protection fault, probably for x", want: []string{"general protection"}},
		{name: "known", log: ubsanReport},
		{name: "after a known one", log: ubsanReport + "\nWARNING: x", want: []string{"WARNING: x"}},
		{name: "within a known one", log: "UBSAN: array-index-out-of-bounds in io_uring/rsrc.c:1\nCall Trace:\nBUG: y", want: []string{"BUG: y"}},
		{name: "other ubsan", log: "UBSAN: shift-out-of-bounds in block/x.c", want: []string{"UBSAN"}},
		{name: "allowed", log: "INFO: task x:1 blocked for more than 60 seconds.\nCall Trace:", allow: []string{"blocked for more"}},
		{name: "expected", log: "[ 1.0] ublk-linear vm: expect WARNING: t.st\nWARNING: test\nWARNING: rest", want: []string{"rest"}},
		{name: "expected within a report", log: ubsanReport[:strings.LastIndex(ubsanReport, "\n")] + "\n[ 9.9] ublk-linear vm: expect foo\nWARNING: foo"},
		{name: "stuck power-off", log: "ublk-linear vm: power-off is stuck\nCall Trace:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var allow []*regexp.Regexp
			for _, a := range tt.allow {
				allow = append(allow, regexp.MustCompile(a))
			}
			s, n := newScanner(allow), 0
			for line := range strings.SplitSeq(tt.log, "\n") {
				if s.Line(line) {
					n++
				}
			}
			if n != len(s.problems) || n != len(tt.want) {
				t.Fatalf("%d problems, %d told of, want %d: %+v", len(s.problems), n, len(tt.want), s.problems)
			}
			for i, w := range tt.want {
				if !strings.Contains(s.problems[i].Line, w) || s.problems[i].Hang != tt.hang {
					t.Errorf("problem %+v, want %q, hang %v", s.problems[i], w, tt.hang)
				}
			}
		})
	}
}

func TestScanContext(t *testing.T) {
	s := newScanner(nil)
	for line := range strings.SplitSeq("a\nb\nc\nd\nWARNING: x\ny\n---[ end trace ]---\nz", "\n") {
		s.Line(line)
	}
	want := []string{"b", "c", "d", "WARNING: x", "y", "---[ end trace ]---"}
	if diff := cmp.Diff(want, s.problems[0].Context); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
}

func TestScanBadExpectation(t *testing.T) {
	s := newScanner(nil)
	s.Line("ublk-linear vm: expect (")
	if len(s.errs) != 1 {
		t.Errorf("errors %v, want one", s.errs)
	}
}
