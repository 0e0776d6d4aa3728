package disk

import (
	"io/fs"
	"strconv"
	"strings"
)

// mounts lists where one of the nodes is mounted, in our mount namespace and in that of process 1. A file
// system with a device number of its own (btrfs) is known by the source that it was mounted with, which
// is one of its devices.
func mounts(nodes []node, o *Options) []found {
	var users []found
	have := map[Holder]bool{}
	for _, table := range [...]string{"self/mountinfo", "1/mountinfo"} {
		b, err := fs.ReadFile(o.Proc, table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			m, ok := parseMount(line)
			if !ok {
				continue
			}
			for _, n := range nodes {
				if m.rdev != n.rdev && (!inDev(m.source) || !leadsTo(m.source, n, o)) {
					continue
				}
				h := Holder{Kind: "mount", What: m.point, Node: n.path}
				if !have[h] {
					have[h] = true
					users = append(users, found{h, claimsAlways})
				}
				break
			}
		}
	}
	return users
}

type mount struct {
	rdev          uint64
	point, source string
}

// parseMount takes one line of mountinfo (proc_pid_mountinfo(5)):
//
//	36 35 98:0 /root /mnt/point rw,noatime master:1 - ext4 /dev/source rw
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	f, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(f) < 5 || len(r) < 2 {
		return mount{}, false
	}
	rdev, err := parseNumber(f[2])
	if err != nil {
		return mount{}, false
	}
	return mount{rdev, unescape(f[4]), unescape(r[1])}, true
}

// swaps lists which of the nodes are swapped to (proc_swaps(5)). A swap file is its file system's.
func swaps(nodes []node, o *Options) []found {
	b, err := fs.ReadFile(o.Proc, "swaps")
	if err != nil {
		return nil
	}
	var users []found
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[1] != "partition" {
			continue
		}
		file := unescape(f[0])
		for _, n := range nodes {
			if file == n.path || inDev(file) && leadsTo(file, n, o) {
				users = append(users, found{Holder{Kind: "swap", What: file, Node: n.path}, claimsAlways})
				break
			}
		}
	}
	return users
}

// unescape undoes the kernel's mangle: space, tab, newline and backslash are \ and three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
