package blkcopy

import (
	"bytes"

	"github.com/ublk-go/ublk-linear/target"
)

// grain is the least that is zeroed instead of written, in bytes, counted from a command's start.
const grain = 64 << 10

// skipHoles takes out of reads what a source says was never written: there the buffer is zero.
func (x *execution) skipHoles(reads []scatter, buf []byte) []scatter {
	// Holes are as large as the file system's blocks, which may be larger than the disk's or smaller.
	unit := max(4096, x.j.block)
	var out []scatter
	for _, s := range reads {
		h, ok := x.j.e.disks[s.src.Disk].(Holes)
		if !ok {
			out = append(out, s)
			continue
		}
		first, limit := s.src.Start*512, s.src.End()*512
		for at := first; at < limit; {
			start, end, err := h.NextData(at, limit)
			if err != nil || start < at || end > limit || end < start || end == start && start < limit {
				start, end = at, limit // not known: it is read
			}
			if start < limit {
				start = max(start/unit*unit, at)
			}
			end = min((end+unit-1)/unit*unit, limit)
			clear(buf[s.at+at-first : s.at+start-first])
			if start < end {
				out = append(out, scatter{target.Extent{Disk: s.src.Disk, Range: target.Range{Start: start / 512, Len: (end - start) / 512}}, s.at + start - first, s.task})
			}
			at = end
		}
	}
	return out
}

// writeSparse writes a command, and zeroes where its data is zero for a grain or more.
func (x *execution) writeSparse(z Zeroer, t *task, data []byte, vector [][]byte) (done, zeroed uint64, err error) {
	for err == nil && len(data) > 0 {
		n, zero := likeness(data)
		var moved uint64
		if zero && z.Zero(t.Dst.Start*512+done, uint64(n)) == nil {
			moved = uint64(n)
			zeroed += moved
		} else {
			moved, err = x.put(t, data[:n], done, vector)
		}
		done += moved
		data = data[n:]
	}
	return done, zeroed, err
}

// likeness is how far data goes on as it begins: zeroes, or not, grain by grain.
func likeness(data []byte) (n int, zero bool) {
	for n < len(data) {
		g := data[n:min(n+grain, len(data))]
		z := isZero(g)
		if n == 0 {
			zero = z
		} else if z != zero {
			break
		}
		n += len(g)
	}
	return n, zero
}

func isZero(b []byte) bool {
	return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}
