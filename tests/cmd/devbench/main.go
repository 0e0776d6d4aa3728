// Command devbench measures devices inside the guest: ublk-linear's against dm's, the bare disks, ublk's own ceiling and,
// where it is given, the kernel's C server. It needs root, null_blk, dm, ublk and fio; tests/cmd/vmrun brings all of it. The
// result is JSON, of which tests/cmd/benchreport makes tables and plots.
//
// Contenders are all up at once and take turns, in another order each round, so that whatever slows the machine down for a
// while slows all of them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// bencher is one run.
type bencher struct {
	bench.Result
	tools  []tool // the first is the one that is measured; others stand beside it
	kublk  string
	dir    string // in memory: configurations
	out    string
	rounds int
	steady time.Duration
	time   time.Duration // of one measurement
	delay  time.Duration // of the disks; 0: they answer at once
	seq    int           // of names
	ends   []func() error
	begun  func() // when a load begins, in profile
}

// tool is a build of ublk-linear, and how its server is started.
type tool struct {
	name, path string
	env        []string  // added to the environment
	stderr     io.Writer // nil: ours
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "null" {
		if err := serveNull(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "devbench null:", err)
			os.Exit(1)
		}
		return
	}
	b := &bencher{}
	flag.Func("tool", "`NAME=PATH` of a build of ublk-linear; the first one is named ublk-linear, others are measured beside it", func(s string) error {
		name, path, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("not NAME=PATH")
		}
		b.tools = append(b.tools, tool{name: name, path: path})
		return nil
	})
	flag.StringVar(&b.kublk, "kublk", "", "`path` of the kernel's selftest server, to be measured too")
	quick := flag.Bool("quick", false, "two rounds, and only a few points of what scales")
	only := flag.String("sets", "", "measure these `sets` only, comma-separated: "+strings.Join(setNames(), ", "))
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of every comparison")
	flag.DurationVar(&b.time, "time", 500*time.Millisecond, "of one measurement")
	flag.DurationVar(&b.steady, "steady", 20*time.Second, "of the run in which nothing must be allocated, for each data path")
	flag.DurationVar(&b.delay, "delay", 0, "after which the disks answer (null_blk's completion_nsec; default: at once)")
	flag.BoolVar(&b.Counted, "icount", false, "note that the guest's time is the number of its instructions (vmrun -icount)")
	var p profiling
	flag.BoolVar(&p.on, "profile", false, "no sets, but windows in which QEMU's plugin counts instructions (tests/cmd/insnprof)")
	flag.StringVar(&p.scheduler, "scheduler", "", "I/O `scheduler` of the devices that are profiled (default: as they have it)")
	flag.DurationVar(&p.window, "window", 0, "of a profile (default 250ms with one request in flight, else 100ms)")
	flag.StringVar(&p.jobs, "jobs", "", "profile these `jobs` only, comma-separated numbers from 1")
	flag.StringVar(&b.out, "out", "bench.json", "`file` for the result")
	flag.Parse()
	if *quick {
		b.rounds, b.time = 2, 200*time.Millisecond
	}
	if err := b.run(*only, *quick, p); err != nil {
		fmt.Fprintln(os.Stderr, "devbench:", err)
		os.Exit(1)
	}
}

func (b *bencher) run(only string, quick bool, p profiling) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if len(b.tools) == 0 {
		b.tools = []tool{{name: "ublk-linear", path: "ublk-linear"}}
	}
	if b.dir, err = os.MkdirTemp("/run", "devbench."); err != nil {
		return err
	}
	for i := range b.tools { // from memory, not from wherever the guest has it from
		to := filepath.Join(b.dir, fmt.Sprintf("tool%d", i))
		text, err := os.ReadFile(b.tools[i].path)
		if err == nil {
			err = os.WriteFile(to, text, 0o755)
		}
		if err != nil {
			return err
		}
		b.tools[i].path = to
	}
	uname, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	b.Kernel, b.CPUs, b.Go, b.Emulated = strings.TrimSpace(string(uname)), runtime.NumCPU(), runtime.Version(), emulated()
	if p.on {
		err := b.profile(p)
		return errors.Join(err, b.clear())
	}
	for _, s := range chosen {
		begin := time.Now()
		err := s.run(b, quick)
		err = errors.Join(err, b.clear(), b.save())
		fmt.Printf("%s: %v\n", s.name, time.Since(begin).Round(time.Second))
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// save writes what there is so far: a run that is cut short is not lost.
func (b *bencher) save() error {
	text, err := json.MarshalIndent(&b.Result, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.out, append(text, '\n'), 0o644)
}

// emulated says whether the guest's CPU is TCG's: QEMU names it so.
func emulated() bool {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Contains(string(text), "QEMU TCG")
}

// later registers what undoes something; clear does them, the last first.
func (b *bencher) later(f func() error) { b.ends = append(b.ends, f) }

func (b *bencher) clear() error {
	var errs error
	for _, f := range slices.Backward(b.ends) {
		errs = errors.Join(errs, f())
	}
	b.ends = nil
	return errs
}

func (b *bencher) add(s bench.Sample) { b.Samples = append(b.Samples, s) }

func (b *bencher) name(prefix string) string {
	b.seq++
	return fmt.Sprintf("%s%d", prefix, b.seq)
}
