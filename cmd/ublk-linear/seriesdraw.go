package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/draw"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/daemon"
)

// draw writes the picture and the page that are asked for. Both are made before anything is written. A picture shows the
// commands of the one design that is asked for, else those of the plan; plan is nil, and why says so, where a policy
// refuses the copy.
func (s *seriesArgs) draw(ctx context.Context, f *config.File, q *series.Request, designs []draw.Design, plan *blkcopy.Plan, why string) error {
	if s.svg == "" && s.html == "" {
		return nil
	}
	p := draw.Picture{Request: q, Disk: daemon.DiskName(f)}
	switch {
	case len(designs) == 1:
		p.Commands = designs[0].Outcome.Commands
		p.Title = designs[0].Model.Name + ": " + draw.Subject(q)
		if a := draw.Answer(designs[0].Outcome); a != "accepted" {
			p.Note = a
		}
	case plan == nil:
		p.Note = "refused: " + why
	default:
		var err error
		if p.Commands, err = planned(ctx, plan); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		flag, file string
		write      func(io.Writer) error
	}{{"svg", s.svg, p.SVG}, {"html", s.html, (&draw.Page{Picture: p, Designs: designs, Code: s.code()}).HTML}} {
		if x.file == "" {
			continue
		}
		var b bytes.Buffer
		if err := x.write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(x.file, b.Bytes(), 0o666); err != nil {
			return fmt.Errorf("--%s: %w: %v", x.flag, errUnwritable, err)
		}
	}
	return nil
}

// planned is all commands of a plan, as if every one of them succeeded. The plan stands before its first window again.
func planned(ctx context.Context, plan *blkcopy.Plan) ([]series.Command, error) {
	var out []series.Command
	var w blkcopy.Window
	for plan.Next(&w) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, c := range w.Commands {
			sources := append(c.Sources[:0:0], c.Sources...)
			out = append(out, series.Command{Method: c.Method, Sources: sources, Dst: c.Dst, Ranges: len(sources)})
		}
	}
	plan.Rewind()
	return out, nil
}
