package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// countsFile is what the plugin writes; plugin/plugin.c has its format.
const countsFile = "counts.txt"

// counted is what ran in one window.
type counted struct {
	names    map[int]string // of tasks
	switches map[string]float64
	blocks   []ran
}

// ran is how often tasks of a name ran a block of code.
type ran struct {
	at, times uint64
	insns     uint64
	who       int
}

// readCounts reads the windows of a run. A window that is cut short is an error.
func readCounts(r io.Reader) ([]*counted, error) {
	var all []*counted
	var c *counted
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		l := sc.Text()
		kind, rest, _ := strings.Cut(l, " ")
		bad := fmt.Errorf("counts, line %d: %q", n, l)
		if (c == nil) != (kind == "window") {
			return nil, bad
		}
		switch kind {
		case "window":
			c = &counted{names: map[int]string{}, switches: map[string]float64{}}
			var number int
			if _, err := fmt.Sscan(rest, &number); err != nil || number != len(all)+1 {
				return nil, bad
			}
		case "who":
			var i int
			var times float64
			f := strings.SplitN(rest, " ", 3) // a name may have spaces
			if len(f) != 3 {
				return nil, bad
			}
			if _, err := fmt.Sscan(f[0]+" "+f[1], &i, &times); err != nil {
				return nil, bad
			}
			c.names[i] = f[2]
			c.switches[f[2]] += times
		case "block":
			var b ran
			if _, err := fmt.Sscanf(rest, "%x %d %d %d", &b.at, &b.insns, &b.who, &b.times); err != nil {
				return nil, bad
			}
			if _, ok := c.names[b.who]; !ok {
				return nil, bad
			}
			c.blocks = append(c.blocks, b)
		case "end":
			all, c = append(all, c), nil
		default:
			return nil, bad
		}
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if c != nil {
		return nil, errors.New("counts: the last window has no end")
	}
	return all, nil
}
