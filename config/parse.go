package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// currentVersion is the version of the format this package reads.
const currentVersion = 1

// Parse reads a configuration from text. name is the path of the file, for messages and for paths
// relative to its folder; it is not opened. What Check finds with what the file itself says of its
// disks is among the problems. The File may be used only if Problems.Errors is empty.
func Parse(name string, text []byte) (*File, Problems) {
	f := &File{Path: name, disks: map[string]*Disk{}, devices: map[string]*Device{}}
	r := &report{file: name}
	if strings.HasPrefix(string(text[:min(2, len(text))]), "\xff\xfe") || strings.HasPrefix(string(text[:min(2, len(text))]), "\xfe\xff") {
		r.error(Pos{1, 1}, "", "save the file as UTF-8", "the file is UTF-16")
		return f, r.list
	}
	body := strings.TrimPrefix(string(text), "\ufeff")
	s := scan(body)
	tree := decode(r, body, s)
	if tree == nil {
		return f, r.list.sorted()
	}
	f.root = s.root
	top := &table{value: value{raw: tree, node: s.root, at: s.root.val, key: s.root.key}, kids: tree, r: r}
	if !f.readVersion(top) {
		// The keys of a later version would only be a list of false alarms.
		return f, r.list.sorted()
	}
	top.known([]string{"version", "disk", "device", "fault"}, map[string]string{
		"disks":   "a disk is a table [disk.NAME]",
		"devices": "a device is a table [device.NAME]",
		"faults":  faultHint,
	})
	if v, ok := top.get("disk"); ok {
		f.readDisks(r, v)
	}
	if v, ok := top.get("device"); ok {
		f.readDevices(r, v, s)
	}
	if v, ok := top.get("fault"); ok {
		f.readFaults(r, v)
	}
	r.list = append(r.list, f.Check(nil)...)
	return f, r.list.sorted()
}

// readVersion reports whether the rest of the file can be read.
func (f *File) readVersion(top *table) bool {
	v, ok := top.get("version")
	if !ok {
		top.r.error(Pos{1, 1}, "version", "write version = 1 at the top of the file", "version is missing")
		return true
	}
	n, ok := v.raw.(int64)
	if !ok {
		top.r.wrongType(v, "an integer", "write version = 1")
		return true
	}
	if n != currentVersion {
		top.r.error(v.at, v.path, fmt.Sprintf("this program reads version %d", currentVersion), "version %d is unknown", n)
		return false
	}
	f.Version = int(n)
	return true
}

// checkName reports a name of a disk or a device that is not allowed.
func checkName(r *report, what string, v value) {
	name := v.name()
	bad := ""
	switch {
	case name == "":
		bad = "is empty"
	case len(name) > 63:
		bad = fmt.Sprintf("has %d characters", len([]rune(name)))
	case name[0] == '-' || name[0] == '.':
		bad = fmt.Sprintf("begins with %q", name[:1])
	default:
		for _, c := range name {
			if c > 127 || !isBare(byte(c)) && c != '.' {
				bad = fmt.Sprintf("has the character %q in it", string(c))
				break
			}
		}
	}
	if bad != "" {
		r.error(v.key, v.path, "a name is 1 to 63 letters, digits, '_', '.' and '-', and begins with neither '-' nor '.'",
			"name %q of a %s %s", clipTo(name, 80), what, bad)
	}
}

// folder is where relative paths of the file begin.
func (f *File) folder() string { return filepath.Dir(f.Path) }
