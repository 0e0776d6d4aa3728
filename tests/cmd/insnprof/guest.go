package main

import (
	"context"
	_ "embed" // the plugin's source
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/vm"
)

//go:embed plugin/plugin.c
var source string

// compile builds the plugin. It links with nothing of QEMU's: what it calls is found when QEMU loads it.
func compile(ctx context.Context, out string) error {
	cmd := exec.CommandContext(ctx, "gcc", "-x", "c", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-o", out, "-")
	cmd.Stdin = strings.NewReader(source)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("plugin: %w: %s", err, said)
	}
	return nil
}

// count runs devbench in a guest whose instructions are counted.
func count(ctx context.Context, o *options) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plugin, bench, counts := filepath.Join(dir, "plugin.so"), filepath.Join(dir, "devbench"), filepath.Join(dir, countsFile)
	if err := compile(ctx, plugin); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bench, "./tests/cmd/devbench")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("devbench: %w: %s", err, said)
	}
	door, err := address(bench, "main.door")
	if err != nil {
		return err
	}
	if err := vm.Install(ctx, append(vm.Needs(), vm.Need{Program: "gcc", Package: "build-essential"}), os.Stderr); err != nil {
		return err
	}
	m := &vm.Machine{
		CPUs: o.cpus, Counted: true, Timeout: o.timeout, Log: os.Stderr,
		// The plugin knows its functions by address, and so do symbols.
		Append: []string{"nokaslr", "norandmaps"},
		QEMU:   []string{"-plugin", fmt.Sprintf("%s,door=%x,out=%s", escape(plugin), door, escape(counts))},
	}
	if m.Kernel, err = kernel(ctx, o.kernel); err != nil {
		return err
	}
	j := vm.Job{Program: bench, Folder: dir, Output: os.Stderr, Args: []string{"-profile", "-icount", "-window", o.window.String(), "-delay", o.delay.String(), "-jobs", o.jobs}}
	if o.scheduler != "as-is" {
		j.Args = append(j.Args, "-scheduler", o.scheduler)
	}
	for _, t := range o.tools {
		if err := copyFile(t.path, o.server(t.name)); err != nil {
			return err
		}
		j.Args = append(j.Args, "-tool", t.name+"=/run/results/"+filepath.Base(o.server(t.name)))
	}
	if o.kublk != "" {
		if err := copyFile(o.kublk, o.server("kublk")); err != nil {
			return err
		}
		j.Args = append(j.Args, "-kublk", "/run/results/"+filepath.Base(o.server("kublk")))
	}
	res, err := m.Run(ctx, j)
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("devbench: exit %d", res.ExitCode)
	}
	return nil
}

// server is where the guest has a program from: builds have the same name where they are built, and are read again later.
func (o *options) server(name string) string { return filepath.Join(o.dir, "server-"+name) }

func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// kernel is one of vmrun's.
func kernel(ctx context.Context, name string) (*vm.Kernel, error) {
	dir, err := vm.DefaultCacheDir()
	if err != nil {
		return nil, err
	}
	for _, s := range vm.AllSeries() {
		if s.Name == name {
			return (&vm.Cache{Dir: dir, Log: os.Stderr}).Kernel(ctx, s, false)
		}
	}
	return nil, fmt.Errorf("kernel %q: no such series", name)
}

// copyFile copies a program. An older one may be somebody's running program.
func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}
