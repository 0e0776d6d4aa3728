package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// powerSource is the tag of the source's device.
const powerSource = 1

// copyOnto writes a new source, copies it, and when the copy is done takes it for promised, or not.
func (v *verifier) copyOnto(t *testing.T, src string, fd int, from, to, n uint64, promise bool, policy ...string) {
	t.Helper()
	v.mu.Lock()
	v.gen++
	gen := v.gen
	which := len(v.copies)
	v.copies = append(v.copies, copyGen{gen: gen, to: to, n: n, tag: ownTag(powerSource, from)})
	for i := to; i < to+n; i++ {
		v.issued.now[i] = gen
	}
	v.mu.Unlock()
	b := pages(t, int(n)*512)
	for i := range n {
		stampSector(b[i*512:][:512], cell{ownTag(powerSource, from+i), gen})
	}
	if _, e := transfer(fd, true, b, from); e != 0 {
		t.Fatalf("source: %v", e)
	}
	c := copies{src: src, from: from, dst: "dst", to: to, n: n, policy: append([]string{"--force"}, policy...)}
	out := c.run(t, v.s.file)
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := to; i < to+n; i++ {
		v.done[i] = gen
		if promise {
			v.promised.now[i] = gen
		}
	}
	if err := v.mark(fmt.Sprintf("copy %v", c)); err != nil {
		t.Fatal(err)
	}
	if !promise {
		v.marks[len(v.marks)-1].unsafe = which
	}
	if out.Bytes != n*512 || len(out.Failed) > 0 {
		t.Errorf("%v: %+v", c, out)
	}
}

// What `copy` has reported is there after a power cut, at that moment and later: with a flush in the end, which it is by default, and with
// FUA alone. With neither it is not all there, or this test could not tell. TestPowerCut says how it is seen. Meanwhile others
// write beside the copied range, with FUA, but send no FLUSH, which would do the copy's work.
func TestPowerCutCopy(t *testing.T) {
	anyKernel(t)
	const table, most = "0 4800 striped 2 24 a 8 b 0\n4800 3000 linear c 512", 6000 // sectors that are copied onto
	start := time.Now()
	v := powerDevice(t, "dst", table, 3, fmt.Sprintf("[disk.s]\npath = %q\nunstable_path = true\n", nullBlk(t, 8))+tableDevice("src", "0 8000 linear s 8"))
	fd := openDirect(t, v.s.dev["src"])
	s := seed(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 2 {
		x := &powerWriter{v: v, r: rand.New(rand.NewPCG(s, uint64(w+1))), a: newAIO(t), b: pages(t, (powerRun+1)*512), fua: true}
		for run := uint64(most + w*powerRun); run+powerRun <= v.table.Sectors(); run += 2 * powerRun {
			x.runs = append(x.runs, run)
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if err := x.step(); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	halt := sync.OnceFunc(func() { close(stop); wg.Wait() })
	t.Cleanup(halt)
	r := rand.New(rand.NewPCG(s, 0))
	policies := [][]string{nil, {"--fua", "--no-flush"}, nil, {"--no-flush"}, {"--fua"}, {"--no-flush"}}
	for i := range scaled(2*len(policies), 8) {
		policy := policies[i%len(policies)]
		n := 500 + r.Uint64N(1500) // what logDisk.read takes as one entry
		from, to := r.Uint64N(8000-n), r.Uint64N(most-n+1)
		v.copyOnto(t, "src", fd, from, to, n, !slices.Equal(policy, []string{"--no-flush"}), policy...)
	}
	halt()
	if t.Failed() {
		return
	}
	if err := v.flush("in the end"); err != nil {
		t.Fatal(err)
	}
	v.present(t)
	j := v.newJudge()
	if err := j.run(r, 2); err != nil {
		t.Fatal(err)
	}
	unsafe := 0
	for _, m := range v.marks {
		if m.unsafe >= 0 {
			if unsafe++; j.missing[m.unsafe] == 0 {
				t.Logf("copy %d, without a flush, is all there", m.unsafe)
			}
		}
	}
	t.Logf("%d copies, %d of them without a flush, of which %d lose something to a power cut; %d FUA writes and %d plain ones beside them; %v; %v",
		len(v.copies), unsafe, len(j.missing), v.fuas, v.plain, j, time.Since(start).Round(time.Millisecond))
	if unsafe == 0 || len(j.missing) == 0 || v.fuas < 10 {
		t.Error("too little to say anything")
	}
}
