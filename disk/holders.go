package disk

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// Holder is one user of a disk.
type Holder struct {
	// Kind is mount, swap, dm, md, bcache, device (stacked in another way), loop, ublk (a process that
	// serves ublk devices), process, lock, or exclusive (somebody, nobody knows who).
	Kind string
	// What is the mount point, the swap's path, the name of the dm device, the kernel's name of another
	// device, or pid and command: "812 (fio)".
	What string
	// Node is what is used, where that is not the device itself but a partition of it or the disk that
	// it is part of: "/dev/sda1".
	Node string
}

// String is "mounted at /srv (/dev/sda1)".
func (h Holder) String() string {
	verbs := map[string]string{
		"mount": "mounted at ", "swap": "swap ", "dm": "used by device-mapper ", "md": "used by ",
		"bcache": "used by ", "device": "used by ", "loop": "used by ", "ublk": "open in ublk server ",
		"process": "open in process ", "lock": "locked by process ", "exclusive": "held exclusively by ",
	}
	verb, ok := verbs[h.Kind]
	if !ok {
		verb = h.Kind + " "
	}
	if h.Node != "" {
		return fmt.Sprintf("%s%s (%s)", verb, h.What, h.Node)
	}
	return verb + h.What
}

// claim is whether a user holds the disk exclusively.
type claim uint8

const (
	claimsNever  claim = iota // a loop device, a process that is exiting, udev
	claimsMaybe               // a process that has it open: nothing says how
	claimsAlways              // the kernel's own users
)

// found is a holder with what hold needs to know.
type found struct {
	Holder
	claim claim
}

func holders(users []found) []Holder {
	var h []Holder
	for _, u := range users {
		h = append(h, u.Holder)
	}
	return h
}

// Holders lists who uses a block device now, as far as /proc and sysfs say: mounts, swap, stacked devices
// and loop devices, on the device, its partitions and the disk that it is part of, and the processes that
// have one of these open, which only root sees of others. node is a path, or the kernel's name. It opens
// nothing on the device, and so cannot hang with it. An unknown node has no holders.
func Holders(node string, o *Options) []Holder {
	opt := o.withDefaults()
	if !filepath.IsAbs(node) {
		node = devPath(node)
	}
	n, _, err := resolve(node, opt)
	if err != nil {
		if n, err = nodeOf(sysName(node), opt); err != nil {
			return nil
		}
	}
	return holders(holdersOf(n, opt))
}

// holdersOf lists the users of n and of what overlaps it: bd_prepare_to_claim lets a disk be claimed only
// while none of its partitions is, and the reverse; two partitions do not matter to each other.
func holdersOf(n node, o *Options) []found {
	nodes := overlapping(n, o)
	var users []found
	users = append(users, mounts(nodes, o)...)
	users = append(users, swaps(nodes, o)...)
	users = append(users, stacked(nodes, o)...)
	users = append(users, loops(nodes, o)...)
	paths := make(map[string]bool, len(nodes))
	for _, m := range nodes {
		paths[m.path] = true
	}
	users = append(users, processes(paths, o)...)
	for i := range users {
		if users[i].Node == n.path {
			users[i].Node = ""
		}
	}
	return users
}

// overlapping is n, then its partitions, or the disk that it is part of.
func overlapping(n node, o *Options) []node {
	nodes := []node{n}
	if n.name != n.whole {
		if whole, err := nodeOf(n.whole, o); err == nil {
			nodes = append(nodes, whole)
		}
		return nodes
	}
	entries, _ := fs.ReadDir(o.Sys, path.Join("class/block", n.name))
	for _, e := range entries {
		if attr(o.Sys, n.name, e.Name()+"/partition") == "" {
			continue
		}
		if part, err := nodeOf(e.Name(), o); err == nil {
			nodes = append(nodes, part)
		}
	}
	return nodes
}

// stacked lists what bd_link_disk_holder has noted: dm, md, bcache.
func stacked(nodes []node, o *Options) []found {
	var users []found
	for _, n := range nodes {
		entries, _ := fs.ReadDir(o.Sys, path.Join("class/block", n.name, "holders"))
		for _, e := range entries {
			h := Holder{Kind: "device", What: e.Name(), Node: n.path}
			switch {
			case strings.HasPrefix(e.Name(), "dm-"):
				h.Kind = "dm"
				h.What = firstOf(attr(o.Sys, e.Name(), "dm/name"), e.Name())
			case strings.HasPrefix(e.Name(), "md"):
				h.Kind = "md"
			case strings.HasPrefix(e.Name(), "bcache"):
				h.Kind = "bcache"
			}
			users = append(users, found{h, claimsAlways})
		}
	}
	return users
}

// loops lists the loop devices on one of the nodes. They hold nothing exclusively.
func loops(nodes []node, o *Options) []found {
	var users []found
	for name, file := range loopFiles(o) {
		for _, n := range nodes {
			if file == n.path || inDev(file) && leadsTo(file, n, o) {
				users = append(users, found{Holder{Kind: "loop", What: name, Node: n.path}, claimsNever})
				break
			}
		}
	}
	return users
}

// loopFiles yields the loop devices that are set up, and what each is over.
func loopFiles(o *Options) func(yield func(name, file string) bool) {
	return func(yield func(name, file string) bool) {
		files, _ := fs.Glob(o.Sys, "block/loop*/loop/backing_file")
		for _, f := range files {
			b, err := fs.ReadFile(o.Sys, f)
			if err != nil {
				continue
			}
			if !yield(path.Base(path.Dir(path.Dir(f))), strings.TrimSuffix(string(b), "\n")) {
				return
			}
		}
	}
}

// leadsTo reports whether a path below /dev is a name of n.
func leadsTo(p string, n node, o *Options) bool {
	m, _, err := resolve(p, o)
	return err == nil && m.rdev == n.rdev
}
