package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestTurns(t *testing.T) {
	var out strings.Builder
	s := newTurns(&out, 3)
	say := func(i int, what string) {
		if _, err := fmt.Fprint(turn{s, i}, what); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		do   func()
		want string
	}{
		{func() { say(1, "b1 ") }, ""},
		{func() { say(0, "a1 ") }, "a1 "},
		{func() { say(2, "c1 ") }, "a1 "},
		{turn{s, 2}.end, "a1 "},
		{func() { say(0, "a2 ") }, "a1 a2 "},
		{turn{s, 0}.end, "a1 a2 b1 "},
		{func() { say(1, "b2 ") }, "a1 a2 b1 b2 "},
		{turn{s, 1}.end, "a1 a2 b1 b2 c1 "},
	}
	for i, x := range steps {
		x.do()
		if out.String() != x.want {
			t.Errorf("step %d: %q, want %q", i, out.String(), x.want)
		}
	}
}
