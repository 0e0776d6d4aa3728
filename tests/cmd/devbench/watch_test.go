package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What a contender has beside it goes on while its section does, and at no other time: the sections wait for each other's.
func TestBeside(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("needs fio")
	}
	b := &bencher{dir: t.TempDir()}
	file := filepath.Join(b.dir, "a")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	const runs = 200 * time.Millisecond
	var going atomic.Int32
	var took []time.Duration
	beside := func(copied float64) func(context.Context, func()) (aside, error) {
		return func(ctx context.Context, ready func()) (aside, error) {
			time.Sleep(50 * time.Millisecond) // it takes a while to be under way
			if n := going.Add(1); n != 1 {
				t.Errorf("%d beside one section", n)
			}
			begin := time.Now()
			ready()
			<-ctx.Done()
			took = append(took, time.Since(begin))
			time.Sleep(50 * time.Millisecond) // and to end
			going.Add(-1)
			return aside{copied: copied, asked: 2, collections: 3}, nil
		}
	}
	all := []*contender{{name: "a", node: file, beside: beside(7)}, {name: "b", node: file}, {name: "c", node: file, beside: beside(9)}}
	samples, err := b.round(job{"j", "randread", "4k", 1, 2}, runs, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{7, 0, 9} {
		s := samples[i]
		if s.Contender != all[i].name || s.BesideMiBs != want || s.Requests < 1 || (s.Asked == 2) != (want > 0) || (s.Collections == 3) != (want > 0) {
			t.Errorf("%+v", s)
		}
	}
	if len(took) != 2 || min(took[0], took[1]) < runs {
		t.Errorf("beside for %v, sections take %v", took, runs)
	}
	for name, broken := range map[string]func(context.Context, func()) (aside, error){
		"ended before it": func(_ context.Context, ready func()) (aside, error) { ready(); return aside{}, nil },
		"no copy":         func(context.Context, func()) (aside, error) { return aside{}, errors.New("no copy") },
	} {
		if _, err := b.round(job{"j", "read", "4k", 1, 1}, runs, []*contender{{name: "a", node: file, beside: broken}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("what went on beside had failed (%s): %v", name, err)
		}
	}
}

func TestCollections(t *testing.T) {
	var c collections
	for _, part := range []string{"gc 1 @0.021s 6%: 0.1+1", "+0 ms clock\ngc 2", " @0.1s 3%: x\n", "gc ", "3 @0.2s 1%: y\ngc is no word of the runtime's\n", "gc 4 @0.3s"} {
		if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := c.n.Load(); n != 3 {
		t.Errorf("%d collections, 3 whole lines", n)
	}
}
