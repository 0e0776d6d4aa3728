package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/vm"
)

// options is the command line.
type options struct {
	prepare, doctor, refresh bool

	cache   string
	series  []vm.Series
	needs   []vm.Need
	machine vm.Machine // all but the kernel
	job     vm.Job     // all but the output
}

func parseFlags(args []string, stderr io.Writer) (*options, error) {
	o := &options{needs: vm.Needs()}
	fs := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "usage: vmrun [flags] -- PROGRAM ARGS…\n       vmrun -prepare | -doctor [flags]\n\nPROGRAM is a static binary or a script. It runs as root in a folder of its own, which is shared with the host.")
		fs.PrintDefaults()
	}
	kernel := fs.String("kernel", "all", "`series` to run on, comma-separated: "+strings.Join(seriesNames(), ", ")+", or all")
	fs.BoolVar(&o.prepare, "prepare", false, "only install programs and download kernels")
	fs.BoolVar(&o.doctor, "doctor", false, "only say what is there and what is missing")
	fs.BoolVar(&o.refresh, "refresh", false, "look for newer kernels")
	fs.StringVar(&o.cache, "cache", "", "`folder` of the kernels (default $XDG_CACHE_HOME/ublk-linear)")
	fs.IntVar(&o.machine.CPUs, "cpus", 2, "processors of the guest")
	fs.BoolVar(&o.machine.Counted, "icount", false, "the guest's time is the number of its instructions (QEMU's -icount): slow, and undisturbed by what else runs")
	fs.StringVar(&o.machine.Memory, "mem", "4G", "memory of the guest")
	fs.DurationVar(&o.machine.Timeout, "timeout", 20*time.Minute, "of the run on one kernel")
	fs.StringVar(&o.job.Folder, "results", "", "`folder` to share with the guest; with several kernels, a subfolder of it for each (default a temporary one)")
	fs.StringVar(&o.job.Dir, "dir", "", "working `folder` in the guest (default the shared one)")
	fs.Func("drive", "`disk` of the guest, as nvme:size=1G,lbs=4096,mssrl=16,mcl=40,msrc=3,serial=a,ctrl=x or virtio:size=1G; may be repeated", func(s string) error {
		d, err := vm.ParseDrive(s)
		o.machine.Drives = append(o.machine.Drives, d)
		return err
	})
	list(fs, "file", "`path` of a file or folder to put beside PROGRAM; may be repeated", &o.job.Files)
	list(fs, "module", "kernel module to load first; may be repeated", &o.machine.Modules)
	list(fs, "append", "`word` for the kernel's command line; may be repeated", &o.machine.Append)
	list(fs, "qemu", "further `argument` for QEMU; may be repeated", &o.machine.QEMU)
	fs.Func("env", "`KEY=VALUE` for the job; may be repeated", func(s string) error {
		if k, _, ok := strings.Cut(s, "="); !ok || k == "" {
			return errors.New("not KEY=VALUE")
		}
		o.job.Env = append(o.job.Env, s)
		return nil
	})
	fs.Func("expect", "`regexp` of kernel messages that are no failure; may be repeated", func(s string) error {
		re, err := regexp.Compile(s)
		o.machine.Expect = append(o.machine.Expect, re)
		return err
	})
	fs.Func("need", "`PROGRAM=PACKAGE` to install when missing, besides the usual; may be repeated", func(s string) error {
		n, err := vm.ParseNeed(s)
		o.needs = append(o.needs, n)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	err := o.finish(*kernel, fs.Args())
	if err != nil {
		fmt.Fprintln(stderr, "vmrun:", err)
	}
	return o, err
}

// finish takes what takes more than one flag to understand.
func (o *options) finish(kernel string, rest []string) error {
	var errs error
	for name := range strings.SplitSeq(kernel, ",") {
		found := false
		for _, s := range vm.AllSeries() {
			if name == "all" || name == s.Name {
				o.series, found = append(o.series, s), true
			}
		}
		if !found {
			errs = errors.Join(errs, fmt.Errorf("kernel %q: not one of %s, all", name, strings.Join(seriesNames(), ", ")))
		}
	}
	if o.cache == "" {
		dir, err := vm.DefaultCacheDir()
		errs = errors.Join(errs, err)
		o.cache = dir
	}
	switch {
	case o.prepare || o.doctor:
		if len(rest) > 0 {
			errs = errors.Join(errs, errors.New("program given, but nothing is to be run"))
		}
	case len(rest) == 0:
		errs = errors.Join(errs, errors.New("no program given"))
	default:
		o.job.Program, o.job.Args = rest[0], rest[1:]
	}
	return errs
}

func seriesNames() []string {
	var names []string
	for _, s := range vm.AllSeries() {
		names = append(names, s.Name)
	}
	return names
}

// list adds a flag that may be repeated.
func list(fs *flag.FlagSet, name, usage string, to *[]string) {
	fs.Func(name, usage, func(s string) error {
		*to = append(*to, s)
		return nil
	})
}
