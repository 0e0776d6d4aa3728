package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// offloadBio is a bio that has reached the bottom.
type offloadBio struct {
	dst bool
	target.Extent
}

func (b *offloadBio) op() string { return offloadOp(b.dst) }

func offloadOp(dst bool) string {
	if dst {
		return "REQ_OP_COPY_DST"
	}
	return "REQ_OP_COPY_SRC"
}

// offloadCtx is struct bio_copy_offload_ctx: the bios of one chunk on their way down.
type offloadCtx struct {
	count  uint32 // bio_count: what has not come down yet; wraps as it does there
	bios   []offloadBio
	copied bool // the copy phase has begun
	status unix.Errno
	why    string
}

// context is blkdev_copy_chunk: a bio for every source and destination segment of a chunk, sources first.
func (v *offloadRun) context(src, dst *offloadPlace, n uint64) {
	c := &offloadCtx{count: 1} // one for the submitter
	sources := 0
	for _, side := range []struct {
		dst bool
		d   *Device
		at  *offloadPlace
	}{{false, v.r.Src, src}, {true, v.r.Dst, dst}} {
		segs := v.in
		if side.dst {
			segs = v.to
		}
		for left := n; left > 0; {
			part := side.at.take(segs, left)
			if !side.dst {
				sources++
			}
			left -= min(left, max(part.Len*512, 1))
			v.bios++
			if v.crashed {
				continue
			}
			if c.copied {
				v.out.fault(oSplit, "the context is freed, and %s %d+%d is submitted with it", offloadOp(side.dst), part.Start, part.Len)
				continue
			}
			c.count++
			v.submit(c, side.d, side.dst, part)
		}
	}
	if v.o.Has(oCount) {
		v.pending += sources
		if sources > 1 && !v.crashed {
			v.out.fault(oCount, "%d is added for %d sources, and 1 taken away", sources, sources)
		}
	} else {
		v.pending++
	}
	if v.crashed || c.copied {
		return
	}
	if c.count--; c.count == 0 {
		v.translated(c)
	}
	if !c.copied && !v.crashed {
		v.out.fault(oEnd, "%d bios are waited for that have failed already", c.count)
	}
}

// submit is submit_bio in the phase of translation: through the device's table, where dm cuts, to the bottom.
func (v *offloadRun) submit(c *offloadCtx, d *Device, dst bool, r target.Range) {
	v.out.Bios = append(v.out.Bios, Bio{offloadOp(dst), d.Name, r.Start, r.Len, "to be translated"})
	if !d.Table.Contains(r) {
		v.past = true
		c.fail(unix.EIO, fmt.Sprintf("%s %d+%d ends past the device (bio_check_eod)", d.Name, r.Start, r.Len))
		if !v.o.Has(oEnd) {
			c.count--
		}
		return
	}
	v.sayType(d, r)
	segs := d.split(r)
	if len(segs) > 1 {
		v.out.fault(oSplit, "%s %d+%d is split into %d", d.Name, r.Start, r.Len, len(segs))
	}
	for _, s := range segs {
		if v.crashed {
			return
		}
		v.bottom(c, offloadBio{dst, target.Extent{Disk: s.Disk, Range: target.Range{Start: s.Sector, Len: s.Sectors}}})
	}
}

// sayType finds a target that has no case for the operations.
func (v *offloadRun) sayType(d *Device, r target.Range) {
	for _, s := range d.Table.Spans() {
		if t := s.Target.Type(); s.Start <= r.Start && r.Start < s.Start+s.Len && t != "linear" {
			v.out.fault(oInherit, "the target %s has not opted in, and is given the bio", t)
		}
	}
}

// bottom is submit_bio_noacct for a bio at a disk: a stacked one that has the flag sends it on, any other collects it.
func (v *offloadRun) bottom(c *offloadCtx, b offloadBio) {
	if c.copied {
		v.out.fault(oSplit, "the copy has begun, and %s %s:%d+%d comes down after it", b.op(), v.w.name(b.Disk), b.Start, b.Len)
		return
	}
	d := &v.w.Disks[b.Disk]
	if offloadDisk(v.w, b.Disk, v.o).max == 0 {
		c.count--
		c.fail(unix.EOPNOTSUPP, fmt.Sprintf("%s copies no longer", d.Name))
		return
	}
	if d.Stacked == "dm-linear" {
		b.Disk, b.Start = d.On.Disk, d.On.Start+b.Start
		v.bottom(c, b)
		return
	}
	v.out.Bios = append(v.out.Bios, Bio{b.op(), d.Name, b.Start, b.Len, "translated"})
	c.bios = append(c.bios, b)
	if c.count--; c.count == 0 {
		v.translated(c)
	}
}

func (c *offloadCtx) fail(errno unix.Errno, why string) {
	if c.status == 0 {
		c.status, c.why = errno, why
	}
}

// translated is blkdev_translation_complete. All bios must be of one driver, and, as the description of the driver has it,
// of one namespace.
func (v *offloadRun) translated(c *offloadCtx) {
	c.copied = true
	if len(c.bios) == 0 {
		if v.o.Has(oNull) {
			v.crash(oNull, "no bio was translated (%s), and the list is followed: NULL", c.why)
			return
		}
		v.done(c)
		return
	}
	first := &v.w.Disks[c.bios[0].Disk]
	for i := range c.bios {
		d := &v.w.Disks[c.bios[i].Disk]
		switch {
		case d.Driver != first.Driver:
			c.fail(unix.EINVAL, fmt.Sprintf("%s and %s have different drivers (fops->owner)", first.Name, d.Name))
		case !v.oneNamespace(c.bios[0].Disk, c.bios[i].Disk) && !v.o.Has(oOwner):
			c.fail(unix.EINVAL, fmt.Sprintf("%s and %s are not one namespace", first.Name, d.Name))
		}
	}
	if c.status == 0 {
		v.command(c)
	}
	v.done(c)
}

func (v *offloadRun) oneNamespace(a, b target.Disk) bool {
	x, y := v.w.Disks[a].Copy.Domain, v.w.Disks[b].Copy.Domain
	return a == b || x == y && x != ""
}

// done is blkdev_req_op_copy_done in the phase of copying.
func (v *offloadRun) done(c *offloadCtx) {
	v.pending--
	if c.status != 0 {
		v.fail(c.status, c.why)
	}
}

// command is what follows from submitting the first bio: bio_split_copy, then nvme_setup_copy_offload.
func (v *offloadRun) command(c *offloadCtx) {
	first := v.md(c)
	ns := first.Disk
	d := &v.w.Disks[ns]
	if most := offloadDisk(v.w, ns, v.o).max; first.Len > most {
		c.lost(v, unix.EOPNOTSUPP, fmt.Sprintf("%s takes %d sectors, not %d (bio_split_copy)", d.Name, most, first.Len))
		return
	}
	cmd := Command{Method: limits.NVMeCopy, Format: 2}
	dsts := 0
	for _, b := range c.bios {
		e := b.Extent
		if !v.oneNamespace(ns, e.Disk) {
			v.out.fault(oOwner, "%s %s:%d+%d goes to %s", b.op(), v.w.name(e.Disk), e.Start, e.Len, d.Name)
			e.Disk = ns
		}
		e.Range = v.blocks(e)
		switch {
		case !b.dst:
			cmd.Sources = append(cmd.Sources, e)
		case dsts == 0:
			cmd.Dst = e
			dsts++
		default:
			dsts++
		}
	}
	if dsts == 0 {
		c.lost(v, unix.EIO, "no destination has come down: the driver sends nothing")
		return
	}
	if dsts > 1 {
		v.out.fault(oSplit, "%d destinations have come down: all goes to %s:%d and on", dsts, d.Name, cmd.Dst.Start)
	}
	cmd.Dst.Len = 0
	for _, s := range cmd.Sources {
		cmd.Dst.Len += s.Len
	}
	if !v.host.dev.send(cmd) {
		c.lost(v, failed(v.host.dev.last()), fmt.Sprintf("%s answered 0x%x", d.Name, v.host.dev.last().Status))
	}
}

// lost ends the first bio with an error, which the completion does not look at.
func (c *offloadCtx) lost(v *offloadRun, errno unix.Errno, why string) {
	if errno == 0 {
		return
	}
	if v.o.Has(oLost) {
		v.out.fault(oLost, "%s, and it is success", why)
		return
	}
	c.fail(errno, why)
}

// md remaps the first bio alone where the bottom is an md device: the others keep the sectors of the array.
func (v *offloadRun) md(c *offloadCtx) offloadBio {
	d := &v.w.Disks[c.bios[0].Disk]
	if d.Stacked == "" {
		return c.bios[0]
	}
	for i := range c.bios {
		if b := &c.bios[i]; i == 0 {
			b.Extent = v.w.lowest(b.Extent)
		} else {
			b.Disk = c.bios[0].Disk
			v.out.fault(oMD, "%s %d+%d keeps the array's sectors on %s", b.op(), b.Start, b.Len, v.w.name(b.Disk))
		}
	}
	return c.bios[0]
}

// blocks is how a driver counts a range: rounded down to logical blocks, and 0 blocks, counted from 0 in 16 bits, are 65536.
func (v *offloadRun) blocks(e target.Extent) target.Range {
	block := v.w.Disks[e.Disk].block()
	r := target.Range{Start: e.Start / block * block, Len: e.Len / block * block}
	if r.Len == 0 {
		r.Len = 65536 * block
	}
	if r != e.Range {
		v.out.fault(oCap, "%s:%d+%d becomes %d+%d", v.w.name(e.Disk), e.Start, e.Len, r.Start, r.Len)
	}
	return r
}
