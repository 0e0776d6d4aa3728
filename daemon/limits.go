package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// LimitsOptions of Limits. The zero value is this host and our copy rule.
type LimitsOptions struct {
	Sys  fs.FS             // a saved tree of /sys; nil: this host's
	Node map[string]string // disk to the kernel's name of its device in Sys, for paths that only this host resolves
	Rule limits.CopyRule   // "": limits.CopyMin
}

// DiskLimits is what one disk brings.
type DiskLimits struct {
	Name string
	limits.Bottom
	Copy limits.Copy
}

// DeviceLimits is what a device can do and who imposed it.
type DeviceLimits struct {
	Name          string
	Limits        limits.Limits
	Copy          limits.CopyLimits
	Why           limits.Trace
	Inexpressible []string
	Hints         []string
	Disks         []DiskLimits // those the device uses, in the file's order
}

// Limits computes the limits of every device of a checked file, without serving it: disks are looked at, not held. Errors
// are those of the disks and dm's refusals, all of them.
func Limits(f *config.File, o *LimitsOptions) ([]DeviceLimits, error) {
	tables, err := Tables(f)
	if err != nil {
		return nil, err
	}
	rule := o.Rule
	if rule == "" {
		rule = limits.CopyMin
	}
	used, written := users(f)
	all := make([]DiskLimits, len(f.Disks))
	var errs []error
	for i, d := range f.Disks {
		if !used[d.Name] {
			continue
		}
		if all[i], err = o.diskLimits(d, written[d.Name]); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: %w", f.Path, d.Pos.Line, d.Pos.Col, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []DeviceLimits
	for i, t := range tables {
		dev := f.Devices[i]
		l, err := deviceLimits(t, dev, all, rule)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: device %s: %w", f.Path, dev.Pos.Line, dev.Pos.Col, dev.Name, err))
		}
		out = append(out, l)
	}
	return out, errors.Join(errs...)
}

func deviceLimits(t *remap.Table, dev *config.Device, all []DiskLimits, rule limits.CopyRule) (DeviceLimits, error) {
	name := func(d target.Disk) string { return "disk " + all[d].Name }
	out := DeviceLimits{Name: dev.Name}
	for _, i := range t.Disks() {
		out.Disks = append(out.Disks, all[i])
	}
	var err error
	out.Limits, out.Why, err = t.Explain(func(d target.Disk) limits.Bottom { return all[d].Bottom }, name)
	if err != nil {
		return out, err
	}
	out.Copy = t.CopyLimits(rule, func(d target.Disk) (limits.CopyLimits, uint32) {
		return all[d].Copy.Limits(rule, all[d].LogicalBlock), all[d].LogicalBlock
	})
	for _, s := range t.Spans() {
		if rule != limits.CopyMin && s.Type() != "linear" {
			out.Why["copy"] = "rule " + string(rule) + ": not every target is linear"
		}
	}
	for _, d := range out.Disks {
		if _, said := out.Why["copy"]; !said && !d.Copy.Can() {
			out.Why["copy"] = "disk " + d.Name + ": " + d.Copy.Reason
		}
	}
	spec := ublk.Spec{ID: -1, Sectors: t.Sectors(), Limits: out.Limits, ReadOnly: dev.ReadOnly, MaxIO: uint32(dev.MaxIO)}
	out.Inexpressible = []string{}
	for _, i := range spec.Presented() {
		out.Inexpressible = append(out.Inexpressible, i.String())
	}
	out.Hints = hints(t, &out)
	return out, nil
}

// noIdentify is why a disk of another host has no ability.
const noIdentify = "a saved sysfs has no Identify data: say it in [disk.X.copy]"

// diskLimits looks at one disk and puts what the file says over it.
func (o *LimitsOptions) diskLimits(d *config.Disk, write bool) (DiskLimits, error) {
	out := DiskLimits{Name: d.Name, Copy: limits.Copy{Method: limits.NoCopy}}
	switch {
	case d.Kind == config.KindDeclared:
		out.Bottom = limits.Bottom{Limits: limits.Default(), Sectors: uint64(d.Declared) / 512}
		out.ReadOnly = d.ReadOnly
		out.Copy.Reason = "declared without [disk." + d.Name + ".copy]"
	case o.Node[d.Name] != "":
		b, err := limits.ReadBottom(o.sys(), o.Node[d.Name])
		if err != nil {
			return out, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		out.Bottom = b
		out.Copy.Reason = noIdentify
	case o.Sys != nil && d.Kind == config.KindPath:
		return out, fmt.Errorf("disk %s: in a saved sysfs %s means nothing: say which device it was, --node %s=nvme0n1", d.Name, d.Path, d.Name)
	default:
		info, b, err := disk.InspectLimits(specOf(d, write), &disk.Options{Sys: o.Sys})
		if err != nil {
			return out, err
		}
		out.Bottom = b
		if o.Sys != nil {
			out.Copy.Reason = noIdentify
		} else {
			out.Copy = disk.InspectCopy(info, nil)
		}
	}
	out.Bottom.Limits = override(out.Bottom.Limits, d.Limits)
	out.Copy = overrideCopy(out.Copy, d)
	return out, nil
}

func (o *LimitsOptions) sys() fs.FS {
	if o.Sys != nil {
		return o.Sys
	}
	return os.DirFS("/sys")
}

// overrideCopy replaces a disk's copy ability by what its [disk.X.copy] says.
func overrideCopy(c limits.Copy, d *config.Disk) limits.Copy {
	o := d.Copy
	if o == nil {
		return c
	}
	if d.Simulated() {
		c = simulatedCopy()
	}
	if o.Method != "" {
		c.Method, c.Reason = limits.Method(o.Method), ""
		if !c.Can() {
			c.Reason = "[disk." + d.Name + ".copy] says none"
		}
	}
	set := func(dst *uint32, v *uint64) {
		if v != nil {
			*dst = uint32(min(*v, 1<<32-1))
		}
	}
	set(&c.MSSRL, o.MSSRL)
	set(&c.MCL, o.MCL)
	set(&c.MSRC, o.MSRC)
	if o.Domain != "" {
		c.Domain = o.Domain
	}
	if c.Domain == "" {
		c.Domain = d.Name
	}
	return c
}

// hints are the lines for people: where a value costs speed, and what to say to mkfs where ublk cannot.
func hints(t *remap.Table, l *DeviceLimits) []string {
	var out []string
	const usual = 512 << 10 / 512
	for _, d := range l.Disks {
		if d.MaxSectors < usual && l.Why["max_sectors"] == "disk "+d.Name {
			out = append(out, fmt.Sprintf("disk %s takes at most %v a request: so does the whole device", d.Name, config.Size(uint64(d.MaxSectors)*512)))
		}
	}
	if spans := t.Spans(); len(spans) == 1 && spans[0].Type() == "striped" && l.Limits.IOOpt != 0 && l.Limits.IOMin != 0 {
		su, sw := l.Limits.IOMin, l.Limits.IOOpt/l.Limits.IOMin
		if bits.OnesCount32(su) != 1 || bits.OnesCount32(l.Limits.IOOpt) != 1 {
			out = append(out, fmt.Sprintf("the kernel is not told the stripe's geometry: mkfs.xfs -d su=%d,sw=%d; mkfs.ext4 -E stride=%d,stripe_width=%d (4 KiB blocks)",
				su, sw, su/4096, su/4096*sw))
		}
	}
	if l.Limits.Misaligned {
		out = append(out, "the disks' physical blocks cannot be aligned together: writes will be read, changed and written")
	}
	if strings.HasPrefix(l.Why["discard_max_sectors"], "disk ") && l.Limits.MaxDiscardSectors == 0 {
		out = append(out, l.Why["discard_max_sectors"]+" has no discard, so the device has none")
	}
	return out
}
