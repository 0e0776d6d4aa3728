package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockMemory keeps in memory what the process has there, and whatever it touches from now on. MCL_ONFAULT: the buffers of
// requests are mapped for the worst case and touched as far as they are used; to lock all of it at once would take memory
// for requests that never come.
//
// Without CAP_IPC_LOCK a limit on locked memory (RLIMIT_MEMLOCK) holds for all that is mapped later, too: mmap would
// fail in the middle of everything. So then nothing is locked.
func lockMemory() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if !mayLock(hasCap(unix.CAP_IPC_LOCK), l.Cur) {
		return fmt.Errorf("CAP_IPC_LOCK is missing, and RLIMIT_MEMLOCK is %d bytes, not infinity", l.Cur)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return os.NewSyscallError("mlockall", err)
	}
	return populateProgram()
}

func mayLock(capable bool, limit uint64) bool { return capable || limit == unix.RLIM_INFINITY }

// hasCap says whether a capability is effective.
func hasCap(c int) bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	return unix.Capget(&h, &d[0]) == nil && d[c/32].Effective>>(c%32)&1 == 1
}

// populateProgram reads all of the program into memory: a page of code that is needed for the first time when a disk
// hangs must not come from that disk.
func populateProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	parts := mappingsOf(string(maps), exe)
	if len(parts) == 0 {
		return errors.New("the program is not among its mappings")
	}
	for _, m := range parts {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m[0], m[1]-m[0], unix.MADV_POPULATE_READ); errno != 0 {
			return os.NewSyscallError("madvise MADV_POPULATE_READ", errno)
		}
	}
	return nil
}

// mappingsOf is where a file is mapped: begin and end, as /proc/PID/maps says it.
func mappingsOf(maps, file string) (out [][2]uintptr) {
	for line := range strings.Lines(maps) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1][0] != 'r' || strings.Join(f[5:], " ") != file {
			continue
		}
		lo, hi, _ := strings.Cut(f[0], "-")
		begin, err1 := strconv.ParseUint(lo, 16, 64)
		end, err2 := strconv.ParseUint(hi, 16, 64)
		if err1 == nil && err2 == nil && begin < end {
			out = append(out, [2]uintptr{uintptr(begin), uintptr(end)})
		}
	}
	return out
}
