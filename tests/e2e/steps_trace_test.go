package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tracer runs a program and kills it at a step: a system call that changes something. strace counts by thread, and Go moves
// goroutines between threads; this counts by process. A seccomp filter lets all other calls run untouched.
type tracer struct {
	pid  int
	proc *os.Process
	done chan error // the exit, once; nil for status 0

	// Of the thread that traces.
	execs   int
	mine    map[int]bool // threads that are the program's, not those of programs that it starts
	control map[int]bool // threads whose ring takes control commands
	queue   map[int]bool // threads whose ring's first submission has been seen

	mu     sync.Mutex
	armed  bool
	at     int           // the step to die at, from 1; 0: none
	inside time.Duration // die so long behind the step's begin; 0: before it
	steps  []string      // so far
	killed bool
}

// exited is a status, or a signal as -1.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// arm begins to count; at 0 nothing is killed.
func (r *tracer) arm(at int, inside time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed, r.at, r.inside, r.steps = true, at, inside, nil
}

// disarm ends that, and returns what was seen and whether it was killed.
func (r *tracer) disarm() (steps []string, killed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = false
	return r.steps, r.killed
}

// trace starts a program under a tracer, armed from its first own step.
func trace(argv []string, stdout, stderr *os.File, at int, inside time.Duration) (*tracer, error) {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, err
	}
	r := &tracer{done: make(chan error, 1)}
	r.arm(at, inside)
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread, and ends with this goroutine
		err := r.begin(program, argv, stdout, stderr)
		begun <- err
		if err == nil {
			r.done <- r.run()
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return r, nil
}

// launcher is this program where it is executed fast: it is run anew in every round, and lies on a share.
var launcher = sync.OnceValue(func() string {
	const self = "/proc/self/exe"
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile("/run/steps-launcher", b, 0o755)
	}
	if err != nil {
		return self
	}
	return "/run/steps-launcher"
})

func (r *tracer) begin(program string, argv []string, stdout, stderr *os.File) (err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	r.proc, err = os.StartProcess(launcher(), argv, &os.ProcAttr{Env: append(os.Environ(), stepsChild+"="+program),
		Files: []*os.File{null, stdout, stderr}, Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return err
	}
	r.pid = r.proc.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(r.pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("first stop: %#x, %w", ws, err)
	}
	if err := unix.PtraceSetOptions(r.pid, unix.PTRACE_O_TRACESECCOMP|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|unix.PTRACE_O_TRACEVFORK|
		unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	return unix.PtraceCont(r.pid, 0)
}

// run goes on until all that is traced has ended, and returns how the program did.
func (r *tracer) run() error {
	rc := errors.New("it was never seen to end")
	seen := map[int]bool{r.pid: true}
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // ECHILD
			return rc
		case !ws.Stopped():
			delete(seen, tid)
			delete(r.mine, tid)
			if tid == r.pid {
				if rc = nil; ws.Signaled() {
					rc = exited(-1)
				} else if ws.ExitStatus() != 0 {
					rc = exited(ws.ExitStatus())
				}
			}
			continue
		}
		sig := 0
		switch event := ws.TrapCause(); {
		case event == unix.PTRACE_EVENT_SECCOMP:
			r.stop(tid)
		case event == unix.PTRACE_EVENT_EXEC && tid == r.pid:
			r.execs++
			r.mine, r.control, r.queue = map[int]bool{}, map[int]bool{}, map[int]bool{}
		case event > 0:
		case ws.StopSignal() == unix.SIGSTOP && !seen[tid]: // a new thread's first stop
		default:
			sig = int(ws.StopSignal())
		}
		seen[tid] = true
		_ = unix.PtraceCont(tid, sig) // one that was killed is gone
	}
}

// stop is a thread before a system call.
func (r *tracer) stop(tid int) {
	if r.execs == 0 || !r.own(tid) {
		return
	}
	name, ok := r.step(tid)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.armed || r.killed {
		return
	}
	r.steps = append(r.steps, name)
	if len(r.steps) != r.at {
		return
	}
	r.killed = true
	kill := func() { _ = unix.Kill(r.pid, unix.SIGKILL) }
	if r.inside > 0 && !(startScans.Load() && r.starting()) {
		time.AfterFunc(r.inside, kill)
		return
	}
	kill() // the call is not made
}

// startScans is set while a traced program starts devices with a driver that reads their partition tables within START_DEV.
var startScans atomic.Bool

// starting says whether the last step is START_DEV, or the end of a recovery.
func (r *tracer) starting() bool {
	n := len(r.steps)
	return n > 1 && r.steps[n-1] == "control command" && r.steps[n-2] == "fetch"
}

// own says whether a thread is the program's.
func (r *tracer) own(tid int) bool {
	is, known := r.mine[tid]
	if !known {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
		is = err == nil && bytes.Contains(b, fmt.Appendf(nil, "\nTgid:\t%d\n", r.pid))
		r.mine[tid] = is
	}
	return is
}

// text reads a string of the program's, up to the end of its page.
func text(tid int, at uintptr) string {
	if at == 0 {
		return ""
	}
	b := make([]byte, min(256, 4096-int(at%4096)))
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	if _, err := unix.ProcessVMReadv(tid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0); err != nil {
		return err.Error()
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// step names the system call that a thread is about to make, if it is a step: proc(5), /proc/pid/syscall.
func (r *tracer) step(tid int) (name string, is bool) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
	if err != nil {
		return "", false
	}
	var nr int
	var a [6]uintptr
	if n, _ := fmt.Sscanf(string(line), "%d %v %v %v %v %v %v", &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]); n != 7 {
		return "", false
	}
	file := func() string {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, a[0]))
		return to
	}
	switch nr {
	case unix.SYS_OPENAT:
		return "open " + text(tid, a[1]), true
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT:
		return "rename " + text(tid, a[1]), true
	case unix.SYS_UNLINKAT:
		return "unlink " + text(tid, a[1]), true
	case unix.SYS_SYMLINKAT:
		return "symlink " + text(tid, a[2]), true
	case unix.SYS_MKDIRAT:
		return "mkdir " + text(tid, a[1]), true
	case unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT:
		return "chmod " + text(tid, a[1]), true
	case unix.SYS_EXECVE:
		return "execve " + text(tid, a[0]), true
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		return "fsync " + file(), true
	case unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE:
		return "truncate " + file(), true
	case unix.SYS_FLOCK:
		return "flock " + file(), true
	case unix.SYS_FCHMOD, unix.SYS_FCHOWN:
		return "chmod " + file(), true
	case unix.SYS_BIND, unix.SYS_LISTEN:
		return "listen", true
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		to := file() // not a log, nor a queue's bell
		return "write " + to, strings.HasPrefix(to, "/") || strings.HasPrefix(to, "socket:")
	case unix.SYS_IO_URING_SETUP:
		return r.ring(tid, a[1]), true
	case unix.SYS_IO_URING_ENTER:
		if r.control[tid] {
			return "control command", true
		}
		first := !r.queue[tid] // the fetch of all tags; from then on it is the load
		r.queue[tid] = true
		return "fetch", first
	}
	return "", false
}

// ring notes what a thread's new ring is for: control commands have SQEs of 128 bytes.
func (r *tracer) ring(tid int, params uintptr) string {
	b := make([]byte, 12) // sq_entries, cq_entries, flags
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	_, err := unix.ProcessVMReadv(tid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: params, Len: len(b)}}, 0)
	const sqe128 = 1 << 10
	if delete(r.queue, tid); err == nil && (uint32(b[8])|uint32(b[9])<<8)&sqe128 != 0 {
		r.control[tid] = true
		return "ring for control commands"
	}
	return "ring of a queue"
}

// insideFor is how long behind a step's begin the program dies in a round: mostly before the call has come far.
func insideFor(rng *rand.Rand) time.Duration {
	return time.Duration(1+rng.IntN(2000)) * time.Microsecond
}
