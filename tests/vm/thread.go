package vm

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// runThread starts the process and waits for it on one and the same thread: the kernel sends the death
// signal when the thread that started the process ends, not when we do.
func (p *process) runThread(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.exited <- p.cmd.Wait()
	}
}

// socketPair returns our end of a new connection and the end to give away.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("port: %w", err)
	}
	// Non-blocking, so that closing it ends a read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("port: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "port"), os.NewFile(uintptr(fds[1]), "port"), nil
}
