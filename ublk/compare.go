package ublk

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Difference is one thing in which a device that the driver has differs from its Spec.
type Difference struct {
	What       string // "sectors", "queues", "depth", "max I/O", "recovery", "read-only", or a limit's name
	Want, Have string // of the Spec, and of the device
}

// MismatchError is returned by Recover for a device that is not the one that its Spec describes: every difference.
type MismatchError struct {
	Differences []Difference
}

func (e *MismatchError) Error() string {
	var out []string
	for _, d := range e.Differences {
		out = append(out, fmt.Sprintf("%s is %s, want %s", d.What, d.Have, d.Want))
	}
	return "the device is another: " + strings.Join(out, "; ")
}

// compare lists what the driver has otherwise than the Spec says; nil when it is the same device.
func (d *Device) compare(have uapi.Params) (out []Difference) {
	differ := func(what string, want, have any) {
		if want != have {
			out = append(out, Difference{what, fmt.Sprint(want), fmt.Sprint(have)})
		}
	}
	queues := d.spec.Queues
	if n := cpus(); n > 0 {
		queues = min(queues, n) // ADD_DEV lowers it
	}
	differ("queues", queues, int(d.info.NrHwQueues))
	differ("depth", d.spec.Depth, int(d.info.QueueDepth))
	differ("max I/O", d.spec.MaxIO, d.info.MaxIOBufBytes)
	differ("recovery", d.spec.Recovery, d.Flags().Recovery())
	if d.spec.DataPath != AutoPath { // else it stays what it was
		differ("data path", d.spec.DataPath, d.Flags().DataPath())
	}
	want, _ := d.spec.params()
	w, h := want.Basic, have.Basic
	differ("sectors", w.DevSectors, h.DevSectors)
	for _, a := range []struct {
		name string
		bit  uint32
	}{{"read-only", uapi.UBLK_ATTR_READ_ONLY}, {"rotational", uapi.UBLK_ATTR_ROTATIONAL}, {"write cache", uapi.UBLK_ATTR_VOLATILE_CACHE}, {"FUA", uapi.UBLK_ATTR_FUA}} {
		differ(a.name, w.Attrs&a.bit != 0, h.Attrs&a.bit != 0)
	}
	shift := func(n uint8) uint64 { return 1 << (n & 63) }
	differ("logical block size", shift(w.LogicalBSShift), shift(h.LogicalBSShift))
	differ("physical block size", shift(w.PhysicalBSShift), shift(h.PhysicalBSShift))
	differ("io_min", shift(w.IOMinShift), shift(h.IOMinShift))
	differ("io_opt", shift(w.IOOptShift), shift(h.IOOptShift))
	differ("max sectors", w.MaxSectors, h.MaxSectors)
	differ("chunk sectors", w.ChunkSectors, h.ChunkSectors)
	differ("virt boundary", w.VirtBoundaryMask, h.VirtBoundaryMask)

	// What a type's bit does not cover counts as zero: the driver keeps bytes of types that it was not given.
	var none uapi.Params
	of := func(p *uapi.Params, bit uint32) *uapi.Params {
		if p.Types&bit == 0 {
			return &none
		}
		return p
	}
	dw, dh := of(&want, uapi.UBLK_PARAM_TYPE_DISCARD).Discard, of(&have, uapi.UBLK_PARAM_TYPE_DISCARD).Discard
	differ("discard granularity", dw.DiscardGranularity, dh.DiscardGranularity)
	differ("max discard sectors", dw.MaxDiscardSectors, dh.MaxDiscardSectors)
	differ("max write-zeroes sectors", dw.MaxWriteZeroesSectors, dh.MaxWriteZeroesSectors)
	const newer = uapi.UBLK_PARAM_TYPE_DMA_ALIGN | uapi.UBLK_PARAM_TYPE_SEGMENT
	if have.Types&newer == 0 && !d.c.features.Has(UpdateSize) {
		return out // a driver before 6.16 may not know them, and then has dropped them
	}
	differ("dma alignment", of(&want, uapi.UBLK_PARAM_TYPE_DMA_ALIGN).DMA.Alignment, of(&have, uapi.UBLK_PARAM_TYPE_DMA_ALIGN).DMA.Alignment)
	sw, sh := of(&want, uapi.UBLK_PARAM_TYPE_SEGMENT).Seg, of(&have, uapi.UBLK_PARAM_TYPE_SEGMENT).Seg
	differ("segment boundary", sw.SegBoundaryMask, sh.SegBoundaryMask)
	differ("max segment size", sw.MaxSegmentSize, sh.MaxSegmentSize)
	differ("max segments", sw.MaxSegments, sh.MaxSegments)
	return out
}

// cpus is the driver's bound of hardware queues, nr_cpu_ids: one more than the last possible CPU. 0: not known.
func cpus() int {
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return 0
	}
	s := strings.TrimSpace(string(b))
	n, err := strconv.Atoi(s[strings.LastIndexAny(s, "-,")+1:])
	if err != nil {
		return 0
	}
	return n + 1
}
