// Command vmrun runs a program on real kernels, each in a QEMU guest. See tests/vm/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ublk-go/ublk-linear/tests/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	go runOrphan(cancel)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	stop()
	os.Exit(code)
}

// runOrphan ends the run when "go run" is gone: a signal that ends it does not reach its child.
func runOrphan(cancel func()) {
	parent := os.Getppid()
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(comm)) != "go" {
		return
	}
	for os.Getppid() == parent {
		time.Sleep(500 * time.Millisecond)
	}
	cancel()
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return 2
	}
	if o.doctor {
		return doctor(ctx, o, stdout)
	}
	if err := vm.Install(ctx, o.needs, stderr); err != nil {
		fmt.Fprintln(stderr, "vmrun:", err)
		return 1
	}
	cache := &vm.Cache{Dir: o.cache, Log: stderr}
	var kernels []*vm.Kernel
	for _, s := range o.series {
		k, err := cache.Kernel(ctx, s, o.refresh)
		if err != nil {
			fmt.Fprintln(stderr, "vmrun:", err)
			return 1
		}
		kernels = append(kernels, k)
	}
	if o.prepare {
		for _, k := range kernels {
			fmt.Fprintf(stdout, "kernel %s: %s\n", k.Series, k.Release)
		}
		return 0
	}
	return runAll(ctx, o, kernels, stdout, stderr)
}

// runAll runs the job on every kernel, all at a time: one alone leaves half of two processors idle. Each is heard after those
// before it. It returns the first exit status that is not 0.
func runAll(ctx context.Context, o *options, kernels []*vm.Kernel, stdout, stderr io.Writer) int {
	outs, errs, codes := newTurns(stdout, len(kernels)), newTurns(stderr, len(kernels)), make([]int, len(kernels))
	var wg sync.WaitGroup
	for i, k := range kernels {
		wg.Go(func() {
			out, err := turn{outs, i}, turn{errs, i}
			codes[i] = runOn(ctx, o, k, out, err)
			err.end()
			out.end()
		})
	}
	wg.Wait()
	for _, c := range codes {
		if c != 0 {
			return c
		}
	}
	return 0
}

// runOn runs the job on one kernel and returns the exit status.
func runOn(ctx context.Context, o *options, k *vm.Kernel, stdout, stderr io.Writer) int {
	fmt.Fprintf(stdout, "== kernel %s\n", k.Release)
	m, j := o.machine, o.job
	m.Kernel, m.Log = k, stderr
	d := &digest{w: stdout}
	j.Output = d
	if j.Folder != "" && len(o.series) > 1 {
		j.Folder = filepath.Join(j.Folder, k.Series)
	}
	res, err := m.Run(ctx, j)
	if err != nil {
		fmt.Fprintf(stderr, "vmrun: %s: %v\n", k.Release, err)
	}
	how := "ok"
	code := res.ExitCode
	switch {
	case err != nil && errors.Is(err, context.Canceled):
		how, code = "interrupted", 130
	case err != nil && code <= 0:
		how, code = "FAIL", 1
	case err != nil || code != 0:
		how = "FAIL"
	}
	if how != "ok" {
		d.say(stdout)
	}
	fmt.Fprintf(stdout, "-- %s: exit %d, boot %.1f s, all %.1f s (%s)\n", how, res.ExitCode, res.Boot, res.Took.Seconds(), vm.Accel())
	return code
}

// doctor says what is there and what is missing.
func doctor(ctx context.Context, o *options, w io.Writer) int {
	code := 0
	missing := map[vm.Need]bool{}
	for _, n := range vm.Missing(ctx, o.needs) {
		missing[n] = true
	}
	for _, n := range o.needs {
		state := "ok"
		if missing[n] {
			state, code = "MISSING (package "+n.Package+")", 1
		}
		fmt.Fprintf(w, "%-20s %s\n", n.Program, state)
	}
	cache := &vm.Cache{Dir: o.cache}
	for _, s := range o.series {
		state := "not downloaded yet"
		if k := cache.Cached(s); k != nil {
			state = k.Release
		} else {
			code = 1
		}
		fmt.Fprintf(w, "%-20s %s\n", "kernel "+s.Name, state)
	}
	fmt.Fprintf(w, "%-20s %s\n", "accelerator", vm.Accel())
	fmt.Fprintf(w, "%-20s %s\n", "cache", o.cache)
	return code
}
