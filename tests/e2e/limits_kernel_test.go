package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// kernelRules is where dm of an older kernel computes otherwise than dm of 7.2, which is what we compute. Each was asked
// of the running kernel with a table made for it; nothing here knows versions. docs/limits.md says what it means.
type kernelRules struct {
	softCap       uint32 // sectors: max_sectors where nobody said more or less (BLK_DEF_MAX_SECTORS_CAP)
	stripeChunk   bool   // a stripe sets chunk_sectors
	stripeDiscard bool   // a stripe multiplies the largest discard by its legs
	atomic        bool   // dm stacks atomic writes
}

func askKernel(t *testing.T, disks []*limitDisk) kernelRules {
	t.Helper()
	find := func(what string) *limitDisk {
		for _, d := range disks {
			if d.what == what {
				return d
			}
		}
		t.Fatalf("no disk %s", what)
		return nil
	}
	var k kernelRules
	large, nvme := find("null large"), find("nvme 512")
	k.softCap = uint32(queue(t, large.node, "max_sectors_kb") * 2)
	ask(t, fmt.Sprintf("0 128 striped 2 64 %[1]s 0 %[1]s 64", large.node), func(dm string) {
		k.stripeChunk = queue(t, dm, "chunk_sectors") == 64
		k.stripeDiscard = queue(t, dm, "discard_max_hw_bytes") > queue(t, large.node, "discard_max_hw_bytes")
	})
	ask(t, fmt.Sprintf("0 128 linear %s 0", nvme.node), func(dm string) {
		k.atomic = queue(t, dm, "atomic_write_max_bytes") != 0
	})
	return k
}

// maxDev asks for the limit that sysfs hides: what a SCSI disk takes at most, beside its adapter (max_dev_sectors). It is
// seen only where something asks for more than the soft cap, here a chunk as large as the disk.
func (d *limitDisk) maxDev(t *testing.T) uint32 {
	t.Helper()
	var n uint64
	ask(t, fmt.Sprintf("0 %[2]d striped 1 %[2]d %[1]s 0", d.node, d.sectors), func(dm string) { n = queue(t, dm, "max_sectors_kb") * 2 })
	return uint32(n)
}

// ask has a look at a dm device.
func ask(t *testing.T, table string, look func(node string)) {
	t.Helper()
	sh(t, "dmsetup", "create", "ask", "--noudevsync", "--table", table)
	defer dmRemove(t, "ask")
	look("/dev/dm-" + strings.TrimSpace(sh(t, "dmsetup", "info", "-c", "--noheadings", "-o", "minor", "ask")))
}

// oldStripe is a stripe whose hints are an older kernel's.
type oldStripe struct {
	*stripe.Stripe
	rules kernelRules
}

func (s oldStripe) Hints(l *limits.Limits) {
	was := *l
	s.Stripe.Hints(l)
	if !s.rules.stripeChunk {
		l.ChunkSectors = was.ChunkSectors
	}
	if !s.rules.stripeDiscard {
		l.MaxHWDiscardSectors, l.MaxDiscardSectors = was.MaxHWDiscardSectors, was.MaxDiscardSectors
	}
}

var _ target.Target = oldStripe{}

// finish does to what we computed what the older kernel does at the end.
func (k kernelRules) finish(l limits.Limits, maxDev uint32) limits.Limits {
	if !k.atomic {
		l.Atomic = limits.Atomic{}
	}
	if l.MaxUserSectors == 0 {
		cut := max(k.softCap, 8)
		switch {
		case l.IOOpt > k.softCap*512:
			cut = l.IOOpt / 512
		case l.IOMin > k.softCap*512:
			cut = l.IOMin / 512
		}
		l.MaxSectors = min(l.MaxHWSectors, cut)
	}
	n := l.LogicalBlock / 512
	l.MaxSectors = min(l.MaxSectors, maxDev) / n * n
	return l
}

// sysLimits is what sysfs shows of a device, by our names. What the kernel does not have is missing.
func sysLimits(t testing.TB, node string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range limits.Fields() {
		if f.Sys == "" {
			continue
		}
		v, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(node), "queue", f.Sys))
		if errors.Is(err, fs.ErrNotExist) && f.Sys[0] == '.' { // the queue is a partition's disk's
			t.Fatal(err)
		}
		if err == nil {
			out[f.Name] = strings.TrimSpace(string(v))
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return out
}

// limitsAsShown is how sysfs would show limits, by our names.
func limitsAsShown(l limits.Limits) map[string]string {
	out := map[string]string{}
	for _, f := range limits.Fields() {
		v := f.Get(&l)
		switch f.Unit {
		case 2:
			v /= 2
		case 512:
			v *= 512
		}
		out[f.Name] = strconv.FormatUint(v, 10)
	}
	if l.Misaligned {
		out["alignment_offset"] = "-1"
	}
	out["write_cache"] = [...]string{"write through", "write back"}[out["write_cache"][0]-'0']
	out["zoned"] = [...]string{"none", "host-managed"}[out["zoned"][0]-'0']
	return out
}
