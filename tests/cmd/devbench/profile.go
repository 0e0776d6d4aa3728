package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// profiling is what tests/cmd/insnprof asks for: windows in which QEMU counts instructions.
type profiling struct {
	on        bool
	scheduler string        // to be set; empty: as the devices have it
	window    time.Duration // 0: 250 ms of one request in flight, 100 ms of more
	jobs      string        // comma-separated numbers of profileJobs; empty: all
}

var profileJobs = []job{read1, read32, write32, mid, big}

// What door is called with: tests/cmd/insnprof/plugin/plugin.c has the same.
const (
	magic       = 0x75626c6b2d70726f
	switchAt    = 0
	openWindow  = 1
	closeWindow = 2
	windowName  = "insnprof-window"
)

// door does nothing; QEMU's plugin sees that it is called, and finds the arguments in registers.
//
//go:noinline
func door(magic, what, value uint64) {}

// settled is how long a load has gone on when its window opens. An idle Go program whose thread wakes up has its runtime's
// monitor look around every 20 us for some 15 ms; that is the start, not the service.
const settled = 100 * time.Millisecond

// profile has a window for each job of each striped device with zero copy, and leaves windows.json and kallsyms behind.
func (b *bencher) profile(p profiling) error {
	jobs, err := pick(p.jobs)
	if err != nil {
		return err
	}
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return err
	}
	at, err := symbol(string(symbols), "__switch_to")
	if err != nil {
		return err
	}
	door(magic, switchAt, at)
	l := &line{}
	b.stripes(l, 4, legMiB, 1, false, "zero-copy")
	if b.kublk != "" {
		d, err := b.disks(4, legMiB, false)
		l.add(nil, err)
		l.add(b.kernelServer("kublk stripe, zero-copy", 1, append([]string{"stripe", "--auto_zc"}, d...)...))
	}
	if l.err != nil {
		return l.err
	}
	served := slices.DeleteFunc(l.all, func(c *contender) bool { return len(c.pids) == 0 }) // not dm's
	for _, c := range served {
		if p.scheduler == "" {
			break
		}
		if err := os.WriteFile(schedulerOf(c.node), []byte(p.scheduler), 0); err != nil {
			return err
		}
	}
	if err := copyFile("/proc/kallsyms", "kallsyms"); err != nil { // again: modules may have come
		return err
	}
	var all []bench.Window
	for _, j := range jobs {
		for i, c := range served {
			w, err := b.windowed(j, c, p.length(j))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", j.name, c.name, err)
			}
			w.Program = "kublk"
			if i < len(b.tools) {
				w.Program = b.tools[i].name
			}
			all = append(all, w)
			fmt.Printf("%s, %s: %.0f IOPS\n", w.Job, w.Contender, w.IOPS)
			text, err := json.MarshalIndent(all, "", " ") // each time: a run that is cut short is not lost
			if err == nil {
				err = os.WriteFile("windows.json", append(text, '\n'), 0o644)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// windowed runs a job, and opens a window inside it.
func (b *bencher) windowed(j job, c *contender, d time.Duration) (w bench.Window, err error) {
	if _, err := b.round(j, settled, []*contender{c}); err != nil { // an emulated CPU translates code when it first runs
		return w, err
	}
	var failed error
	b.begun = func() {
		// Not for good: a thread that ends takes along the servers that were started from it (Pdeathsig).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if failed = os.WriteFile("/proc/thread-self/comm", []byte(windowName), 0); failed != nil {
			return
		}
		sleep(settled)
		before, begin := c.usage(), time.Now()
		door(magic, openWindow, 0)
		sleep(d)
		door(magic, closeWindow, 0)
		w.Nanos = float64(time.Since(begin))
		w.Busy = float64(c.usage().cpu - before.cpu)
		w.Tasks, failed = tasks(c) // now: a ring may have started a worker meanwhile
	}
	defer func() { b.begun = nil }()
	samples, err := b.round(j, d+3*settled, []*contender{c})
	if err = errors.Join(err, failed); err != nil {
		return w, err
	}
	w.Sample = samples[0]
	w.Set = "profile"
	text, err := os.ReadFile(schedulerOf(c.node))
	if err != nil {
		return w, err
	}
	_, now, _ := strings.Cut(string(text), "[")
	w.Scheduler, _, _ = strings.Cut(now, "]")
	return w, nil
}

// sleep is the thread's, without the runtime's timers: they wake up more than the one who waits.
func sleep(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
	}
}

func (p profiling) length(j job) time.Duration {
	switch {
	case p.window > 0:
		return p.window
	case j.depth == 1:
		return 250 * time.Millisecond
	}
	return 100 * time.Millisecond
}

func pick(numbers string) ([]job, error) {
	if numbers == "" {
		return profileJobs, nil
	}
	var out []job
	for n := range strings.SplitSeq(numbers, ",") {
		i, err := strconv.Atoi(n)
		if err != nil || i < 1 || i > len(profileJobs) {
			return nil, fmt.Errorf("job %q: not one of 1 to %d", n, len(profileJobs))
		}
		out = append(out, profileJobs[i-1])
	}
	return out, nil
}

// symbol is the address of a function of the kernel.
func symbol(kallsyms, name string) (uint64, error) {
	for l := range strings.Lines(kallsyms) {
		if f := strings.Fields(l); len(f) >= 3 && f[2] == name {
			return strconv.ParseUint(f[0], 16, 64)
		}
	}
	return 0, fmt.Errorf("the kernel has no symbol %s", name)
}

// tasks is the names of a server's threads.
func tasks(c *contender) ([]string, error) {
	var out []string
	for _, pid := range c.pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
		for _, f := range files {
			text, err := os.ReadFile(f)
			if errors.Is(err, os.ErrNotExist) { // it has ended
				continue
			}
			if err != nil {
				return nil, err
			}
			if name := strings.TrimSuffix(string(text), "\n"); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the server has no threads")
	}
	return out, nil
}

func schedulerOf(node string) string {
	return filepath.Join("/sys/block", filepath.Base(node), "queue/scheduler")
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
