package disk

import (
	"errors"
	"fmt"
)

// Apart reports every two disks that are not apart: two names of one device or file, and a partition
// beside the disk that it is part of. All problems are joined.
//
// Disks opened for writing or reading hold each other out, so this is for messages that name both.
func Apart(disks []*Disk) error {
	infos := make([]Info, len(disks))
	for i, d := range disks {
		infos[i] = d.info
	}
	return ApartInfos(infos)
}

// ApartInfos is Apart before anything is opened.
func ApartInfos(infos []Info) error {
	var errs []error
	for i, a := range infos {
		for _, b := range infos[:i] {
			if why := together(&b, &a); why != "" {
				errs = append(errs, fmt.Errorf("disks %s and %s: %s", b.Name, a.Name, why))
			}
		}
	}
	return errors.Join(errs...)
}

// together is why two disks are not apart, "" if they are.
func together(a, b *Info) string {
	switch {
	case a.Kind != b.Kind:
		return ""
	case a.Kind == File && a.inode != [2]uint64{} && a.inode == b.inode:
		return fmt.Sprintf("%s and %s are one file", a.Node, b.Node)
	case a.Kind == File && a.inode == b.inode && a.Node == b.Node:
		return "both make the file " + a.Node
	case a.Kind != Block || a.dev.whole == "":
		return ""
	case a.Rdev == b.Rdev:
		return "both are " + a.Node
	case a.dev.name == b.dev.whole:
		return fmt.Sprintf("%s is a partition of %s", b.Node, a.Node)
	case b.dev.name == a.dev.whole:
		return fmt.Sprintf("%s is a partition of %s", a.Node, b.Node)
	}
	return ""
}
