package blkcopy

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Flushing is the method of a Failure of what was copied and then not flushed.
const Flushing limits.Method = "flush"

// finish flushes what was written and says how far the copy came.
func (j *job) finish() {
	if j.pol.Flush {
		j.flush()
	}
	j.res.Bytes = j.done.prefix() * 512
	j.res.Duration = j.look().Elapsed
}

// flush makes durable what is claimed, also what a copy that failed has done. What a disk does not flush is not durable:
// nothing on it is claimed.
func (j *job) flush() {
	j.ontoDisks()
	disks := slices.Sorted(maps.Keys(j.written))
	errs := make([]error, len(disks))
	var wg sync.WaitGroup
	for i, d := range disks {
		wg.Go(func() { errs[i] = j.e.sync(d, j.began) })
	}
	wg.Wait()
	lost := map[target.Disk]*Failure{}
	for i, d := range disks {
		if errs[i] != nil {
			lost[d] = &Failure{Method: Flushing, Side: DestinationSide, Disk: d, Err: errs[i]}
		}
	}
	if len(lost) == 0 {
		return
	}
	j.unclaim(lost)
	for _, d := range slices.Sorted(maps.Keys(lost)) {
		j.err = errors.Join(j.err, lost[d])
	}
}

// ontoDisks adds the disks of what is copied onto itself: it is claimed, and may never have been flushed.
func (j *job) ontoDisks() {
	ps := j.plan.Pieces()
	for _, r := range j.plan.onto() {
		ps.Seek(r.Start, r.End())
		for x, ok := ps.Next(); ok; x, ok = ps.Next() {
			j.written[x.Dst.Disk] = true
		}
	}
}

// unclaim takes back what lies on disks that were not flushed, and tells each failure where that begins.
func (j *job) unclaim(lost map[target.Disk]*Failure) {
	var kept intervals
	ps := j.plan.Pieces()
	for x, ok := ps.Next(); ok; x, ok = ps.Next() {
		f := lost[x.Dst.Disk]
		j.done.within(target.Range{Start: x.Offset, Len: x.Sectors}, func(r target.Range) {
			if f == nil {
				kept.add(r)
				return
			}
			part := *f
			part.Offset, part.Bytes, part.Sector = r.Start*512, r.Len*512, x.Dst.Sector+r.Start-x.Offset
			j.res.note(&j.res.Failed, part)
			if f.Bytes == 0 {
				*f = part
			}
		})
	}
	j.done = kept
}
