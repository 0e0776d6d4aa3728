package draw

import (
	"fmt"
	"strings"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
)

// maxLegend is how many pairs of disks the legend names.
const maxLegend = 24

// words are the title and the lines under it.
func (l *layout) words(p *Picture, all []band) {
	l.subject = p.Title
	if l.subject == "" {
		l.subject = Subject(p.Request)
	}
	var by [strayed + 1]uint64
	cuts := 0
	for _, b := range all {
		by[b.kind] += b.sectors * 512
		if b.kind != strayed {
			cuts++
		}
	}
	parts := []string{size(by[offloaded]+by[emulated]+by[failed]+by[unsent]) + " in " + count(cuts, "band") + ", " + count(len(p.Commands), "command")}
	for _, x := range []struct {
		kind kind
		what string
	}{{offloaded, "copied by the disks"}, {emulated, "through this host"}, {failed, "sent and not copied"}, {unsent, "not sent"}, {strayed, "that nobody asked for"}} {
		if n := by[x.kind]; n > 0 {
			parts = append(parts, size(n)+" "+x.what)
		}
	}
	l.summary = strings.Join(parts, "; ")
	l.head = wrap(l.summary, font, l.w-2*margin)
	if p.Note != "" {
		l.note = append(l.note, wrap(p.Note, font, l.w-2*margin)...)
	}
	if l.window > 0 {
		text := fmt.Sprintf("%d bands are too many to draw: these are what goes from one disk to another in each window of %s, from the first sector to the last; commands have no numbers.", len(all), size(l.window*512))
		if l.hidden > 0 {
			text += fmt.Sprintf(" The %d smallest bands are left out.", l.hidden)
		}
		l.note = append(l.note, wrap(text, font, l.w-2*margin)...)
	}
}

// Subject is a request in words: "data:0s+64s to scratch:128s".
func Subject(r *series.Request) string {
	say := func(name string, segs []blkcopy.Seg, length bool) string {
		var all []string
		for i, s := range segs {
			if i == 4 && len(segs) > 5 {
				all = append(all, fmt.Sprintf("and %d ranges more", len(segs)-i))
				break
			}
			text := fmt.Sprintf("%s:%s", name, sectors(s.Pos))
			if length {
				text += "+" + sectors(s.Len)
			}
			all = append(all, text)
		}
		return strings.Join(all, ", ")
	}
	return say(r.Src.Name, r.SrcSegs, true) + " to " + say(r.Dst.Name, r.DstSegs, len(r.DstSegs) > 1)
}

// sectors is bytes as the command line takes them, in sectors if they are whole ones.
func sectors(n uint64) string {
	if n%512 == 0 {
		return fmt.Sprintf("%ds", n/512)
	}
	return fmt.Sprintf("%dB", n)
}

// key is a kind in the legend.
func (k kind) key() string {
	return [...]string{"copied by the disks", "hatched: read and written by this host", "red edge: sent, and not copied", "dashed: no command copies it", "red: copied, and nobody asked for it"}[k]
}

// tip is what a band says of itself.
func (l *layout) tip(p *Picture, b *band) string {
	text := fmt.Sprintf("%s:%d to %s:%d, %d sectors", p.Disk(b.src.Disk), b.src.Start, p.Disk(b.dst.Disk), b.dst.Start, b.sectors)
	if b.pieces > 1 {
		return fmt.Sprintf("%d bands from %s:%d+%d to %s:%d+%d, %d sectors", b.pieces, p.Disk(b.src.Disk), b.src.Start, b.src.Len, p.Disk(b.dst.Disk), b.dst.Start, b.dst.Len, b.sectors)
	}
	if b.command >= 0 {
		c := &p.Commands[b.command]
		text += fmt.Sprintf("; command %d, %s", b.command+1, c.Method)
		if c.Status != 0 {
			text += fmt.Sprintf(", status %#x", c.Status)
		}
	}
	if b.kind > emulated {
		text += "; " + b.kind.key()
	}
	return text
}
