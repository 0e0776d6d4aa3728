package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

// A process that serves block devices is part of the kernel's way to write dirty memory back: what it waits for, the
// whole host may wait for. Before anything else it
//
//  1. becomes an I/O flusher and starts itself anew, so that every thread is one (processflusher.go);
//  2. goes on when its terminal closes, its reader goes away or somebody presses ^Z;
//  3. is the last that the OOM killer takes;
//  4. keeps its memory out of swap (processlock.go) and its heap bounded.
//
// What a capability is missing for is left out and said: devices are served all the same.

// serves marks, among a verb's annotations, one that serves devices.
const serves = "serves"

// memoryLimit bounds the Go heap, softly, where GOMEMLIMIT does not say: the buffers of requests are not part of it, and
// a table of a million targets takes a third.
const memoryLimit = 1 << 30

// oomNever is the lowest oom_score_adj: the OOM killer takes everything else before.
const oomNever = -1000

// loss is something of the process that could not be had.
type loss struct {
	what string // what was not done
	why  error
	lost string // what may happen for that
}

// servesDevices says whether the verb of a command line serves devices.
func servesDevices(args []string) bool {
	cmd, _, err := newRoot().Find(args)
	return err == nil && cmd.Annotations[serves] != ""
}

// prepareProcess makes this process fit to serve devices. The first time it does not return where it succeeds: the
// process starts anew, with its number and its arguments.
func prepareProcess() []loss {
	var out []loss
	try := func(what, lost string, err error) {
		if err != nil {
			out = append(out, loss{what, err, lost})
		}
	}
	try("I/O flusher", "when memory is short, the server may wait for a write-back that waits for it", becomeFlusher())
	goOn()
	_ = unix.Umask(0o022) // of whoever started us: links are for all, and every file says its own mode
	try("stdin", "its file stays open", closeStdin())
	try("oom_score_adj", "the OOM killer may take the server", spareFromOOM("/proc/self/oom_score_adj"))
	try("memory lock", "memory of the server may be swapped out, to a disk that waits for the server", lockMemory())
	_, _ = time.Now().Zone() // reads /etc/localtime: not when the first line is logged
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)) // half of them may be with a queue that waits in the kernel (ublk/internal/uring/brief.go)
	}
	return out
}

// maxProcessors bounds what devices of many queues get: whoever looks for work looks at all processors, and a quarter of them
// collect garbage.
const maxProcessors = 64

// processorsFor gives Go's runtime twice as many processors as there are queues, unless it has more: then every queue may wait
// in the kernel without its knowledge, and half of them are left. Without, queues wait for one another's processors (devbench's
// set devices).
func processorsFor(queues int) {
	if n := min(2*queues, maxProcessors); os.Getenv("GOMAXPROCS") == "" && n > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}

// goOn ignores the signals that would end or stop the server for a reason that is none: the terminal closes (SIGHUP,
// where no reload is asked for by it), whoever read what it prints is gone (SIGPIPE), ^Z, and a background job that uses
// its terminal. A stopped server is a disk that hangs, perhaps that of the shell which could continue it.
func goOn() {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
}

// closeStdin puts /dev/null there: what it was may lie on one of our own devices, and nothing is read from it.
func closeStdin() error {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Dup3(fd, 0, 0)
}

// spareFromOOM sets an oom_score_adj, which file holds. A negative one was somebody's decision and is kept; others come
// from the session that started us.
func spareFromOOM(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n < 0 {
		return err
	}
	return os.WriteFile(file, []byte(strconv.Itoa(oomNever)), 0)
}

type processKey struct{}

func withProcess(ctx context.Context, l []loss) context.Context {
	return context.WithValue(ctx, processKey{}, l)
}

// sayProcess logs what main could not do for the process, as warnings, and what it is now.
func sayProcess(ctx context.Context, log *slog.Logger) {
	losses, _ := ctx.Value(processKey{}).([]loss)
	for _, l := range losses {
		log.Warn("not done for the process: "+l.what, "err", l.why, "so", l.lost)
	}
	log.Info("process", "is", processText(daemon.Process()))
}

// processText is what a server's process is, in one line.
func processText(p daemon.ProcessInfo) string {
	flusher, locked, limit := "no I/O flusher", "memory not locked", "none"
	if p.IOFlusher {
		flusher = "I/O flusher"
	}
	if p.LockedBytes > 0 {
		locked = fmt.Sprintf("memory locked (%v mapped, %v used)", config.Size(p.LockedBytes), config.Size(p.ResidentBytes))
	}
	if p.MemoryLimit != math.MaxInt64 {
		limit = config.Size(p.MemoryLimit).String()
	}
	return fmt.Sprintf("%d threads, %s, %s, OOM score %d, heap limit %s", p.Threads, flusher, locked, p.OOMScoreAdj, limit)
}
