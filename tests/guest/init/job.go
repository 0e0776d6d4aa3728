package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// settle sets what every job wants the same way.
func settle() {
	for path, v := range map[string]string{
		"/proc/sys/kernel/hung_task_timeout_secs":        "60",
		"/proc/sys/kernel/hung_task_check_interval_secs": "10",
		"/proc/sys/kernel/hung_task_warnings":            "-1",
		"/proc/sys/kernel/panic_on_oops":                 "1",
		"/proc/sys/kernel/printk_devkmsg":                "on",
		"/proc/sys/kernel/sysrq":                         "1",
		"/proc/sys/kernel/core_pattern":                  "core",
	} {
		// Which of them exist depends on the kernel; a job that needs one will say so.
		_ = os.WriteFile(path, []byte(v), 0)
	}
	_ = unix.Sethostname([]byte("guest"))
	_ = loopbackUp()
}

// loopbackUp brings the lo interface up: nvme-tcp and the like talk over it.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// process is the running job.
type process struct {
	pid  int
	done chan struct{} // closed when the output has been passed on
}

// start runs the job with its output going to out. There is a pipe between: a port can be opened only
// once, so a script's "> /dev/stderr" would fail on it.
func start(job guest.Job, out io.Writer) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(job.Path, append([]string{job.Path}, job.Args...), &syscall.ProcAttr{
		Dir:   job.Dir,
		Env:   job.Env,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", job.Path, err)
	}
	p := &process{pid: pid, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_, _ = io.Copy(out, r)
	}()
	return p, nil
}

// wait reaps every child, as the first process must, until the job is among them.
func (p *process) wait() (int, error) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for job: %w", err)
		}
		if pid != p.pid {
			continue
		}
		select {
		case <-p.done:
		case <-time.After(2 * time.Second): // a daemon it left behind holds the pipe
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
}

// show makes visible what the job hangs on: SIGQUIT has a Go program print its goroutines, and the
// kernel prints its blocked tasks on the console.
func (p *process) show() {
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
	_ = unix.Kill(-p.pid, unix.SIGQUIT)
	// Daemons of the job have left its process group: they are known by where their program lies.
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == 1 {
			continue
		}
		if pgid, err := unix.Getpgid(pid); err != nil || pgid == p.pid {
			continue
		}
		if exe, err := os.Readlink("/proc/" + d.Name() + "/exe"); err == nil && strings.HasPrefix(exe, guest.ResultsDir+"/") {
			_ = unix.Kill(pid, unix.SIGQUIT)
		}
	}
}
