package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// contender is a block device and the processes that serve it.
type contender struct {
	name  string
	node  string
	nodes []string // of a server of several devices, in order
	pids  []int
	file  string // the configuration of a server of ours

	// beside goes on while the contender is measured, until ctx ends; nil: nothing. It calls ready when it is under way.
	beside func(ctx context.Context, ready func()) (aside, error)
}

// files is the devices that are used: all of them.
func (c *contender) files() []string {
	if len(c.nodes) > 0 {
		return c.nodes
	}
	return []string{c.node}
}

// config is a file of ublk-linear: disks at paths, named d0, d1 and so on, and devices.
type config struct{ text strings.Builder }

func newConfig(disks []string) *config {
	c := &config{}
	c.text.WriteString("version = 1\n")
	for i, d := range disks {
		fmt.Fprintf(&c.text, "[disk.d%d]\npath = %q\nunstable_path = true\n", i, d)
	}
	return c
}

// device adds one, of dmsetup's words.
func (c *config) device(name, path string, queues int, table string) *config {
	fmt.Fprintf(&c.text, "[device.%s]\nqueues = %d\ndata_path = %q\ntable = \"\"\"\n%s\n\"\"\"\n", name, queues, path, strings.TrimSpace(table))
	return c
}

// named is the disks' names in a configuration.
func named(disks []string) []string {
	out := make([]string, len(disks))
	for i := range disks {
		out[i] = fmt.Sprintf("d%d", i)
	}
	return out
}

// up serves a configuration of n devices.
func (b *bencher) up(t tool, name string, c *config, n int) (*contender, error) {
	dir := filepath.Join(b.dir, b.name("c"))
	file := filepath.Join(dir, "bench.toml")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(c.text.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(t.path, "up", "-c", file)
	cmd.Env, cmd.Stderr = append(os.Environ(), t.env...), t.stderr
	s, err := b.serve(name, n, func() error {
		if out, err := exec.Command(t.path, "down", "-c", file).CombinedOutput(); err != nil {
			return fmt.Errorf("down: %w: %s", err, out)
		}
		return nil
	}, cmd)
	if s != nil {
		s.file = file
	}
	return s, err
}

// serve starts a server that prints a line for each device, the node last, and serves until it is stopped.
func (b *bencher) serve(name string, n int, stop func() error, cmd *exec.Cmd) (*contender, error) {
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &contender{name: name, pids: []int{cmd.Process.Pid}}
	for sc := bufio.NewScanner(out); len(c.nodes) < n && sc.Scan(); {
		f := strings.Fields(sc.Text())
		c.nodes = append(c.nodes, f[len(f)-1])
	}
	b.later(func() error {
		if stop == nil {
			stop = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		}
		err := stop()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		return errors.Join(err, cmd.Wait())
	})
	if len(c.nodes) < n {
		return nil, fmt.Errorf("%s serves %d of %d devices", name, len(c.nodes), n)
	}
	c.node = c.nodes[0]
	return c, nil
}

// ceiling is a device of package ublk that has no disk (null.go).
func (b *bencher) ceiling(name, path string, queues int) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.serve(name, 1, nil, exec.Command(self, "null", "-path", path, "-queues", strconv.Itoa(queues)))
}

// bare takes the I/O scheduler from a contender's device. The kernel gives one to a device of a single queue; ublk-linear's have none.
func bare(c *contender, err error) (*contender, error) {
	if c == nil || err != nil {
		return c, err
	}
	return c, os.WriteFile(filepath.Join("/sys/block", filepath.Base(c.node), "queue/scheduler"), []byte("none"), 0)
}

var daemonPID = regexp.MustCompile(`daemon pid (\d+)`)

// kernelServer is a device of the kernel's selftest server; nil when there is none to measure.
func (b *bencher) kernelServer(name string, queues int, args ...string) (*contender, error) {
	if b.kublk == "" {
		return nil, nil
	}
	b.seq++
	id := strconv.Itoa(100 + b.seq)
	out, err := exec.Command(b.kublk, append([]string{"add", "-n", id, "-q", strconv.Itoa(queues), "-d", "128", "-t"}, args...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("kublk add: %w: %s", err, out)
	}
	b.later(func() error {
		if out, err := exec.Command(b.kublk, "del", "-n", id).CombinedOutput(); err != nil {
			return fmt.Errorf("kublk del: %w: %s", err, out)
		}
		return nil
	})
	c := &contender{name: name, node: "/dev/ublkb" + id}
	m := daemonPID.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("kublk add says no process: %s", out)
	}
	pid, _ := strconv.Atoi(string(m[1]))
	c.pids = []int{pid}
	for range 100 {
		if _, err = os.Stat(c.node); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return c, err
}
