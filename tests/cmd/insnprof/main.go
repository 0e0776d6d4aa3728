// Command insnprof says which functions a server's request is made of, in instructions: ublk-linear's, beside those of other
// builds of it and of the kernel tree's C server. It boots a guest whose time is the number of its instructions, has devbench
// bring up the devices and load them, and has a plugin of QEMU's count instructions by block and by task for a while. Symbols
// are the guest kernel's and the programs' own. docs/performance.md says what the figures mean.
//
//	insnprof -tool ublk-linear=PATH [-tool NAME=PATH …] [-kublk PATH] [-scheduler none]
//	insnprof -read DIR            the tables of an earlier run again, from what it left in DIR
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options is the command line.
type options struct {
	tools     []tool // the first is the one that others stand beside
	kublk     string
	kernel    string
	cpus      int
	scheduler string
	jobs      string
	window    time.Duration
	delay     time.Duration
	timeout   time.Duration
	dir       string
	read      bool
	top       int
	differ    bool
}

// tool is a build of ublk-linear.
type tool struct{ name, path string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var o options
	flag.Func("tool", "`NAME=PATH` of a build of ublk-linear; others stand beside the first", func(s string) error {
		name, path, ok := strings.Cut(s, "=")
		if !ok || strings.Contains(name, "/") {
			return errors.New("not NAME=PATH")
		}
		o.tools = append(o.tools, tool{name, path})
		return nil
	})
	flag.StringVar(&o.kublk, "kublk", "", "`path` of the kernel's selftest server, to be profiled too")
	flag.StringVar(&o.kernel, "kernel", "7", "`series` to run on")
	flag.IntVar(&o.cpus, "cpus", 2, "processors of the guest")
	flag.StringVar(&o.scheduler, "scheduler", "as-is", "I/O scheduler of the devices: as-is, or a `name` that they are set to, such as none")
	flag.StringVar(&o.jobs, "jobs", "", "profile these `jobs` only, comma-separated: 1 is 4K random read QD1, 2 QD32, 3 4K random write QD32, 4 64K random read QD8, 5 1M sequential read QD4")
	flag.DurationVar(&o.window, "window", 0, "for how long instructions are counted (default 250ms with one request in flight, else 100ms)")
	flag.DurationVar(&o.delay, "delay", 0, "after which the disks answer (default at once)")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Minute, "of the guest")
	flag.StringVar(&o.dir, "results", "bin/profile", "`folder` for what the guest and the plugin leave, and for profile.json")
	flag.BoolVar(&o.read, "read", false, "run nothing: read what is in the folder of -results")
	flag.IntVar(&o.top, "top", 40, "functions of a table")
	flag.BoolVar(&o.differ, "differ", false, "functions in the order of how much they differ between the first and the last server, not of how much they have")
	flag.Parse()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "insnprof:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: not a flag", flag.Arg(0))
	}
	if len(o.tools) == 0 {
		o.tools = []tool{{"ublk-linear", "bin/ublk-linear"}}
	}
	if !o.read {
		if err := count(ctx, o); err != nil {
			return err
		}
	}
	all, err := profiles(o)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "profile.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	for _, t := range tables(all, o.top, o.differ) {
		fmt.Println(t)
	}
	return nil
}
