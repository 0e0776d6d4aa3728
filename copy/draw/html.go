package draw

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/target"
)

// Design is what one design does with a request.
type Design struct {
	Model   *series.Model
	Outcome *series.Outcome
}

// Page is a request and what designs make of it.
type Page struct {
	Picture Picture // of the whole; its Width and ID are the page's business
	Designs []Design
	Code    string // as which code the designs were run: "as described", "as posted"
}

// maxRows is how many rows a table of a page has.
const maxRows = 200

// HTML writes the page, which needs nothing else: no script, no font, no file. Errors: ErrRequest, of a request that cannot
// be drawn, before anything is written; those of w.
func (p *Page) HTML(w io.Writer) error {
	v := pageView{Code: p.Code, Count: len(p.Designs)}
	var err error
	if v.Picture, err = pictures(p.Picture, "whole"); err != nil {
		return err
	}
	v.Title = p.Picture.Title
	if v.Title == "" {
		v.Title = Subject(p.Picture.Request)
	}
	v.Source, v.Destination = p.lines(p.Picture.Request.Src), p.lines(p.Picture.Request.Dst)
	v.Same = p.Picture.Request.Src == p.Picture.Request.Dst
	for _, d := range p.Designs {
		x := designView{Model: d.Model, Outcome: d.Outcome, Answer: Answer(d.Outcome), Good: d.Outcome.Accepted && d.Outcome.Errno == 0 && !d.Outcome.Never && len(d.Outcome.Wrong) == 0}
		if len(d.Outcome.Commands) > 0 {
			q := p.Picture
			q.Commands, q.Note = d.Outcome.Commands, ""
			q.Title = d.Model.Name + ": " + v.Title
			if x.Picture, err = pictures(q, ident(d.Model.Name)); err != nil {
				return err
			}
		}
		for i := range d.Outcome.Commands {
			if i == maxRows {
				break
			}
			x.Commands = append(x.Commands, p.row(i, &d.Outcome.Commands[i]))
		}
		x.Bios = d.Outcome.Bios[:min(len(d.Outcome.Bios), maxRows)]
		x.MoreBios, x.MoreCommands = len(d.Outcome.Bios)-len(x.Bios), len(d.Outcome.Commands)-len(x.Commands)
		for _, f := range d.Outcome.Wrong {
			g := findingView{Finding: f}
			for _, k := range d.Model.Defects {
				if k.Name == f.Defect {
					g.What, g.Ref = k.What, k.Ref
				}
			}
			x.Wrong = append(x.Wrong, g)
		}
		v.Designs = append(v.Designs, x)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, &v); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// pictures is a picture twice: for wide pages and for narrow ones.
func pictures(p Picture, id string) (template.HTML, error) {
	var b strings.Builder
	for _, x := range []struct {
		class string
		width int
	}{{"wide", 1200}, {"narrow", 380}} {
		p.Width, p.ID = x.width, id+"-"+x.class
		text, err := p.svg()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `<div class="%s">%s</div>`, x.class, text)
	}
	return template.HTML(b.String()), nil // its text is escaped where it is written: canvas.text, escape
}

// ident is a name that may stand in an id.
func ident(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, "m-"+name)
}

// lines is a device's table, of which the first lines are enough.
func (p *Page) lines(d *series.Device) deviceView {
	const most = 20
	v := deviceView{Name: d.Name}
	for i, s := range d.Table.Spans() {
		if i == most {
			v.Lines = append(v.Lines, fmt.Sprintf("and %d targets more", len(d.Table.Spans())-i))
			break
		}
		v.Lines = append(v.Lines, fmt.Sprintf("%d %d %s %s", s.Range.Start, s.Range.Len, s.Type(), s.Params(p.Picture.Disk)))
	}
	return v
}

func (p *Page) row(i int, c *series.Command) commandView {
	const most = 16
	v := commandView{N: i + 1, Method: string(c.Method), Dst: p.extent(c.Dst), Status: "ok"}
	if c.Status != 0 {
		v.Status = fmt.Sprintf("%#x after %d of %d ranges", c.Status, c.Ranges, len(c.Sources))
	}
	if c.Method == "nvme" {
		v.Method += ", format " + strconv.Itoa(c.Format)
	}
	for j, s := range c.Sources {
		if j == most {
			v.Sources = append(v.Sources, fmt.Sprintf("and %d more", len(c.Sources)-j))
			break
		}
		v.Sources = append(v.Sources, p.extent(s))
	}
	return v
}

func (p *Page) extent(e target.Extent) string {
	return fmt.Sprintf("%s:%d+%d", p.Picture.Disk(e.Disk), e.Start, e.Len)
}

// Answer is what a design says to a request, in a word or two: "accepted", "EINVAL", "never completes".
func Answer(o *series.Outcome) string {
	switch {
	case o.Never:
		return "never completes"
	case o.Accepted && o.Errno != 0:
		return "accepted, then " + ErrnoName(o.Errno)
	case o.Accepted:
		return "accepted"
	case o.Errno != 0:
		return ErrnoName(o.Errno)
	}
	return "refused"
}

// ErrnoName is an errno by the name that kernel code uses: "EINVAL"; "errno 4711" of one that has none.
func ErrnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP { // two names, one number
		return "EOPNOTSUPP"
	}
	if s := unix.ErrnoName(e); s != "" {
		return s
	}
	return fmt.Sprintf("errno %d", int(e))
}
