package blkcopy

import (
	"errors"
	"testing"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
)

// badBlocks is a disk that reads nothing of an extent that touches its bad range, and says nothing of how far it came.
type badBlocks struct {
	IO
	from, to uint64 // bytes
	reads    int
}

var errMedium = errors.New("medium error")

func (b *badBlocks) Readv(bufs [][]byte, at uint64) (uint64, error) {
	b.reads++
	end := at
	for _, v := range bufs {
		end += uint64(len(v))
	}
	if at < b.to && b.from < end {
		return 0, errMedium
	}
	return end - at, nil
}

func (b *badBlocks) Writev(bufs [][]byte, _ uint64, _ bool) (n uint64, err error) {
	for _, v := range bufs {
		n += uint64(len(v))
	}
	return n, nil
}

// TestSearch: wherever the unreadable blocks of one large read are, the copy comes exactly as far as the first of them, in
// few reads.
func TestSearch(t *testing.T) {
	const n = 8192
	l := func(d target.Disk) *remap.Table {
		x, err := linear.New(d, target.Range{Len: n})
		if err != nil {
			t.Fatal(err)
		}
		table, err := remap.NewTable([]remap.Part{{Sectors: n, Target: x}})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	src, dst := l(0), l(1)
	for _, block := range []uint32{512, 4096} {
		for _, bad := range []uint64{0, 8, 16, 800, 4096, 5000, 8184} {
			for _, length := range []uint64{8, 64, n} {
				disk := &badBlocks{from: bad * 512, to: min(bad+length, n) * 512}
				e := NewEngine([]IO{disk, &badBlocks{}}, &Options{})
				p, err := NewPlan(&Request{Src: &Device{Table: src, LogicalBlock: block}, Dst: &Device{Table: dst}, SrcSegs: []Seg{{0, n * 512}}, DstSegs: []Seg{{0, n * 512}}, Policy: Policy{Window: n * 512}}, make([]Disk, 2))
				if err != nil {
					t.Fatal(err)
				}
				res, err := e.Run(t.Context(), p, nil, nil)
				e.Close()
				if !errors.Is(err, errMedium) || res.Bytes != bad*512 || len(res.Failed) != 1 || res.Failed[0].Sector != bad || res.Failed[0].Side != SourceSide {
					t.Errorf("blocks of %d, %d bad from %d: %d bytes, %v, %+v", block, length, bad, res.Bytes, err, res.Failed)
				}
				if disk.reads > 32 {
					t.Errorf("blocks of %d, %d bad from %d: %d reads", block, length, bad, disk.reads)
				}
			}
		}
	}
}
