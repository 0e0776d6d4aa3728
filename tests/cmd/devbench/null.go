package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// nowhere maps everything to a disk that is not there: a request is one command that moves no data. What such a device costs
// is what the driver, io_uring and the queue's loop cost; less a device of package ublk cannot.
type nowhere struct{ sectors uint64 }

func (n nowhere) Map(dst []target.Segment, _ target.Op, r target.Range) ([]target.Segment, uint64) {
	return append(dst, target.Segment{Sector: r.Start, Sectors: r.Len}), r.Len
}
func (n nowhere) Fan() int        { return 1 }
func (n nowhere) Sectors() uint64 { return n.sectors }

// serveNull serves one such device until it is told to stop.
func serveNull(args []string) (err error) {
	fs := flag.NewFlagSet("null", flag.ContinueOnError)
	path := fs.String("path", "zero-copy", "buffer or zero-copy")
	queues := fs.Int("queues", 1, "of the device")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s := &ublk.Spec{ID: -1, Queues: *queues, Sectors: 2 << 20, Limits: limits.Default(), DataPath: ublk.BufferPath}
	if *path == "zero-copy" {
		s.DataPath = ublk.ZeroCopyPath
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	d, err := c.Add(ctx, s)
	if err != nil {
		return err
	}
	if err := d.Start(ctx, nowhere{s.Sectors}, []ublk.Backing{{FD: -1, Name: "null", Null: true}}); err != nil {
		return err
	}
	fmt.Println("null", d.Node())
	<-ctx.Done()
	return d.Stop(context.WithoutCancel(ctx))
}
