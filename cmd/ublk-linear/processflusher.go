package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// becomeFlusher makes every thread of the process an I/O flusher (PR_SET_IO_FLUSHER: PF_MEMALLOC_NOIO, so that memory
// allocated in the kernel on its behalf never waits for I/O, and PF_LOCAL_THROTTLE). It is a matter of one thread, which
// those that it clones inherit, io_uring's workers too, and which execve keeps. Go has started threads before any code of
// ours runs, so the flag is set and the program executed again: then it is that of the only thread there is. The flag is
// itself the mark that this has been done.
//
// It needs CAP_SYS_RESOURCE, to ask as well as to set.
func becomeFlusher() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	is, err := ioFlusher()
	if err != nil || is {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_IO_FLUSHER", err)
	}
	if is, err := ioFlusher(); err != nil || !is { // where the kernel only pretends, there would be no end
		return errors.Join(errors.New("prctl PR_SET_IO_FLUSHER has no effect"), err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = unix.Exec(self, os.Args, os.Environ())
	if errors.Is(err, unix.ENOENT) { // the file was replaced; its path gives the process its name, so it is the second choice
		err = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	return fmt.Errorf("starting anew: %w", err)
}

// ioFlusher says whether the calling thread is one. Of a process that has just been executed, the main thread speaks for
// all.
func ioFlusher() (bool, error) {
	n, err := unix.PrctlRetInt(unix.PR_GET_IO_FLUSHER, 0, 0, 0, 0)
	return n == 1, os.NewSyscallError("prctl PR_GET_IO_FLUSHER", err)
}
