package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// readDisks reads every [disk.NAME].
func (f *File) readDisks(r *report, v value) {
	all, ok := r.table(v, "a disk is a table [disk.NAME]")
	if !ok {
		return
	}
	if len(all.kids) > maxDisks {
		r.error(v.key, v.path, fmt.Sprintf("the most is %d", maxDisks), "the file has %d disks", len(all.kids))
		return
	}
	for _, v := range all.inOrder() {
		checkName(r, "disk", v)
		d := &Disk{Name: v.name(), Pos: v.key}
		f.Disks = append(f.Disks, d)
		f.disks[d.Name] = d
		if t, ok := r.table(v, "a disk is a table [disk.NAME]"); ok {
			f.readDisk(t, d)
		}
	}
	f.sameSource(r)
}

// sourceKeys are the keys of which a disk has exactly one.
func sourceKeys() []string { return []string{"path", "match", "file", "memory", "size"} }

func (f *File) readDisk(t *table, d *Disk) {
	t.known([]string{"path", "match", "file", "create", "memory", "size", "read_only", "unstable_path", "limits", "copy"}, map[string]string{
		"length": "the size of a declared disk is size, of one in memory memory, of a file to be made create",
		"dev":    "a block device is path",
		"device": "a block device is path",
		"ram":    "a disk in memory is memory = SIZE",
	})
	var said []string
	for _, k := range sourceKeys() {
		if _, ok := t.get(k); ok {
			said = append(said, k)
		}
	}
	switch len(said) {
	case 0:
		t.r.error(d.Pos, t.path, "give it exactly one of path, match, file, memory, size", "disk %q has no source", d.Name)
	case 1:
	default:
		t.r.error(d.Pos, t.path, "keep exactly one of them", "disk %q has %d sources: %s", d.Name, len(said), strings.Join(said, ", "))
	}
	d.ReadOnly, _ = t.boolean("read_only")
	d.UnstablePath, _ = t.boolean("unstable_path")
	f.readPath(t, d)
	f.readMatch(t, d)
	f.readFile(t, d)
	if size, ok := t.diskSize("memory"); ok {
		d.Kind, d.Memory = KindMemory, size
	}
	if size, ok := t.diskSize("size"); ok {
		d.Kind, d.Declared = KindDeclared, size
	}
	if v, ok := t.get("limits"); ok {
		d.Limits = readLimits(t.r, v)
	}
	if v, ok := t.get("copy"); ok {
		d.Copy = readCopy(t.r, v, d)
	}
}

// diskSize reads the size of a disk: not 0, a multiple of 512 bytes.
func (t *table) diskSize(name string) (Size, bool) {
	n, ok := t.sectors(name)
	if ok && n == 0 {
		v, _ := t.get(name)
		t.r.error(v.at, v.path, "the smallest is 512B", "%s of a disk is zero", name)
		return 0, false
	}
	return Size(n * SectorBytes), ok
}

func (f *File) readPath(t *table, d *Disk) {
	path, ok := t.str("path")
	if v, has := t.get("unstable_path"); has && !t.has("path") {
		t.r.error(v.key, v.path, "leave it out", "unstable_path is for disks with a path")
	}
	if !ok {
		return
	}
	d.Kind, d.Path = KindPath, filepath.Clean(path)
	v, _ := t.get("path")
	switch {
	case strings.ContainsRune(path, 0):
		t.r.error(v.at, v.path, "", "path has a zero byte in it")
	case !filepath.IsAbs(path):
		hint := "a block device has an absolute path, as /dev/disk/by-id/...; a regular file is file = ..., relative to this file"
		t.r.error(v.at, v.path, hint, "path %s is relative", clip(path))
	case !d.UnstablePath && unstable(d.Path):
		t.r.error(v.at, v.path, "use one of its names under /dev/disk/by-id, or accept it with unstable_path = true", "path %s may be another disk after the next boot", d.Path)
	}
}

func (t *table) has(name string) bool {
	_, ok := t.kids[name]
	return ok
}

// unstable reports whether path is a name the kernel deals out in the order it finds disks.
func unstable(path string) bool {
	name, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return false
	}
	for _, prefix := range []string{"sd", "hd", "vd", "xvd", "nvme", "mmcblk"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || rest == "" || strings.Contains(rest, "/") {
			continue
		}
		digits := prefix == "nvme" || prefix == "mmcblk"
		if digits && rest[0] >= '0' && rest[0] <= '9' || !digits && rest[0] >= 'a' && rest[0] <= 'z' {
			return true
		}
	}
	return false
}

func (f *File) readMatch(t *table, d *Disk) {
	v, ok := t.get("match")
	if !ok {
		return
	}
	hint := `write match = { serial = "..." }`
	m, ok := t.r.table(v, hint)
	if !ok {
		return
	}
	d.Kind, d.Match = KindMatch, map[string]string{}
	keys := []string{"serial", "wwid", "partuuid", "model"}
	m.known(keys, nil)
	if len(m.kids) == 0 {
		t.r.error(v.at, v.path, "give at least one of serial, wwid, partuuid, model", "match is empty")
	}
	for _, k := range keys {
		if s, ok := m.str(k); ok {
			d.Match[k] = s
		}
	}
}

func (f *File) readFile(t *table, d *Disk) {
	if path, ok := t.str("file"); ok {
		d.Kind, d.File = KindFile, filepath.Clean(path)
		if !filepath.IsAbs(path) {
			d.File = filepath.Join(f.folder(), path)
		}
		v, _ := t.get("file")
		switch {
		case strings.ContainsRune(path, 0):
			t.r.error(v.at, v.path, "", "file has a zero byte in it")
		case strings.HasSuffix(path, "/"):
			t.r.error(v.at, v.path, "name a regular file", "file %s is a folder", clip(path))
		case strings.HasPrefix(d.File, "/dev/") && !strings.HasPrefix(d.File, "/dev/shm/"):
			t.r.error(v.at, v.path, "a block device is path = ...", "file %s is a device", clip(path))
		}
	}
	if v, ok := t.get("create"); ok {
		if !t.has("file") {
			t.r.error(v.key, v.path, "create makes the file named by file; a disk in memory is memory = SIZE", "create without file")
		}
		if size, ok := t.diskSize("create"); ok {
			d.Create = size
		}
	}
}

// sameSource reports disks that are one and the same under two names. Links are not followed.
func (f *File) sameSource(r *report) {
	first := map[string]*Disk{}
	for _, d := range f.Disks {
		what := ""
		switch d.Kind {
		case KindPath:
			what = "path " + d.Path
		case KindFile:
			what = "file " + d.File
		case KindMatch:
			what = "match"
			for _, k := range []string{"serial", "wwid", "partuuid", "model"} {
				if s := d.Match[k]; s != "" {
					what += fmt.Sprintf(" %s=%q", k, s)
				}
			}
			if what == "match" {
				continue
			}
		default:
			continue
		}
		// A path and a file that are the same string are the same thing too.
		_, id, _ := strings.Cut(what, " ")
		old := first[id]
		if old == nil {
			first[id] = d
			continue
		}
		at, key := f.place(d.Pos, "disk", d.Name, d.Kind.String())
		r.error(at, key, fmt.Sprintf("use disk %q in its place; one disk may lie under many segments", old.Name),
			"disk %q is the same as disk %q (%s:%d): %s", d.Name, old.Name, f.Path, old.Pos.Line, clipTo(what, 120))
	}
}
