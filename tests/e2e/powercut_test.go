package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// A power cut loses what a disk has in its cache, on every disk of a device by itself. What a FLUSH or a FUA write of the device
// promised must be there afterwards.
//
// The witness is dm-log-writes below every leg. It keeps a copy of each write that has ended. A FUA write goes to the log when it
// ends; all others wait, and go there with the next FLUSH that ends, if they had ended when that one came. So what is
// in the log is what the disk must not lose. The verifier has writers that each own parts of the device and writes, discards, sends
// FLUSHes and FUA writes; as soon as one of the last two is answered, it puts a mark into the log of every leg. A mark is a power cut:
// the leg's image is all that is before the mark; and the device, read off these images by its table, must have, of every
// sector, what was promised or something newer. Between two marks there are power cuts too: each leg by itself at a random entry, with a random half of
// what follows (in its cache, or under way), some of it torn.
//
// Why it raises no false alarm. Marks are put on one leg after the other while others write, so an image is not of one moment. But
// the promise is taken before the first mark is put, and an image only gets newer: what holds of each leg at the moment of the promise
// holds later. A leg's entries are put in line before the leg's command ends, so before the device's request is answered, so before the mark.
// Nobody writes a sector before the last write of it was answered, so the newest generation is the last. The log's own two quirks are seen to: a plain write
// may stand behind a newer FUA write of its sector (legImage.put), and of two FLUSHes under way on one leg the second may end
// first, without what the first one carries (verifier.flushing; one that the kernel adds is counted, and the run is taken again).
//
// What it catches. A FLUSH that leaves a leg out: the leg's plain writes are not before the mark. A FUA that is dropped on a leg:
// so is its piece, since the write is by AIO, behind which the kernel sends no FLUSH. A FLUSH answered before a leg has
// answered: the mark is before the FLUSH, if the leg is slower than the mark, which the last leg is (2 ms). It does not see what a disk
// itself does wrong, nor copies that a disk makes by itself, which dm does not pass on.
func TestPowerCut(t *testing.T) {
	needGuest(t)
	for _, c := range []struct {
		name, table string
		legs        int
	}{
		{"linear", "0 8192 linear a 1000", 1},
		{"striped2", "0 8192 striped 2 64 a 0 b 1000", 2},
		{"striped3", "0 7992 striped 3 24 a 8 b 0 c 512", 3},
		{"segments", "0 4096 striped 2 64 a 0 b 1024\n4096 1024 linear c 128\n5120 960 striped 2 24 a 4096 a 6144\n6080 1000 linear b 8000", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for again := range 3 {
				if powerCut(t, fmt.Sprintf("%s%d", c.name, again), c.table, c.legs, scaled(72, 12)) {
					return
				}
			}
			t.Error("the kernel adds FLUSHes of its own each time: nothing is known")
		})
	}
}

// powerRun is how many sectors in a row belong to one writer: less than a row of the stripes has, and no multiple of a chunk.
const powerRun = 150

// powerCut does one device, with so many promises. It says whether there was a verdict.
func powerCut(t *testing.T, name, table string, legs, promises int) bool {
	start := time.Now()
	v := powerDevice(t, name, table, legs, "")
	s := seed(t)
	v.write4(s, promises/4)
	wrote := time.Since(start)
	if t.Failed() {
		return true
	}
	v.present(t)
	j := v.newJudge()
	for i, n := range j.extraFlushes() {
		if n > 0 {
			t.Logf("leg %c got %d FLUSHes more than were sent: again", 'a'+i, n)
			v.s.down()
			return false
		}
	}
	if err := j.run(rand.New(rand.NewPCG(s, 0)), scaled(3, 2)); err != nil {
		t.Error(err)
	}
	t.Logf("%d plain writes, %d FUA, %d FLUSHes, %d discards, %d writes of zeroes; %v; %v, %v of it writing",
		v.plain, v.fuas, v.flushes, v.discards, v.zeroes-v.discards, j, time.Since(start).Round(time.Millisecond), wrote.Round(time.Millisecond))
	if !t.Failed() && (v.fuas < 10 || v.flushes < 10 || v.discards == 0 || v.zeroes == v.discards || j.lost == 0) {
		t.Errorf("too little to say anything")
	}
	return true
}

// write4 has four writers at work, until each has had so many promises. Each owns every fourth run. The last one also discards and
// zeroes: it does not use FUA, since the log cannot tell zeroes of before a FUA write from those behind it.
func (v *verifier) write4(seed uint64, promises int) {
	const writers = 4
	var wg sync.WaitGroup
	for w := range writers {
		a, b := newAIO(v.t), pages(v.t, (powerRun+1)*512)
		x := &powerWriter{v: v, r: rand.New(rand.NewPCG(seed, uint64(w+1))), a: a, b: b, flush: true, fua: w < writers-1, zero: w == writers-1}
		for run := w; run < int(v.table.Sectors())/powerRun; run += writers {
			x.runs = append(x.runs, uint64(run*powerRun))
		}
		wg.Go(func() {
			for x.promises < promises {
				if err := x.step(); err != nil {
					v.t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// powerWriter writes the runs that are its own.
type powerWriter struct {
	v                *verifier
	r                *rand.Rand
	a                *aio
	b                []byte
	runs             []uint64
	flush, fua, zero bool // besides plain writes
	promises         int
}

func (w *powerWriter) step() error {
	n := uint64(1 + w.r.IntN(powerRun))
	if w.r.IntN(2) == 0 {
		n = uint64(1 + w.r.IntN(16))
	}
	at := w.runs[w.r.IntN(len(w.runs))] + uint64(w.r.IntN(powerRun-int(n)+1))
	switch k := w.r.IntN(8); {
	case k == 0 && w.flush:
		w.promises++
		return w.v.flush("")
	case k < 3 && w.zero:
		return w.v.zero(at, n, k == 1)
	case k < 4 && w.fua:
		w.promises++
		return w.v.write(w.a, w.b, at, n, true)
	}
	return w.v.write(w.a, w.b, at, n, false)
}
