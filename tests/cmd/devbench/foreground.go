package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// alone is the foreground with nothing beside it.
const alone = "nothing"

// models are the disks of the foreground: null_blk that holds nothing and takes its time.
var models = []struct {
	name  string
	attrs [][2]string
}{
	{"100 µs a request, any number at a time", nil},
	{"100 µs for 32 KiB at most, 2 at a time", [][2]string{{"max_sectors", "64"}, {"submit_queues", "1"}, {"hw_queue_depth", "2"}}},
}

// foreground is what copies of a device, at default settings and at others, do to reads of it: as long as they are measured,
// one copy goes on. So large are the devices that it does not end before; their disks hold nothing.
func foreground(b *bencher, quick bool) error {
	const mib = 1 << 20
	for _, m := range models {
		var d []string
		for range 2 {
			node, err := b.nullBlk(mib, false, append([][2]string{{"irqmode", "2"}, {"completion_nsec", "100000"}}, m.attrs...)...)
			if err != nil {
				return err
			}
			d = append(d, node)
		}
		s, err := b.copyServer(d, fmt.Sprintf("0 %d linear d0 0", mib<<11), fmt.Sprintf("0 %d linear d1 0", mib<<11))
		if err != nil {
			return err
		}
		policies := []daemon.CopyPolicy{{}, {Window: 4 << 20, InFlight: 16 << 20}, {Window: 2 << 20, InFlight: 4 << 20}, {Rate: 500 << 20}}
		if quick {
			policies = policies[:1]
		}
		reader := func(name string, beside func(context.Context, func()) (aside, error)) *contender {
			return &contender{name: name, node: s.nodes[0], pids: s.pids, beside: beside}
		}
		all := []*contender{reader(alone, nil)}
		for _, p := range policies {
			name := "copy"
			if p.Window > 0 {
				name += fmt.Sprintf(" --window=%dMiB --in-flight=%dMiB", p.Window>>20, p.InFlight>>20)
			}
			if p.Rate > 0 {
				name += fmt.Sprintf(" --rate=%dMiB", p.Rate>>20)
			}
			all = append(all, reader(name, s.copying(p)))
		}
		all = append(all, reader("dd bs=1M of the disks", copyingDD(d[0], d[1])))
		j := read1
		j.name += "; " + m.name
		if err := errors.Join(b.rotateFor("foreground", 0, 5*b.time, []job{j}, all), b.clear()); err != nil {
			return err
		}
	}
	return nil
}

// copying copies from the server's first device to its second, until it is told to end.
func (c *contender) copying(p daemon.CopyPolicy) func(context.Context, func()) (aside, error) {
	return func(ctx context.Context, ready func()) (aside, error) {
		inst, err := daemon.NewInstance(c.file, "")
		if err != nil {
			return aside{}, err
		}
		segs := []daemon.CopySegment{{Len: 1 << 40}}
		r := &daemon.CopyRequest{Source: daemon.CopySide{Device: "v0", Segments: segs}, Destination: daemon.CopySide{Device: "v1", Segments: segs}, Policy: p}
		res, err := daemon.NewClient(inst).Copy(ctx, r, &daemon.CopyOptions{Progress: func(daemon.CopyProgress) { ready() }})
		switch {
		case err != nil:
			return aside{}, err
		case ctx.Err() == nil:
			return aside{}, fmt.Errorf("the copy ended: %s", res.Error)
		}
		return aside{copied: float64(res.Emulated) / (1 << 20) / res.Seconds}, nil
	}
}

// copyingDD is dd of the disks below, one MiB after the other.
func copyingDD(src, dst string) func(context.Context, func()) (aside, error) {
	return func(ctx context.Context, ready func()) (aside, error) {
		cmd := exec.CommandContext(ctx, "dd", "if="+src, "of="+dst, "bs=1M", "iflag=direct", "oflag=direct", "conv=notrunc", "status=none")
		if err := cmd.Start(); err != nil {
			return aside{}, err
		}
		time.Sleep(300 * time.Millisecond) // it starts, from wherever the guest has it from
		ready()
		err := cmd.Wait()
		if ctx.Err() != nil { // killed
			err = nil
		}
		return aside{}, err
	}
}
