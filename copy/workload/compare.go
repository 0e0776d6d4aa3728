package workload

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy/series"
)

// Options of Compare.
type Options struct {
	Params
	Seed     uint64
	Requests int // of each workload on each layout, at least 1
	AsPosted bool
}

// Row is what one design did with the requests of one workload on one layout.
type Row struct {
	Workload string `json:"workload"`
	Layout   string `json:"layout"`
	Design   string `json:"design"`
	Tally
}

// Tally is what requests came to.
type Tally struct {
	Requests int            `json:"requests"`
	Bytes    uint64         `json:"bytes"`   // asked for, of refused requests too
	Refused  map[string]int `json:"refused"` // requests by the name of the errno; "" is a refusal without
	Failed   map[string]int `json:"failed"`  // requests that were accepted and end with an errno
	// Commands are those of all requests; Median is of the requests that were accepted, 0 if none were: the lower middle.
	Commands  uint64 `json:"commands"`
	Median    uint64 `json:"commands_median"`
	Offloaded uint64 `json:"offloaded_bytes"`
	Emulated  uint64 `json:"emulated_bytes"`
	Host      uint64 `json:"host_bytes"`
	// Wrong are requests of which the design's model knows something that goes wrong, Findings how many by the defect's name;
	// "" is a finding without one.
	Wrong    int            `json:"wrong"`
	Findings map[string]int `json:"findings"`
	// Corrupt are requests after which the disks do not have what the caller was told, found by doing the commands.
	// Judged are the requests that were looked at so: none on disks of more than 8 GiB together.
	Corrupt int `json:"corrupt"`
	Judged  int `json:"judged"`
	Never   int `json:"never"` // never complete

	commands []uint64 // of accepted requests
}

// Compare runs every model over the same requests: of every workload on every layout, in this order, models innermost. It
// is deterministic. Errors: the context's, and Workload.Request's with the workload and the layout.
func Compare(ctx context.Context, models []*series.Model, layouts []*Layout, workloads []*Workload, o *Options) ([]Row, error) {
	if o.Requests < 1 {
		return nil, fmt.Errorf("%w: %d requests", ErrParams, o.Requests)
	}
	rows := make([]Row, 0, len(workloads)*len(layouts)*len(models))
	at := func(w, l, m int) *Row { return &rows[(w*len(layouts)+l)*len(models)+m] }
	for _, w := range workloads {
		for _, l := range layouts {
			for _, m := range models {
				rows = append(rows, Row{w.Name, l.Name, m.Name, newTally()})
			}
		}
	}
	for li, l := range layouts { // outermost: one layout's disks are in memory at a time
		j := newJudge(l)
		for wi, w := range workloads {
			for i := range o.Requests {
				q, err := w.Request(l.Shape(), o.Params, o.Seed, uint64(i))
				if err != nil {
					return nil, fmt.Errorf("workload %s on %s: %w", w.Name, l.Name, err)
				}
				for mi, m := range models {
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					at(wi, li, mi).add(q, j, m.Run(&l.World, l.request(q), &series.Options{AsPosted: o.AsPosted}))
				}
			}
		}
	}
	for i := range rows {
		rows[i].end()
	}
	return rows, nil
}

// request is a new one for every model, so that none can change another's.
func (l *Layout) request(q *Request) *series.Request {
	return &series.Request{Src: l.Src, Dst: l.Dst, SrcSegs: slices.Clone(q.Src), DstSegs: slices.Clone(q.Dst)}
}

func newTally() Tally {
	return Tally{Refused: map[string]int{}, Failed: map[string]int{}, Findings: map[string]int{}}
}

func (t *Tally) add(q *Request, j *judge, o *series.Outcome) {
	t.Requests++
	t.Bytes += q.Bytes()
	switch {
	case !o.Accepted:
		t.Refused[errnoName(o.Errno)]++
	case o.Errno != 0:
		t.Failed[errnoName(o.Errno)]++
	}
	if o.Accepted {
		t.commands = append(t.commands, uint64(len(o.Commands)))
	}
	t.Commands += uint64(len(o.Commands))
	t.Offloaded += o.Offloaded
	t.Emulated += o.Emulated
	t.Host += o.Host
	if len(o.Wrong) > 0 {
		t.Wrong++
	}
	seen := map[string]bool{}
	for _, f := range o.Wrong {
		if !seen[f.Defect] {
			seen[f.Defect] = true
			t.Findings[f.Defect]++
		}
	}
	if o.Never {
		t.Never++
	}
	if j != nil {
		t.Judged++
		if j.wrong(q, o) {
			t.Corrupt++
		}
	}
}

// errnoName is "" for 0. Two names are of one number; the designs say the one that x/sys does not.
func errnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(e)
}

func (t *Tally) end() {
	slices.Sort(t.commands)
	if n := len(t.commands); n > 0 {
		t.Median = t.commands[(n-1)/2]
	}
}

// Sum joins rows that have the same key, in the order in which the keys come up first: Median is of the requests of all.
func Sum(rows []Row, key func(*Row) Row) []Row {
	var out []Row
	for i := range rows {
		r := &rows[i]
		k := key(r)
		at := slices.IndexFunc(out, func(x Row) bool {
			return x.Workload == k.Workload && x.Layout == k.Layout && x.Design == k.Design
		})
		if at < 0 {
			out, at = append(out, Row{k.Workload, k.Layout, k.Design, newTally()}), len(out)
		}
		out[at].join(&r.Tally)
	}
	for i := range out {
		out[i].end()
	}
	return out
}

func (t *Tally) join(o *Tally) {
	t.Requests += o.Requests
	t.Bytes += o.Bytes
	for _, x := range []struct{ to, from map[string]int }{{t.Refused, o.Refused}, {t.Failed, o.Failed}, {t.Findings, o.Findings}} {
		for k, n := range x.from {
			x.to[k] += n
		}
	}
	t.Commands += o.Commands
	t.commands = append(t.commands, o.commands...)
	t.Offloaded += o.Offloaded
	t.Emulated += o.Emulated
	t.Host += o.Host
	t.Wrong += o.Wrong
	t.Corrupt += o.Corrupt
	t.Judged += o.Judged
	t.Never += o.Never
}
