package disk

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processes lists who has one of the paths open, by the links in /proc/<pid>/fd, as far as these may be
// read. /proc does not say whether a process opened with O_EXCL: do_dentry_open drops the flag.
func processes(paths map[string]bool, o *Options) []found {
	entries, err := fs.ReadDir(o.Proc, ".")
	if err != nil {
		return nil
	}
	self, _ := fs.ReadLink(o.Proc, "self")
	var users []found
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		opened, serves := openFiles(e.Name(), paths, o)
		if opened == "" {
			continue
		}
		u := found{Holder{Kind: "process", What: command(e.Name(), o), Node: opened}, claimsMaybe}
		if serves != "" {
			u.Kind = "ublk"
			u.What += ", which serves " + serves
		}
		switch {
		case e.Name() == self:
			u.claim = claimsAlways // we do not wait for ourselves
			u.What += ", this process"
		case exiting(e.Name(), o):
			u.claim = claimsNever
			u.What += ", exiting"
		case passerBy(e.Name(), o):
			u.claim = claimsNever
		}
		users = append(users, u)
	}
	return users
}

// openFiles is the first of paths that the process has open, and the ublk devices that it serves.
func openFiles(pid string, paths map[string]bool, o *Options) (opened, serves string) {
	dir := path.Join(pid, "fd")
	fds, err := fs.ReadDir(o.Proc, dir)
	if err != nil {
		return "", "" // not ours to read, or gone
	}
	var ublk []string
	for _, fd := range fds {
		target, err := fs.ReadLink(o.Proc, path.Join(dir, fd.Name()))
		if err != nil {
			continue
		}
		if opened == "" && paths[target] {
			opened = target
		}
		if n, ok := strings.CutPrefix(target, "/dev/ublkc"); ok && n != "" && !slices.Contains(ublk, "ublkb"+n) {
			ublk = append(ublk, "ublkb"+n)
		}
	}
	slices.Sort(ublk)
	return opened, strings.Join(ublk, ", ")
}

// command is "812 (fio)".
func command(pid string, o *Options) string {
	comm, err := fs.ReadFile(o.Proc, path.Join(pid, "comm"))
	if err != nil {
		return pid
	}
	return fmt.Sprintf("%s (%s)", pid, strings.TrimSpace(string(comm)))
}

// passerBy reports whether the process is udev's, which looks at every disk and never with O_EXCL.
func passerBy(pid string, o *Options) bool {
	comm, _ := fs.ReadFile(o.Proc, path.Join(pid, "comm"))
	switch strings.TrimSpace(string(comm)) {
	case "systemd-udevd", "(udev-worker)", "udevd":
		return true
	}
	return false
}

// exiting reports whether a process is gone or on its way: it still has its files while do_exit cancels
// and awaits its io_uring requests. stat is "pid (comm) state ppid pgrp session tty tpgid flags …", where
// comm may contain anything (proc_pid_stat(5)).
func exiting(pid string, o *Options) bool {
	b, err := fs.ReadFile(o.Proc, path.Join(pid, "stat"))
	if err != nil {
		return true
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 7 {
		return false
	}
	const pfExiting = 0x4 // PF_EXITING
	flags, _ := strconv.ParseUint(f[6], 10, 64)
	return f[0] == "Z" || f[0] == "X" || flags&pfExiting != 0
}

// lockers lists who has an flock on the file, by /proc/locks, or failing that who has it open.
func lockers(name string, st state, o *Options) []found {
	b, _ := fs.ReadFile(o.Proc, "locks")
	self, _ := fs.ReadLink(o.Proc, "self")
	var users []found
	for line := range strings.Lines(string(b)) {
		pid, ok := parseFlock(line, st)
		if !ok || pid == "0" || exiting(pid, o) { // 0: the process is gone, or in another pid namespace
			continue
		}
		u := found{Holder{Kind: "lock", What: command(pid, o)}, claimsAlways}
		if pid == self {
			u.What += ", this process"
		}
		users = append(users, u)
	}
	if len(users) > 0 {
		return users
	}
	users = processes(map[string]bool{name: true}, o)
	for i := range users {
		users[i].Node = ""
		if users[i].claim == claimsAlways {
			users[i].claim = claimsMaybe // we have the file open ourselves while we try
		}
	}
	return slices.DeleteFunc(users, func(u found) bool { return strings.HasSuffix(u.What, ", this process") })
}

// parseFlock takes one line of /proc/locks (lock_get_status), with the device in hexadecimal:
//
//	1: FLOCK  ADVISORY  WRITE 2568 fd:00:2531452 0 EOF
//
// and is the pid if it is a lock on st. A blocked one, "1: -> FLOCK", holds nothing.
func parseFlock(line string, st state) (pid string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[1] != "FLOCK" {
		return "", false
	}
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	return f[4], f[5] == want
}
