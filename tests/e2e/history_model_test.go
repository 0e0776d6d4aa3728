package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A deed is an operation of a history on a pair of registers (copy_linear_test.go): what was asked for, what a read saw, and
// between which two moments it was done. An unsure deed is one that failed: a write that returned an error, a copy that
// returned none of its result. It was done or it was not, and if so before ret.
type deed struct {
	pairInput
	client    int
	saw       uint64
	unsure    bool
	call, ret int64
}

// past collects deeds, and the outages: from just before a server is killed until its successor has said that it serves.
type past struct {
	mu       sync.Mutex
	begun    time.Time
	deeds    []deed
	outages  []outage
	reissues bool // a successor does what was under way once more
}

type outage struct{ from, to int64 }

func (p *past) now() int64 { return int64(time.Since(p.begun)) }

func (p *past) add(d ...deed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deeds = append(p.deeds, d...)
}

// settle gives every unsure deed its end: what a dead server has begun has happened when the next one serves, or never
// will. A deed that failed though no server was dead is an error. A write that is reissued may have been done before as well,
// by the server that died: as an unsure deed of its own. Others that were under way with it can come between the two.
func (p *past) settle() error {
	var before []deed
	for i := range p.deeds {
		d := &p.deeds[i]
		if !d.unsure {
			for _, o := range p.outages {
				if p.reissues && d.op == 'w' && d.call <= o.to && o.from <= d.ret {
					first := *d
					first.unsure, first.ret = true, o.to
					before = append(before, first)
				}
			}
			continue
		}
		var last *outage // that had begun when it failed
		for k := range p.outages {
			if o := &p.outages[k]; o.from <= d.ret {
				last = o
			}
		}
		if last == nil || last.to < d.call {
			return fmt.Errorf("%s failed at %v, and the server was there", d.pairInput, time.Duration(d.ret))
		}
		d.ret = last.to
	}
	p.deeds = append(p.deeds, before...)
	return nil
}

func (in pairInput) String() string {
	side := map[bool]string{false: "source", true: "destination"}[in.dst]
	return map[byte]string{'w': fmt.Sprintf("write %s %d", side, in.value), 'r': "read " + side, 'c': "copy"}[in.op] + fmt.Sprintf(" of pair %d", in.pair)
}

// operations are the deeds in porcupine's words. An unsure write that no read has seen is left out: whether it was done
// makes no difference to any other, and many of them make the search long.
func (p *past) operations() (ops []porcupine.Operation, unsure, seen int) {
	type value struct {
		pair int
		v    uint64
	}
	saw := map[value]bool{}
	for i := range p.deeds {
		if d := &p.deeds[i]; d.op == 'r' {
			saw[value{d.pair, d.saw}] = true
		}
	}
	for i := range p.deeds {
		d := &p.deeds[i]
		if d.op == 'w' && d.unsure {
			unsure++
			if !saw[value{d.pair, d.value}] {
				continue
			}
			seen++
		}
		ops = append(ops, porcupine.Operation{ClientId: d.client, Input: d.pairInput, Output: *d, Call: d.call, Return: d.ret})
	}
	return ops, unsure, seen
}

// pastModel is pairModel with deeds that may not have been done.
func pastModel() porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Partition: pairModel.Partition,
		Init:      func() []any { return []any{pairState{}} },
		Step: func(state, _, output any) (out []any) {
			d := output.(deed)
			if ok, next := pairModel.Step(state, d.pairInput, d.saw); ok {
				out = append(out, next)
			}
			if d.unsure {
				out = append(out, state)
			}
			return out
		},
		Equal: func(a, b any) bool { return a == b },
		DescribeOperation: func(input, output any) string {
			d := output.(deed)
			text := d.String()
			if d.op == 'r' {
				text += fmt.Sprintf(": %d", d.saw)
			}
			if d.unsure {
				text += ", failed"
			}
			return text
		},
	}).ToModel()
}

// judge fails the test when no order explains what was done, and leaves a picture of it with the results.
func (p *past) judge(t testing.TB, name string) {
	t.Helper()
	if err := p.settle(); err != nil {
		t.Error(err)
		return
	}
	ops, unsure, seen := p.operations()
	begun := time.Now()
	res, info := porcupine.CheckOperationsVerbose(pastModel(), ops, 2*time.Minute)
	t.Logf("%d operations, %d writes failed or were under way in an outage, of which %d were seen: %v, judged in %v", len(p.deeds), unsure, seen, res, time.Since(begun).Round(time.Millisecond))
	if res != porcupine.Ok {
		file := filepath.Join(os.Getenv("UBLK_LINEAR_RESULTS"), "history-"+name+".html")
		t.Errorf("no order explains the history: %v", porcupine.VisualizePath(pastModel(), info, file))
		t.Log("drawn in", file)
	}
}

// The judge itself, on histories of one pair: times are those of call and return, and the only outage is from 10 to 20.
func TestHistoryJudge(t *testing.T) {
	write := func(v uint64, call, ret int64) deed {
		return deed{pairInput: pairInput{op: 'w', value: v}, call: call, ret: ret}
	}
	failed := func(d deed) deed {
		d.unsure = true
		return d
	}
	read := func(v uint64, call, ret int64) deed {
		return deed{pairInput: pairInput{op: 'r'}, saw: v, call: call, ret: ret}
	}
	of := func(dst bool, d deed) deed {
		d.dst = dst
		return d
	}
	copied := func(call, ret int64) deed {
		return deed{pairInput: pairInput{op: 'c'}, call: call, ret: ret}
	}
	// Two writes under way together when the server dies, which reads see in one order and then in the other.
	twice := []deed{write(1, 5, 25), read(1, 6, 7), write(2, 8, 26), read(2, 9, 10), read(1, 27, 28)}
	for _, c := range []struct {
		name  string
		ok    bool
		deeds []deed
	}{
		{"what was written is read", true, []deed{write(1, 0, 1), read(1, 2, 3)}},
		{"what was written is lost", false, []deed{write(1, 0, 1), read(0, 2, 3)}},
		{"nobody wrote it", false, []deed{write(1, 0, 1), read(2, 2, 3)}},
		{"old again", false, []deed{write(1, 0, 1), write(2, 2, 3), read(2, 4, 5), read(1, 6, 7)}},
		{"failed, and not done", true, []deed{write(1, 0, 1), failed(write(2, 9, 11)), read(1, 21, 22), read(1, 23, 24)}},
		{"failed, and done", true, []deed{write(1, 0, 1), failed(write(2, 9, 11)), read(2, 21, 22), read(2, 23, 24)}},
		{"failed, and done before the server died", true, []deed{failed(write(2, 5, 11)), read(2, 6, 7), read(2, 23, 24)}},
		{"failed, and lands under the next server", false, []deed{write(1, 0, 1), failed(write(2, 9, 11)), read(1, 21, 22), read(2, 23, 24)}},
		{"failed, and lands over what is newer", false, []deed{failed(write(2, 9, 11)), write(3, 21, 22), read(2, 23, 24)}},
		{"failed, while the next server comes, and done", true, []deed{failed(write(2, 9, 11)), write(3, 18, 19), read(2, 23, 24)}},
		{"failed without an outage", false, []deed{failed(write(2, 3, 4))}},
		{"failed behind the outage", false, []deed{failed(write(2, 21, 22))}},
		{"copied", true, []deed{write(1, 0, 1), copied(2, 3), of(true, read(1, 4, 5))}},
		{"not copied", false, []deed{write(1, 0, 1), copied(2, 3), of(true, read(0, 4, 5))}},
		{"a copy that failed, and was done", true, []deed{write(1, 0, 1), failed(copied(9, 11)), of(true, read(1, 21, 22))}},
		{"a copy that failed, and was not done", true, []deed{write(1, 0, 1), failed(copied(9, 11)), of(true, read(0, 21, 22))}},
		{"a copy that failed, and lands under the next server", false, []deed{write(1, 0, 1), failed(copied(9, 11)), of(true, read(0, 21, 22)), of(true, read(1, 23, 24))}},
		{"done twice", false, twice},
		{"done twice, reissued", true, twice},
		{"older than the outage again, reissued", false, []deed{write(1, 0, 1), write(2, 5, 25), read(2, 6, 7), read(1, 27, 28)}},
		{"acknowledged, and lost, reissued", false, []deed{write(1, 0, 25), read(0, 26, 27)}},
		{"acknowledged, and done again, reissued", false, []deed{write(1, 0, 1), write(2, 2, 3), write(3, 5, 25), read(1, 26, 27)}},
		{"lands under the next server over what it has written, reissued", false, []deed{write(1, 5, 22), write(2, 23, 24), read(2, 25, 26), read(1, 27, 28)}},
	} {
		p := &past{deeds: slices.Clone(c.deeds), outages: []outage{{10, 20}}, reissues: strings.Contains(c.name, "reissued")}
		err := p.settle()
		ops, _, _ := p.operations()
		if got := err == nil && porcupine.CheckOperations(pastModel(), ops); got != c.ok {
			t.Errorf("%s: %v (%v)", c.name, got, err)
		}
	}
}
