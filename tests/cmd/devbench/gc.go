package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// collecting is the server while it collects garbage. One that serves makes none, so it is given something to do: whoever
// watches it asks for a device's status every 50 ms, and its heap may grow by 1 % only, or as it likes. How often it collected
// is counted in what GODEBUG=gctrace=1 has the runtime print, a line for each time. The guest's processors have to do the asking
// and the answering, too: the C server is measured beside as much of that, between the asker and another server.
func collecting(b *bencher, _ bool) error {
	l := &line{}
	var answers func(context.Context, func()) (aside, error)
	for i, v := range []struct {
		name, gogc string
		asked      bool
	}{{"", "100", false}, {", asked for its status, GOGC=off", "off", true}, {", asked for its status, GOGC=100", "100", true}, {", asked for its status, GOGC=1", "1", true}} {
		d, err := b.disks(4, legMiB, false)
		if err != nil {
			return err
		}
		count := &collections{}
		t := b.tools[0]
		t.env, t.stderr = []string{"GODEBUG=gctrace=1", "GOGC=" + v.gogc}, count
		name := fmt.Sprintf("v%d", i)
		c, err := b.up(t, t.name+v.name, newConfig(d).device(name, "zero-copy", 1, striped(named(d), chunk, legSectors)), 1)
		l.add(c, err)
		if l.err != nil {
			return l.err
		}
		c.beside = watched(c, name, count, v.asked)
		if v.gogc == "100" && v.asked {
			answers = c.beside
		}
	}
	if b.kublk != "" {
		d, err := b.disks(4, legMiB, false)
		l.add(nil, err)
		l.add(b.kernelServer("kublk stripe, zero-copy", 1, append([]string{"stripe", "--auto_zc"}, d...)...))
		b.bareStripe(l)
		d, err = b.disks(4, legMiB, false)
		l.add(nil, err)
		c, err := bare(b.kernelServer("kublk stripe, zero-copy, no scheduler, another server asked", 1, append([]string{"stripe", "--auto_zc"}, d...)...))
		if l.add(c, err); l.err == nil {
			c.beside = answers
		}
	}
	if l.err != nil {
		return l.err
	}
	return b.rotateFor("gc", 0, 5*b.time, []job{read1, read32}, l.all)
}

// watched asks a server for the status of its device every 50 ms, if it is to be asked, and counts its collections.
func watched(c *contender, name string, count *collections, ask bool) func(context.Context, func()) (aside, error) {
	return func(ctx context.Context, ready func()) (a aside, err error) {
		inst, err := daemon.NewInstance(c.file, "")
		if err != nil {
			return a, err
		}
		client, before := daemon.NewClient(inst), count.n.Load()
		var tick <-chan time.Time // none: who ticks is seen beside it
		if ask {
			t := time.NewTicker(50 * time.Millisecond)
			defer t.Stop()
			tick = t.C
		}
		for ready(); ; {
			select {
			case <-ctx.Done():
				a.collections = int(count.n.Load() - before)
				return a, nil
			case <-tick:
			}
			if _, err := client.Status(context.WithoutCancel(ctx), name); err != nil {
				return a, err
			}
			a.asked++
		}
	}
}

// collections counts the lines of gctrace, "gc 7 @0.1s …", and passes the others on.
type collections struct {
	n    atomic.Int64
	line []byte // whose end has not come
}

func (c *collections) Write(p []byte) (int, error) {
	c.line = append(c.line, p...)
	for {
		l, rest, ok := bytes.Cut(c.line, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		if bytes.HasPrefix(l, []byte("gc ")) && bytes.Contains(l, []byte(" @")) {
			c.n.Add(1)
		} else {
			_, _ = os.Stderr.Write(append(l, '\n'))
		}
		c.line = rest
	}
}
