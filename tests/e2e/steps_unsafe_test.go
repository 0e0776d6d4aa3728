package e2e

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stepsChild names the program that this test program becomes, with a filter before it that stops it at every system call
// that may be a step.
const stepsChild = "UBLK_LINEAR_E2E_STEPS"

func init() {
	if program := os.Getenv(stepsChild); program != "" {
		runtime.LockOSThread() // the filter is this thread's, which is the one that execve keeps
		_ = os.Unsetenv(stepsChild)
		if err := sift(); err != nil {
			println("seccomp:", err.Error())
			os.Exit(99)
		}
		err := unix.Exec(program, os.Args, os.Environ())
		println(program, err.Error())
		os.Exit(99)
	}
}

// always are system calls that are looked at whatever their arguments: those that change something. Of the others, open is
// where it is for more than reading, and io_uring_enter where something is submitted.
var always = []uint32{unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_MKDIRAT,
	unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FLOCK, unix.SYS_FCHMOD, unix.SYS_FCHMODAT,
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_EXECVE, unix.SYS_IO_URING_SETUP}

// Of struct seccomp_data, on a little-endian machine.
const (
	dataNumber = 0
	dataArg1   = 16 + 1*8
	dataArg2   = 16 + 2*8
)

// sift puts the filter before the calling thread and what it executes.
func sift() error {
	const load, equal, any, back = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
		unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	n := uint8(len(always))
	f := []unix.SockFilter{
		{Code: load, K: dataNumber},
		{Code: equal, K: unix.SYS_OPENAT, Jf: 2},
		{Code: load, K: dataArg2},
		{Code: any, K: unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL, Jt: n + 4, Jf: n + 3},
		{Code: equal, K: unix.SYS_IO_URING_ENTER, Jf: 2},
		{Code: load, K: dataArg1},
		{Code: equal, K: 0, Jt: n, Jf: n + 1},
	}
	for i, nr := range always {
		f = append(f, unix.SockFilter{Code: equal, K: nr, Jt: n - uint8(i)})
	}
	f = append(f, unix.SockFilter{Code: back, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: back, K: unix.SECCOMP_RET_TRACE})
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	runtime.KeepAlive(f)
	return err
}
