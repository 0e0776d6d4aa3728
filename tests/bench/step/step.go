// Package step counts the machine instructions that functions execute, exactly and the same each time, on any machine where
// a process may trace its child: the program runs one instruction at a time under ptrace, and those are counted whose address
// lies in a function that is asked about. What Go's runtime does in between is not.
//
// The program says what is to be counted: it calls Mark on its first thread, does its work, and calls Mark again. A count does
// not depend on how busy the machine is. It does depend on the compiler.
package step

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Mark begins or ends what Count counts. The caller is locked to the process's first thread; when nobody traces the process,
// the signal is ignored.
func Mark() error { return syscall.Tgkill(syscall.Getpid(), syscall.Getpid(), syscall.SIGUSR1) }

// ErrMarks is of a program that did not call Mark twice.
var ErrMarks = errors.New("the program did not mark the begin and the end")

// Count runs a program and counts its instructions between its marks by function, for those whose symbol keep wants. Errors:
// of starting and tracing it (EPERM where ptrace is forbidden), ErrMarks, and its exit status.
func Count(program string, args []string, keep func(symbol string) bool) (map[string]int, error) {
	funcs, err := functions(program)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // the kernel ties the trace to a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	counts, err := trace(cmd.Process.Pid, funcs, keep)
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	}
	return counts, err
}

// trace follows a child that has stopped at its exec, to its end.
func trace(pid int, funcs []function, keep func(string) bool) (map[string]int, error) {
	var ws syscall.WaitStatus
	if _, err := wait(pid, &ws); err != nil {
		return nil, err
	}
	t := &tally{funcs: funcs, keep: keep, at: map[uint64]place{}, counts: map[string]*int{}}
	marks, signal := 0, 0
	for {
		var err error
		if marks == 1 {
			err = syscall.PtraceSingleStep(pid) // what else was signalled is dropped: the runtime asks again
		} else {
			err = syscall.PtraceCont(pid, signal)
		}
		if err != nil {
			return nil, os.NewSyscallError("ptrace", err)
		}
		signal = 0
		if _, err := wait(pid, &ws); err != nil {
			return nil, err
		}
		switch {
		case ws.Exited() && ws.ExitStatus() == 0 && marks == 2:
			return t.result(), nil
		case ws.Exited() && ws.ExitStatus() == 0:
			return nil, ErrMarks
		case ws.Exited() || ws.Signaled():
			return nil, fmt.Errorf("the program ended with %v", exitOf(ws))
		case ws.StopSignal() == syscall.SIGUSR1:
			marks++
		case ws.StopSignal() != syscall.SIGTRAP:
			signal = int(ws.StopSignal())
		case marks == 1:
			var regs syscall.PtraceRegs
			if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
				return nil, os.NewSyscallError("ptrace", err)
			}
			t.add(regs.PC())
		}
	}
}

func exitOf(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

func wait(pid int, ws *syscall.WaitStatus) (int, error) {
	for {
		n, err := syscall.Wait4(pid, ws, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return n, os.NewSyscallError("wait4", err)
		}
	}
}
