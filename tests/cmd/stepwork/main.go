// Command stepwork does what tests/bench counts the instructions of: it maps requests with a table, between two marks.
//
//	stepwork even SPANS                     so many linear targets of 64 sectors each
//	stepwork uneven SPANS                   of 64 to 4096 sectors, as they come
//	stepwork skewed SPANS                   of 64 sectors, but for the last, which has nearly all there is
//	stepwork striped LEGS CHUNK SECTORS     one striped target, and requests of so many sectors
//
// Requests are of 4 KiB but for the last kind, at 64 places all over the table; with skewed, all over what is small.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
	"github.com/ublk-go/ublk-linear/tests/bench/step"
)

// places is how many requests are mapped.
const places = 64

func init() { runtime.LockOSThread() } // main has the first thread

func main() {
	signal.Ignore(syscall.SIGUSR1)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stepwork:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("no work")
	}
	var n []uint64
	for _, a := range args[1:] {
		v, err := strconv.ParseUint(a, 10, 32)
		if err != nil {
			return err
		}
		n = append(n, v)
	}
	var parts []remap.Part
	sectors, within := uint64(8), uint64(0)
	switch {
	case len(n) == 1 && (args[0] == "even" || args[0] == "uneven" || args[0] == "skewed"):
		for i := range n[0] {
			length := uint64(64)
			switch {
			case args[0] == "uneven":
				length *= 1 + i*2654435761>>16%64
			case args[0] == "skewed" && i == n[0]-1:
				length = 1 << 40
			default:
				within += length
			}
			l, err := linear.New(target.Disk(i%2), target.Range{Len: length})
			if err != nil {
				return err
			}
			parts = append(parts, remap.Part{Sectors: length, Target: l})
		}
	case args[0] == "striped" && len(n) == 3:
		legs := make([]stripe.Leg, n[0])
		for i := range legs {
			legs[i].Disk = target.Disk(i)
		}
		length := n[0] * n[1] * 10000
		s, err := stripe.New(length, uint32(n[1]), legs)
		if err != nil {
			return err
		}
		parts, sectors = []remap.Part{{Sectors: length, Target: s}}, n[2]
	default:
		return fmt.Errorf("no work %q", args)
	}
	t, err := remap.NewTable(parts)
	if err != nil {
		return err
	}
	if args[0] != "skewed" {
		within = t.Sectors()
	}
	return work(t, sectors, within)
}

// work maps one request at each place: the middle of a 64th of what it is to lie within, cut down to a multiple of 64
// sectors.
func work(t *remap.Table, sectors, within uint64) error {
	dst := make([]target.Segment, 0, 4096)
	if err := step.Mark(); err != nil {
		return err
	}
	short := false
	for i := range uint64(places) {
		start := (2*i + 1) * within / (2 * places) / 64 * 64
		_, n := t.Map(dst, target.Read, target.Range{Start: start, Len: sectors})
		short = short || n != sectors
	}
	if short {
		return errors.New("a request was not mapped as a whole")
	}
	return step.Mark()
}
