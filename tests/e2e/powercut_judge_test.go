package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ublk-go/ublk-linear/target"
)

// judge cuts the power at every mark, and several times between each mark and the next, and looks for what had been promised.
type judge struct {
	v     *verifier
	logs  []legLog
	legs  []legImage // at the mark
	place []place64  // by sector of the device

	promised, issued, zeroed []uint64 // at the mark
	copies                   int
	nextIssued, nextZeroed   []uint64 // at the next one
	nextCopies               int

	replayed
	cuts, checked int
	lost          int            // sectors that were not the newest
	missing       map[int]uint64 // by copy without a promise: sectors that a power cut right behind it loses
}

func (j *judge) String() string {
	return fmt.Sprintf("%d marks, %d power cuts, %d sectors checked, %d of them older than what had been begun, %d out of order in the log",
		len(j.v.marks), j.cuts, j.checked, j.lost, j.stale)
}

// place64 is where a sector of the device lies.
type place64 struct {
	leg    int
	sector uint64
}

func (v *verifier) newJudge() *judge {
	v.t.Helper()
	j := &judge{v: v, missing: map[int]uint64{}}
	n := v.table.Sectors()
	for _, d := range v.legs {
		j.logs = append(j.logs, legLogOf(v.t, d, len(v.marks)))
		j.legs = append(j.legs, make(legImage, d.sectors))
	}
	var room [16]target.Segment
	for i := range n {
		segs, _ := v.table.Map(room[:0], target.Read, target.Range{Start: i, Len: 1})
		if len(segs) != 1 {
			v.t.Fatalf("sector %d: %v", i, segs)
		}
		j.place = append(j.place, place64{int(segs[0].Disk), segs[0].Sector})
	}
	j.promised, j.issued, j.zeroed = make([]uint64, n), make([]uint64, n), make([]uint64, n)
	j.nextIssued, j.nextZeroed = make([]uint64, n), make([]uint64, n)
	return j
}

// run judges with a number of cuts between each two marks. It stops at the first that lost something.
func (j *judge) run(r *rand.Rand, cuts int) error {
	at := make([]int, len(j.logs)) // entries laid
	set := func(into []uint64, cs []change) {
		for _, c := range cs {
			into[c.sector] = c.gen
		}
	}
	for k, m := range j.v.marks {
		set(j.promised, m.promised)
		set(j.issued, m.issued)
		set(j.zeroed, m.zeroed)
		j.copies = m.copies
		for i := range j.logs {
			for _, e := range j.logs[i].entries[at[i]:j.logs[i].marks[k]] {
				j.legs[i].apply(e, &j.replayed, nil)
			}
			at[i] = j.logs[i].marks[k]
		}
		if j.wrong > 0 {
			return fmt.Errorf("mark %d: a FUA write is behind a newer write of its sector", k)
		}
		j.cuts++
		if err := j.check(j.legs, false); err != nil {
			return fmt.Errorf("power cut at mark %d, behind %s: %w", k, m.what, err)
		}
		if m.unsafe >= 0 {
			c := j.v.copies[m.unsafe]
			for i := c.to; i < c.to+c.n; i++ {
				if p := j.place[i]; j.legs[p.leg][p.sector].gen != c.gen {
					j.missing[m.unsafe]++
				}
			}
		}
		if k+1 == len(j.v.marks) {
			break
		}
		next := j.v.marks[k+1]
		copy(j.nextIssued, j.issued)
		copy(j.nextZeroed, j.zeroed)
		set(j.nextIssued, next.issued)
		set(j.nextZeroed, next.zeroed)
		j.nextCopies = next.copies
		for range cuts {
			var legs []legImage
			for i, l := range j.logs {
				legs = append(legs, j.legs[i].cutBetween(l.entries[l.marks[k]:l.marks[k+1]], r, &j.replayed))
			}
			j.cuts++
			if err := j.check(legs, true); err != nil {
				return fmt.Errorf("power cut between mark %d, behind %s, and the next: %w", k, m.what, err)
			}
		}
	}
	return nil
}

// check reads the device off the legs.
func (j *judge) check(legs []legImage, later bool) error {
	issued, zeroed, copies := j.issued, j.zeroed, j.v.copies[:j.copies]
	if later {
		issued, zeroed, copies = j.nextIssued, j.nextZeroed, j.v.copies[:j.nextCopies]
	}
	var bad int
	var first error
	for i, p := range j.place {
		c, s := legs[p.leg][p.sector], uint64(i)
		var what string
		switch {
		case c.tag == 0 && (j.promised[i] == 0 || zeroed[i] >= j.promised[i]):
		case c.tag == 0:
			what = "zeroes"
		case c.gen < j.promised[i]:
			what = fmt.Sprintf("write %d", c.gen)
		case c.gen > issued[i]:
			what = fmt.Sprintf("write %d, which had not begun,", c.gen)
		case c.tag != j.v.tagOf(s, c.gen, copies):
			what = fmt.Sprintf("%#x of write %d, which belongs elsewhere,", c.tag, c.gen)
		}
		if c.gen < issued[i] {
			j.lost++
		}
		if what == "" {
			continue
		}
		if bad++; first == nil {
			first = fmt.Errorf("sector %d (leg %c, sector %d) holds %s where write %d was promised", i, 'a'+p.leg, p.sector, what, j.promised[i])
		}
	}
	j.checked += len(j.place)
	if bad > 0 {
		return fmt.Errorf("%w; %d sectors in all", first, bad)
	}
	return nil
}

// tagOf is the tag that a sector of the device has from a generation.
func (v *verifier) tagOf(sector, gen uint64, copies []copyGen) uint64 {
	i, ok := slices.BinarySearchFunc(copies, gen, func(c copyGen, gen uint64) int { return int(int64(c.gen - gen)) })
	if ok && sector >= copies[i].to && sector < copies[i].to+copies[i].n {
		return copies[i].tag + sector - copies[i].to
	}
	return ownTag(v.dev, sector)
}

// extraFlushes says on which leg more FLUSHes arrived than were asked for. With these the log need not say what a FLUSH carried:
// see verifier.flushing.
func (j *judge) extraFlushes() (extra []int) {
	for _, l := range j.logs {
		extra = append(extra, l.flushes-j.v.flushes)
	}
	return extra
}

// present compares the device with what was written last: what the power cuts are judged by was really there.
func (v *verifier) present(t testing.TB) {
	t.Helper()
	b := pages(t, int(v.table.Sectors())*512)
	if _, e := transfer(v.fd, false, b, 0); e != 0 {
		t.Fatalf("read: %v", e)
	}
	for i := range v.table.Sectors() {
		c, ok := parseSector(b[i*512:][:512])
		want := cell{v.tagOf(i, v.done[i], v.copies), v.done[i]}
		if v.zeroed.now[i] == v.done[i] && v.done[i] != 0 {
			want = cell{}
		}
		if !ok || c != want {
			t.Errorf("sector %d of the device holds %+v (whole: %v), want %+v", i, c, ok, want)
			return
		}
	}
}
