package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/draw"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// designJSON is an outcome with disks by name: its lists take the place of the outcome's.
type designJSON struct {
	*series.Outcome
	Error        string           `json:"error"` // the errno's name
	Limits       []series.Value   `json:"limits"`
	Bios         *[]series.Bio    `json:"bios,omitempty"`
	Commands     *[]designCommand `json:"commands,omitempty"`
	BioCount     int              `json:"bio_count"`
	CommandCount int              `json:"command_count"`
	Wrong        []series.Finding `json:"wrong"`
}

type designCommand struct {
	Method  limits.Method `json:"method"`
	Format  int           `json:"format"`
	Sources []extentJSON  `json:"sources"`
	Dst     placeJSON     `json:"dst"`
	Sectors uint64        `json:"sectors"`
	Status  uint16        `json:"status"`
	Ranges  int           `json:"ranges"`
	Buffer  int           `json:"buffer,omitempty"`
}

// designsJSON is what designs did, as JSON has it; a summary has no lists of bios and commands.
func designsJSON(ds []draw.Design, name func(target.Disk) string, summary bool) []designJSON {
	out := []designJSON{}
	for _, d := range ds {
		o := d.Outcome
		j := designJSON{Outcome: o, Limits: full(o.Limits), Wrong: full(o.Wrong), BioCount: len(o.Bios), CommandCount: len(o.Commands)}
		if o.Errno != 0 {
			j.Error = draw.ErrnoName(o.Errno)
		}
		if !summary {
			bios, commands := full(o.Bios), []designCommand{}
			for _, c := range o.Commands {
				x := designCommand{c.Method, c.Format, []extentJSON{}, placeJSON{name(c.Dst.Disk), c.Dst.Start}, c.Dst.Len, c.Status, c.Ranges, c.Buffer}
				for _, s := range c.Sources {
					x.Sources = append(x.Sources, extentJSON{name(s.Disk), s.Start, s.Len})
				}
				commands = append(commands, x)
			}
			j.Bios, j.Commands = &bios, &commands
		}
		out = append(out, j)
	}
	return out
}

// full is a list that is not null in JSON.
func full[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// wide is where the lines of findings end.
const wide = 110

// printDesigns is the table for people: a row a design, and under it why, and what goes wrong.
func printDesigns(out io.Writer, ds []draw.Design, code string) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DESIGN\tANSWER\tBIOS\tCOMMANDS\tOFFLOADED\tEMULATED\tHOST\tCALLER IS TOLD")
	for _, d := range ds {
		o := d.Outcome
		told := fmt.Sprint(config.Size(o.Bytes))
		switch {
		case o.Never:
			told = "nothing, ever"
		case o.Errno != 0:
			told += ", " + draw.ErrnoName(o.Errno)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%v\t%v\t%v\t%s\n", d.Model.Name, draw.Answer(o), len(o.Bios), len(o.Commands), config.Size(o.Offloaded), config.Size(o.Emulated), config.Size(o.Host), told)
	}
	_ = w.Flush() // a Builder takes everything
	lines := strings.SplitAfter(text.String(), "\n")
	fmt.Fprintf(out, "designs, %s:\n%s", code, lines[0])
	for i, d := range ds {
		fmt.Fprint(out, lines[i+1])
		if d.Outcome.Why != "" {
			indent(out, "why: ", d.Outcome.Why)
		}
		for _, f := range d.Outcome.Wrong {
			text := f.Text
			if f.Defect != "" {
				text += " [" + f.Defect + "]"
			}
			indent(out, "wrong: ", text)
		}
	}
	return nil
}

// indent prints a text in lines that begin under each other, the first of them behind a word.
func indent(out io.Writer, word, text string) {
	line := "    " + word
	began := false
	for _, x := range strings.Fields(text) {
		if began && len(line)+1+len(x) > wide {
			fmt.Fprintln(out, line)
			line, began = strings.Repeat(" ", 4+len(word)), false
		}
		if began {
			line += " "
		}
		line, began = line+x, true
	}
	fmt.Fprintln(out, line)
}
