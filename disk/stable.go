package disk

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// UnstableError is returned for a path that can name another disk after the next boot, or after a cable
// was moved.
//
// A name stays with its disk if udev keeps it: a symbolic link below /dev. That is /dev/disk/by-*,
// /dev/<vg>/<lv>, /dev/md/<name>, and what an administrator's own udev rule makes. So does anything in
// /dev/mapper, which device-mapper names. The links that are made from the kernel's numbers do not:
// /dev/block, /dev/char, /dev/root and /dev/disk/by-diskseq. A path is accepted if it is such a name or a
// symbolic link, wherever that is, that leads to one.
//
// Anything else is the kernel's own name (sda, nvme0n1, vda, dm-0, loop0, ublkb0, and their partitions),
// which the kernel gives in the order in which it finds the disks; a link that leads straight to it, from
// outside of /dev, is no better: nothing corrects it.
type UnstableError struct {
	Path   string   // as given
	Node   string   // what it is now: "/dev/sda"
	Stable []string // names that stay with the disk, best first; may be empty
	Match  string   // the TOML line that finds the disk: match = { serial = "…" }; may be empty
}

func (e *UnstableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "path %s", e.Path)
	if e.Node != e.Path {
		fmt.Fprintf(&b, " leads to %s, which", e.Node)
	}
	b.WriteString(" can be another disk after the next boot: ")
	switch {
	case len(e.Stable) == 0 && e.Match == "":
		b.WriteString("the disk has no name that stays with it")
	case len(e.Stable) == 0:
		b.WriteString("use " + e.Match)
	default:
		b.WriteString("use " + strings.Join(e.Stable, " or "))
		if e.Match != "" {
			b.WriteString(", or " + e.Match)
		}
	}
	b.WriteString("; unstable_path = true accepts it as it is")
	return b.String()
}

// checkStable is nil or an *UnstableError.
func checkStable(given string, n node, steps []string, o *Options) error {
	for i, step := range steps {
		if staysWithDisk(step, i < len(steps)-1) {
			return nil
		}
	}
	return &UnstableError{Path: given, Node: n.path, Stable: stableNames(n, o), Match: matchLine(n, o)}
}

// staysWithDisk is the rule of UnstableError for one step of a path.
func staysWithDisk(step string, link bool) bool {
	rel, ok := strings.CutPrefix(step, "/dev/")
	if !ok {
		return false
	}
	if strings.HasPrefix(rel, "mapper/") {
		return true
	}
	if !link || rel == "root" {
		return false
	}
	for _, numbered := range [...]string{"block/", "char/", "disk/by-diskseq/"} {
		if strings.HasPrefix(rel, numbered) {
			return false
		}
	}
	return true
}

// stableNames are the links below /dev that lead to n, best first: what the hardware says before what is
// written on it, before where it is plugged in.
func stableNames(n node, o *Options) []string {
	var names []string
	for _, folder := range [...]string{"disk/by-id", "mapper", "md", "disk/by-partuuid", "disk/by-path"} {
		links := linksTo(n.name, folder, o)
		slices.SortStableFunc(links, func(a, b string) int { return rank(a) - rank(b) })
		for _, l := range links {
			names = append(names, "/dev/"+folder+"/"+l)
		}
	}
	return names
}

// rank orders by-id links: worldwide names, then model and serial, then what stacking drivers say.
func rank(link string) int {
	for i, prefix := range [...]string{"nvme-uuid.", "nvme-eui.", "wwn-", "nvme-", "ata-", "usb-", "mmc-", "scsi-", "virtio-", "dm-name-", "md-name-"} {
		if strings.HasPrefix(link, prefix) {
			return i
		}
	}
	return 100
}

// linksTo are the names of the links in a folder of o.Dev that lead to the device, sorted.
func linksTo(name, folder string, o *Options) []string {
	entries, err := fs.ReadDir(o.Dev, folder)
	if err != nil {
		return nil
	}
	var links []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := fs.ReadLink(o.Dev, path.Join(folder, e.Name()))
		if err != nil {
			continue
		}
		if !path.IsAbs(target) {
			target = path.Join("/dev", folder, target)
		}
		if path.Clean(target) == devPath(name) {
			links = append(links, e.Name())
		}
	}
	return links
}

// matchLine is the shortest match that finds this disk and no other, "" if there is none.
func matchLine(n node, o *Options) string {
	id := readIdentity(n, o)
	for _, keys := range [...][]string{{"partuuid"}, {"serial"}, {"wwid"}, {"serial", "wwid"}, {"serial", "model"}} {
		if (keys[0] == "partuuid") != (n.name != n.whole) {
			continue
		}
		match := map[string]string{}
		var items []string
		for _, key := range keys {
			value := id.value(key)
			if value == "" || strings.ContainsFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) {
				break
			}
			match[key] = value
			items = append(items, key+" = "+strconv.Quote(value))
		}
		if len(items) != len(keys) {
			continue
		}
		if found := candidates(match, o); len(found) == 1 && found[0].name == n.name {
			return "match = { " + strings.Join(items, ", ") + " }"
		}
	}
	return ""
}
