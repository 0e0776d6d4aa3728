package ublk

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/stripe"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// shapeOf makes a table of bytes, with sizes from a sector to beyond what a descriptor can say. Places may overlap.
func shapeOf(b []byte) shape {
	next := func(n uint64) uint64 {
		if len(b) == 0 {
			return 0
		}
		v := b[0]
		b = b[1:]
		return uint64(v) % n
	}
	leg := func() stripe.Leg {
		return stripe.Leg{Disk: target.Disk(next(5)), Start: next(256) << next(24)}
	}
	var s shape
	for range next(6) + 1 {
		if next(2) == 0 {
			s = append(s, place{next(256)<<next(32) + 1, 0, []stripe.Leg{leg()}})
			continue
		}
		p := place{chunk: (next(32) + 1) << next(12)}
		rows := next(64)<<next(16) + 1
		for range next(41) + 1 {
			p.legs = append(p.legs, leg())
		}
		p.sectors = p.chunk * rows * uint64(len(p.legs))
		s = append(s, p)
	}
	return s
}

// FuzzDescriptor gives the queue descriptors that no driver would write, of any table, and disks that fail in every way.
// The fake demands of every request one answer, the right one, and of every command that it lies in the table's extents
// and in the tag's buffer.
func FuzzDescriptor(f *testing.F) {
	desc := func(ds ...uapi.IODesc) (b []byte) {
		for _, d := range ds {
			b = binary.LittleEndian.AppendUint32(b, d.OpFlags)
			b = binary.LittleEndian.AppendUint32(b, d.NrSectors)
			b = binary.LittleEndian.AppendUint64(b, d.StartSector)
		}
		return b
	}
	const fua = uapi.UBLK_IO_F_FUA
	f.Add(desc(uapi.IODesc{NrSectors: 8}, uapi.IODesc{OpFlags: 1 | fua, NrSectors: 64, StartSector: 100}, uapi.IODesc{OpFlags: 2}), []byte{}, uint64(1), uint8(0))
	f.Add(desc(uapi.IODesc{OpFlags: 3, NrSectors: 1<<32 - 1}, uapi.IODesc{OpFlags: 5 | fua, NrSectors: 1 << 20, StartSector: 7}), []byte{2, 0, 200, 20, 1, 0, 0, 1, 8, 0, 40, 3, 4, 0, 7, 1, 3, 9}, uint64(2), uint8(1))
	f.Add(desc(uapi.IODesc{OpFlags: 4}, uapi.IODesc{OpFlags: 0xff, NrSectors: 1}, uapi.IODesc{NrSectors: 1, StartSector: 1<<64 - 1}), []byte{5, 1, 1, 0, 9}, uint64(0), uint8(2))
	f.Add(desc(uapi.IODesc{OpFlags: 1, NrSectors: 2048}, uapi.IODesc{NrSectors: 2048, StartSector: 1000}), []byte{0, 1, 0, 0, 60, 9, 1, 0, 9, 1, 1, 9, 1}, uint64(3), uint8(0xfc))
	f.Add(desc(uapi.IODesc{OpFlags: 1<<32 - 1, NrSectors: 1<<32 - 1, StartSector: 1<<63 - 1}), []byte{3, 1, 31, 3, 63, 15, 40}, uint64(4), uint8(0x55))
	f.Fuzz(func(t *testing.T, descs, form []byte, seed uint64, knobs uint8) {
		s := setup{shape: shapeOf(form), depth: 1 + int(knobs&3), lbs: 1 << (knobs >> 2 & 3), readOnly: knobs>>4&3 == 3, maxIO: 2048,
			entries: 1 + int(seed%9), seed: seed, blank: true, files: knobs>>6&1 == 1}
		s.mapper = s.shape.table(t)
		if knobs>>7 == 1 {
			s.pool, s.wave = s.mapper.Fan(), s.mapper.Fan()
		}
		k := boot(t, s)
		if k.rng != nil {
			bad := target.Disk(k.rng.IntN(40))
			soft := k.roughly(true)
			k.fault = func(c *command) fault {
				if c.disk == bad {
					return fault{errno: unix.EAGAIN} // for ever
				}
				return soft(c)
			}
		}
		var asks []*ask
		for ; len(descs) >= 16 && len(asks) < 32; descs = descs[16:] {
			asks = append(asks, k.ask(binary.LittleEndian.Uint32(descs), binary.LittleEndian.Uint64(descs[8:]), uint64(binary.LittleEndian.Uint32(descs[4:]))))
		}
		// Few random descriptors lie on the device: each is tried moved there, too.
		for _, a := range asks {
			r := rand.New(rand.NewPCG(a.r.Start, a.r.Len))
			blocks := k.bounds.sectors / k.bounds.lbs
			n := r.Uint64N(min(blocks, 2048/k.bounds.lbs) + 1)
			asks = append(asks, k.ask(a.desc.OpFlags, r.Uint64N(blocks-n+1)*k.bounds.lbs, n*k.bounds.lbs))
		}
		k.serve(asks...)
	})
}
