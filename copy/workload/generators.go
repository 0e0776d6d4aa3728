package workload

import (
	"slices"

	"github.com/ublk-go/ublk-linear/copy"
)

// defrag is what a defragmenter asks for, and what Busch wants vectors for (2025-05-21, "efficiently defragment scattered
// blocks into a contiguous destination with a single command").
func defrag(r *room, d *draw) (*Request, error) {
	most := max(1, 64<<10/r.unit)
	var src []uint64
	left := r.cap
	for n := d.between(8, 128); n > 0 && left > 0; n-- {
		src = append(src, min(left, d.between(1, most)))
		left -= src[len(src)-1]
	}
	return r.apart(d, src, []uint64{sum(src)}), nil
}

// maxZone bounds zones in bytes. Real ones are larger (256 MiB on SMR disks, up to 2 GiB on ZNS); what counts is that
// much of one is gathered into one destination in order.
const maxZone = 16 << 20

// zoneGC is garbage collection of zones or segments (F2FS, XFS on zoned devices; Van Assche's motive, 2026-01-23): all
// that is valid in some victims goes, ascending, to the start of one empty zone, which has room for it.
func zoneGC(r *room, d *draw) (*Request, error) {
	zone := uint64(1)
	for zone*2 <= min(r.src/8, r.dst/8, max(1, maxZone/r.unit)) {
		zone *= 2
	}
	zones, to := r.src/zone, d.below(r.dst/zone)
	var victims []uint64
	for _, z := range d.order(int(zones)) {
		if r.same && uint64(z) == to {
			continue
		}
		if victims = append(victims, uint64(z)); len(victims) == 4 {
			break
		}
	}
	victims = victims[:min(uint64(len(victims)), d.between(2, 4))]
	slices.Sort(victims)
	q := &Request{}
	left := min(r.cap, zone)
	var total uint64
	for _, z := range victims {
		valid := d.between(10, 35) // of a hundred blocks
		for at := z * zone; at < (z+1)*zone && left > 0; {
			n := min(d.skewed(5), (z+1)*zone-at, left)
			q.Src = append(q.Src, r.seg(at, n))
			total, left = total+n, left-n
			at += n + d.between(1, max(1, 2*n*(100-valid)/valid))
		}
	}
	q.Dst = []blkcopy.Seg{r.seg(to*zone, total)}
	return q, nil
}

// cloneUnit is what images begin on, where there is room: partitioning tools and LVM align to it.
const cloneUnit = 1 << 20

// clone is a golden image (Petersen, 2024-11: what arrays are asked for across LUNs): one long run.
func clone(r *room, d *draw) (*Request, error) {
	if n := cloneUnit / r.unit; n > 1 && cloneUnit%r.unit == 0 && r.cap >= n {
		r = &room{unit: cloneUnit, src: r.src / n, dst: r.dst / n, cap: r.cap / n, same: r.same}
	}
	n := []uint64{d.between((r.cap+1)/2, r.cap)}
	return r.apart(d, n, n), nil
}

// file is cp of a file that became fragmented, to what free runs there are: N to M, which only the 2026 design can say.
func file(r *room, d *draw) (*Request, error) {
	left := d.between((r.cap+3)/4, r.cap)
	top := uint64(0)
	for 1<<(top+1) <= 1<<20/r.unit {
		top++
	}
	var src []uint64
	for left > 0 && len(src) < blkcopy.MaxSegs {
		src = append(src, min(left, d.skewed(top)))
		left -= src[len(src)-1]
	}
	total := sum(src)
	return r.apart(d, src, d.cut(total, d.between(1, min(4, total)))), nil
}

// random is anything: what a test would be drawn from. Sources may overlap each other and, on one device, destinations.
func random(r *room, d *draw) (*Request, error) {
	total := d.between(1, r.cap)
	q := &Request{}
	for _, n := range d.cut(total, d.between(1, min(16, total))) {
		q.Src = append(q.Src, r.seg(d.between(0, r.src-n), n))
	}
	dst := d.cut(total, d.between(1, min(4, total)))
	for i, at := range d.place(r.dst, dst) {
		q.Dst = append(q.Dst, r.seg(at, dst[i]))
	}
	return q, nil
}
