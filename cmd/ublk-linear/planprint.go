package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

type placeJSON struct {
	Disk  string `json:"disk"`
	Start uint64 `json:"start"`
}

type extentJSON struct {
	Disk    string `json:"disk"`
	Start   uint64 `json:"start"`
	Sectors uint64 `json:"sectors"`
}

type pieceJSON struct {
	Src     placeJSON `json:"src"`
	Dst     placeJSON `json:"dst"`
	Sectors uint64    `json:"sectors"`
}

type commandJSON struct {
	Method  limits.Method `json:"method"`
	Sources []extentJSON  `json:"sources"`
	Dst     placeJSON     `json:"dst"`
	Sectors uint64        `json:"sectors"`
}

// planTotals is what a plan comes to, in bytes and numbers.
type planTotals struct {
	bytes, offloaded, emulated, onto uint64
	pieces, commands                 uint64
	methods                          map[string]uint64 // commands
	why                              []string          // of what is emulated, once per pair of disks
}

// planForm is a way to print a plan, in this order.
type planForm interface {
	piece(n uint64, p pieceJSON)
	command(n uint64, c *commandJSON)
	end(t *planTotals, refused string)
}

// planPrinter prints a plan as it is made, in two passes: a copy of a terabyte has millions of pieces, and whoever asked
// may stop it.
type planPrinter struct {
	w       *bufio.Writer
	form    planForm
	name    func(target.Disk) string
	summary bool
	totals  planTotals
	asked   map[[2]target.Disk]bool
}

// flushEvery is how many lines are printed between looks at who asked.
const flushEvery = 4096

func (p *planPrinter) print(ctx context.Context, plan *blkcopy.Plan) error {
	p.asked = map[[2]target.Disk]bool{}
	p.totals.bytes, p.totals.onto = plan.Bytes(), plan.Onto()
	if err := p.pieces(ctx, plan.Pieces()); err != nil {
		return err
	}
	var w blkcopy.Window
	var c commandJSON
	for plan.Next(&w) {
		for i := range w.Commands {
			p.command(plan, &w, &w.Commands[i], &c)
		}
		if err := cmp.Or(ctx.Err(), p.w.Flush()); err != nil {
			return err
		}
	}
	p.form.end(&p.totals, "")
	return p.w.Flush()
}

func (p *planPrinter) pieces(ctx context.Context, ps *remap.Pieces) error {
	for {
		x, ok := ps.Next()
		if !ok {
			return nil
		}
		if p.totals.pieces++; !p.summary {
			p.form.piece(p.totals.pieces, pieceJSON{placeJSON{p.name(x.Src.Disk), x.Src.Sector}, placeJSON{p.name(x.Dst.Disk), x.Dst.Sector}, x.Sectors})
		}
		if p.totals.pieces%flushEvery == 0 {
			if err := cmp.Or(ctx.Err(), p.w.Flush()); err != nil {
				return err
			}
		}
	}
}

// command counts and prints one; out is used again.
func (p *planPrinter) command(plan *blkcopy.Plan, w *blkcopy.Window, c *blkcopy.Command, out *commandJSON) {
	p.totals.commands++
	p.totals.methods[string(c.Method)]++
	if blkcopy.Offloads(c.Method) {
		p.totals.offloaded += c.Dst.Len * 512
	} else {
		p.totals.emulated += c.Dst.Len * 512
		p.ask(plan, w, c)
	}
	if p.summary {
		return
	}
	*out = commandJSON{c.Method, out.Sources[:0], placeJSON{p.name(c.Dst.Disk), c.Dst.Start}, c.Dst.Len}
	for _, s := range c.Sources {
		out.Sources = append(out.Sources, extentJSON{p.name(s.Disk), s.Start, s.Len})
	}
	p.form.command(p.totals.commands, out)
}

// ask finds out why a command is emulated, once per pair of disks.
func (p *planPrinter) ask(plan *blkcopy.Plan, w *blkcopy.Window, c *blkcopy.Command) {
	for _, s := range c.Sources {
		pair := [2]target.Disk{s.Disk, c.Dst.Disk}
		if p.asked[pair] {
			continue
		}
		why := plan.Why(s.Disk, c.Dst.Disk)
		if why == "" && w.Bounce {
			why = "the range overlaps itself, and is read before it is written"
		}
		if why == "" {
			continue
		}
		p.asked[pair] = true
		p.totals.why = append(p.totals.why, fmt.Sprintf("%s to %s: %s", p.name(s.Disk), p.name(c.Dst.Disk), why))
	}
}

// planJSON is one object. Its lists come first, since what they come to is known last.
type planJSON struct {
	w       *bufio.Writer
	summary bool
	list    string       // that is open
	designs []designJSON // nil: none was asked for
}

func (j *planJSON) open(list string) {
	switch {
	case j.list == list:
	case j.list == "":
		fmt.Fprintf(j.w, `{"schema":%d,"%s":[`, schema, list)
	default:
		fmt.Fprintf(j.w, `],"%s":[`, list)
	}
	j.list = list
}

func (j *planJSON) item(n uint64, v any) {
	if n > 1 {
		_ = j.w.WriteByte(',')
	}
	b, _ := json.Marshal(v)
	fmt.Fprintf(j.w, "\n  %s", b)
}

func (j *planJSON) piece(n uint64, p pieceJSON) {
	j.open("pieces")
	j.item(n, p)
}

func (j *planJSON) command(n uint64, c *commandJSON) {
	j.open("commands")
	j.item(n, c)
}

func (j *planJSON) end(t *planTotals, refused string) {
	if j.summary {
		fmt.Fprintf(j.w, `{"schema":%d,"piece_count":%d,"command_count":%d`, schema, t.pieces, t.commands)
	} else {
		if j.list == "" { // also where there are none
			j.open("pieces")
		}
		j.open("commands")
		fmt.Fprint(j.w, "]")
	}
	why := []byte("null")
	if refused != "" {
		why, _ = json.Marshal(refused)
	}
	fmt.Fprintf(j.w, `,"bytes":%d,"offloaded_bytes":%d,"emulated_bytes":%d,"host_bytes":%d,"refused":%s`, t.bytes, t.offloaded, t.emulated, 2*t.emulated, why)
	if j.designs != nil {
		b, _ := json.Marshal(j.designs)
		fmt.Fprintf(j.w, ",\n\"designs\":%s", b)
	}
	fmt.Fprintln(j.w, "}")
}

// planText is two tables and a summary.
type planText struct {
	w       *bufio.Writer
	summary bool
}

func (x *planText) piece(n uint64, p pieceJSON) {
	if n == 1 {
		fmt.Fprintf(x.w, "%-16s %14s    %-16s %14s %12s\n", "SOURCE", "START", "DESTINATION", "START", "SECTORS")
	}
	fmt.Fprintf(x.w, "%-16s %14d -> %-16s %14d %12d\n", p.Src.Disk, p.Src.Start, p.Dst.Disk, p.Dst.Start, p.Sectors)
}

func (x *planText) command(n uint64, c *commandJSON) {
	if n == 1 {
		fmt.Fprintf(x.w, "\n%-8s %-16s %14s %12s    %s\n", "METHOD", "DESTINATION", "START", "SECTORS", "SOURCES")
	}
	fmt.Fprintf(x.w, "%-8s %-16s %14d %12d <-", c.Method, c.Dst.Disk, c.Dst.Start, c.Sectors)
	for _, s := range c.Sources {
		fmt.Fprintf(x.w, " %s:%d+%d", s.Disk, s.Start, s.Sectors)
	}
	fmt.Fprintln(x.w)
}

func (x *planText) end(t *planTotals, refused string) {
	if refused != "" {
		fmt.Fprintf(x.w, "refused: %s\n", strings.ReplaceAll(refused, "\n", "\nrefused: "))
		return
	}
	if !x.summary {
		fmt.Fprintln(x.w)
	}
	var by []string
	for _, m := range slices.Sorted(maps.Keys(t.methods)) {
		by = append(by, fmt.Sprintf("%d %s", t.methods[m], m))
	}
	fmt.Fprintf(x.w, "%v in %s, %s", config.Size(t.bytes), count(int(t.pieces), "piece"), count(int(t.commands), "command"))
	if len(by) > 0 {
		fmt.Fprintf(x.w, " (%s)", strings.Join(by, ", "))
	}
	fmt.Fprintf(x.w, "; offloaded %v (%s), emulated %v, through this host %v\n", config.Size(t.offloaded), percent(t.offloaded, t.bytes), config.Size(t.emulated), config.Size(2*t.emulated))
	if t.onto > 0 {
		fmt.Fprintf(x.w, "%v are copied onto themselves: nothing is sent\n", config.Size(t.onto))
	}
	for _, why := range t.why {
		fmt.Fprintln(x.w, "emulated:", why)
	}
}

func percent(part, of uint64) string {
	if of == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.4g%%", float64(part)/float64(of)*100)
}
