package daemon

import (
	"fmt"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// maxShown bounds how much of a table's line a message shows.
const maxShown = 120

// differences is how a device of the file differs from the one that is written down and the one that the driver has. What the
// file does not say does not differ.
func (d *deviceRecord) differences(want *deviceRecord, have *ublk.Info) []string {
	var out []string
	add := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	if want.ID >= 0 && want.ID != have.ID {
		add("id %d → %d", have.ID, want.ID)
	}
	if want.OnCrash != d.OnCrash {
		add("on_crash %s → %s", d.OnCrash, want.OnCrash)
	}
	// A reload that grows a device writes its table down first, and tells the driver last: one that was broken off is
	// completed.
	if grown := d.Table == want.Table && have.Sectors < want.Sectors; have.Sectors != want.Sectors && !grown {
		add("%d sectors → %d", have.Sectors, want.Sectors)
	}
	if d.Asked.ReadOnly != want.Asked.ReadOnly {
		add("read_only %t → %t", d.Asked.ReadOnly, want.Asked.ReadOnly)
	}
	count := func(what string, have, was, is uint64) {
		if is != 0 && is != was && is != have {
			add("%s %d → %d", what, have, is)
		}
	}
	count("queues", uint64(have.Queues), uint64(d.Asked.Queues), uint64(want.Asked.Queues))
	count("depth", uint64(have.Depth), uint64(d.Asked.Depth), uint64(want.Asked.Depth))
	count("max_io", uint64(have.MaxIO), d.Asked.MaxIO, want.Asked.MaxIO)
	if d.Table != want.Table {
		add("%s", tableDifference(d.Table, want.Table))
	}
	return out
}

// tableDifference shows the first line in which two tables differ.
func tableDifference(was, is string) string {
	a, b := strings.Split(strings.TrimSpace(was), "\n"), strings.Split(strings.TrimSpace(is), "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	line := func(l []string) string {
		if i >= len(l) {
			return "no more"
		}
		s := l[i]
		if len(s) > maxShown {
			s = s[:maxShown] + "…"
		}
		return fmt.Sprintf("%q", s)
	}
	if len(a) == 1 && len(b) == 1 {
		return fmt.Sprintf("the table was %s, is %s", line(a), line(b))
	}
	return fmt.Sprintf("line %d of the table was %s, is %s", i+1, line(a), line(b))
}

// blocks is what differs of that which only the open disks say.
func (d *deviceRecord) blocks(s *ublk.Spec) []string {
	var out []string
	if d.LogicalBlock != s.Limits.LogicalBlock {
		out = append(out, fmt.Sprintf("logical block %d → %d", d.LogicalBlock, s.Limits.LogicalBlock))
	}
	if d.PhysicalBlock != s.Limits.PhysicalBlock {
		out = append(out, fmt.Sprintf("physical block %d → %d", d.PhysicalBlock, s.Limits.PhysicalBlock))
	}
	if d.ReadOnly != s.ReadOnly {
		out = append(out, fmt.Sprintf("read-only %t → %t, because of its disks", d.ReadOnly, s.ReadOnly))
	}
	return out
}

// diskDifferences is which of a device's disks are others now. One that is not in the file is a difference of the table, and
// one that cannot be looked at is refused when it is to be opened.
func (c *claims) diskDifferences(rec *deviceRecord) []string {
	var out []string
	for _, name := range rec.Disks {
		conf, was := c.file.Disk(name), c.state.disk(name)
		if conf == nil || was == nil {
			continue
		}
		if conf.Kind == config.KindDeclared || conf.Kind == config.KindMemory {
			out = append(out, fmt.Sprintf("disk %s was %s, is only %s", name, was.Node, conf.Kind))
			continue
		}
		is, err := c.look(conf)
		if err != nil {
			out = append(out, fmt.Sprintf("disk %s was %s, and cannot be found: %v", name, was.Node, err))
			continue
		}
		if d := was.difference(&is); d != "" {
			out = append(out, "disk "+name+" "+d)
		}
	}
	return out
}

// difference is in what a disk is another one; "" when it is not. A disk that says who it is may have another node now, and
// one that does not is known by its node. It may have grown.
func (d *diskRecord) difference(is *diskRecord) string {
	switch {
	case d.Kind != is.Kind:
		return fmt.Sprintf("was a %s, %s, is a %s, %s", d.Kind, d.Node, is.Kind, is.Node)
	case d.Kind == disk.File.String() && (d.Dev != is.Dev || d.Inode != is.Inode):
		return fmt.Sprintf("was the file %s, is another one, %s", d.Node, is.Node)
	case d.WWID != is.WWID:
		return fmt.Sprintf("was %q (%s), is %q (%s)", d.WWID, d.Node, is.WWID, is.Node)
	case d.Serial != is.Serial:
		return fmt.Sprintf("had serial %q (%s), has %q (%s)", d.Serial, d.Node, is.Serial, is.Node)
	case d.PartUUID != is.PartUUID:
		return fmt.Sprintf("was partition %s (%s), is %s (%s)", d.PartUUID, d.Node, is.PartUUID, is.Node)
	case d.WWID == "" && d.Serial == "" && d.PartUUID == "" && d.Kind == disk.Block.String() && d.Rdev != is.Rdev:
		return fmt.Sprintf("was %s, is %s", d.Node, is.Node)
	case is.Sectors < d.Sectors:
		return fmt.Sprintf("had %d sectors, has %d", d.Sectors, is.Sectors)
	}
	return ""
}

// driverRecord is what the driver alone says of a device: of the rest the file is taken at its word.
func (o *orphan) driverRecord(want *deviceRecord) *deviceRecord {
	r := *want
	r.ID, r.OnCrash, r.Asked = o.info.ID, crashOf(o.info.Flags.Recovery()), shape{}
	r.Asked.ReadOnly = o.info.ReadOnly
	return &r
}

// recoveries are the policies in the driver's words.
var recoveries = map[config.OnCrash]ublk.Recovery{config.CrashReissue: ublk.RecoveryReissue, config.CrashQueue: ublk.RecoveryQueue,
	config.CrashFail: ublk.RecoveryFail, config.CrashRemove: ublk.NoRecovery}

func crashOf(r ublk.Recovery) config.OnCrash {
	for c, x := range recoveries {
		if x == r {
			return c
		}
	}
	return config.CrashRemove
}

// lacking refuses policies that the driver does not have.
func lacking(f *config.File, has ublk.Features) config.Problems {
	var ps config.Problems
	for _, d := range f.Devices {
		for _, x := range has.Missing(dataPaths[d.DataPath].Flags()) {
			ps = append(ps, problem(f, d, "data_path", fmt.Sprintf("data_path = %q of device %q needs %s, which this kernel's ublk does not have: mainline has it since %s", d.DataPath, d.Name, x.Name, x.Since),
				`use "auto" or "buffer"`))
		}
		for _, x := range has.Missing(recoveries[f.Crash(d)].Flags()) {
			ps = append(ps, problem(f, d, "on_crash", fmt.Sprintf("on_crash = %q of device %q needs %s, which this kernel's ublk does not have: mainline has it since %s", f.Crash(d), d.Name, x.Name, x.Since),
				`use "reissue", "queue" or "remove"`))
		}
	}
	return ps
}
