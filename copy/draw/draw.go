// Package draw shows copies to people: a picture of one (SVG), and a page of what several designs make of it (HTML). It
// computes and writes to an io.Writer, and does nothing else; the same input gives the same bytes.
//
// A picture has, from top to bottom, the source device, the disks that are read, the disks that are written, and the
// destination device. A band goes from where a piece lies on the source device to where it lies on its disk, to the disk
// and the place that it is copied to, and on to the destination device. Its colour is its pair of disks; it is hatched where
// this host reads and writes. What is drawn comes from the commands: a piece that no command copies is an outline, and a
// command that copies what nobody asked for is red.
//
// Files: svgband.go cuts pieces by commands, svgsum.go adds bands up where they are too many, svgaxis.go has places for
// sectors, svglabel.go room for words, svglayout.go and svgpicture.go draw, html.go and htmlpage.go make the page.
package draw

import (
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Bounds of what is drawn. MaxBands is how many bands a picture has before they are added up; MaxPieces and MaxBytes are
// the largest request, whose pieces and commands are all held in memory.
const (
	MaxBands  = 200
	MaxPieces = 1 << 18
	MaxBytes  = 16 << 30
)

// ErrRequest is of a request that cannot be drawn: its ranges are not of whole sectors inside their devices, or empty, or
// of different lengths, or there is more of it than MaxPieces and MaxBytes.
var ErrRequest = errors.New("not a request that can be drawn")

var errPieces = fmt.Errorf("more than %d pieces, and all commands are held in memory: %w", MaxPieces, ErrRequest)

// Picture is a copy and the commands that were made of it.
type Picture struct {
	Request  *series.Request
	Commands []series.Command
	Disk     func(target.Disk) string // the name of a disk
	Title    string                   // "": the request
	Note     string                   // a line under the title; "": none
	Width    int                      // of the picture, in its own units; 0: 1200; at least 320
	ID       string                   // what its ids begin with, for several on one page; "": "copy"
}

// Bounded finds out whether a request, right or wrong, is small enough for all of its commands to be held in memory, as the
// designs' models and pictures do. Errors: ErrRequest.
func Bounded(r *series.Request) error {
	for _, segs := range [][]blkcopy.Seg{r.SrcSegs, r.DstSegs} {
		left := uint64(MaxBytes)
		for _, g := range segs {
			if g.Len > left {
				return fmt.Errorf("more than %d GiB, and all commands are held in memory: %w", MaxBytes>>30, ErrRequest)
			}
			left -= g.Len
		}
	}
	if err := Check(r); errors.Is(err, errPieces) {
		return err
	}
	return nil
}

// Check finds out whether a request can be drawn. Errors: ErrRequest, with what is wrong.
func Check(r *series.Request) error {
	src, err := side(r.Src, r.SrcSegs)
	if err != nil {
		return err
	}
	dst, err := side(r.Dst, r.DstSegs)
	if err != nil {
		return err
	}
	if src.Sectors() != dst.Sectors() {
		return fmt.Errorf("the source has %d sectors, the destination %d: %w", src.Sectors(), dst.Sectors(), ErrRequest)
	}
	n := 0
	for ps := remap.NewPieces(src, dst); ; n++ {
		if _, ok := ps.Next(); !ok {
			return nil
		}
		if n == MaxPieces {
			return errPieces
		}
	}
}

// side is the segments of a device in sectors.
func side(d *series.Device, segs []blkcopy.Seg) (remap.Side, error) {
	s := remap.Side{Table: d.Table}
	left, sectors := uint64(MaxBytes), d.Table.Sectors()
	for _, g := range segs {
		switch {
		case g.Len == 0 || (g.Pos|g.Len)%512 != 0:
			return s, fmt.Errorf("%s:%d+%d is not whole sectors: %w", d.Name, g.Pos, g.Len, ErrRequest)
		case g.Pos/512 > sectors || g.Len/512 > sectors-g.Pos/512:
			return s, fmt.Errorf("%s:%d+%d ends past the device: %w", d.Name, g.Pos, g.Len, ErrRequest)
		case g.Len > left:
			return s, fmt.Errorf("more than %d GiB, and all commands are held in memory: %w", MaxBytes>>30, ErrRequest)
		}
		left -= g.Len
		s.Ranges = append(s.Ranges, target.Range{Start: g.Pos / 512, Len: g.Len / 512})
	}
	if len(s.Ranges) == 0 {
		return s, fmt.Errorf("no range of %s: %w", d.Name, ErrRequest)
	}
	return s, nil
}
