package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// account is which system calls a server makes for an I/O: strace counts them for a while. It slows the server down, so that
// more requests wait together than would without; the times of such a run are not kept.
func account(b *bencher, _ bool) error {
	if _, err := exec.LookPath("strace"); err != nil {
		fmt.Println("account: no strace, left out")
		return nil
	}
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
	for _, j := range []job{read1, read32} {
		for _, c := range l.all {
			if len(c.pids) == 0 {
				continue
			}
			s, err := b.counted(j, c)
			if err != nil {
				return err
			}
			b.add(s)
			fmt.Printf("account, %s, %s: %v\n", j.name, c.name, s.Calls)
		}
	}
	return nil
}

// counted runs a job with strace on the server.
func (b *bencher) counted(j job, c *contender) (bench.Sample, error) {
	if _, err := b.round(j, 200*time.Millisecond, []*contender{c}); err != nil {
		return bench.Sample{}, err
	}
	file := filepath.Join(b.dir, b.name("strace"))
	cmd := exec.Command("strace", "-f", "-c", "-o", file, "-p", strconv.Itoa(c.pids[0]))
	if err := cmd.Start(); err != nil {
		return bench.Sample{}, err
	}
	time.Sleep(2 * time.Second) // until it has hold of every thread
	got, err := b.round(j, 2*time.Second, []*contender{c})
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // by the signal
	if err != nil {
		return bench.Sample{}, err
	}
	s := bench.Sample{Set: "account", Job: j.name, Contender: c.name, Requests: got[0].Requests, Calls: map[string]float64{}}
	text, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	for l := range strings.Lines(string(text)) {
		f := strings.Fields(l) // % time, seconds, usecs/call, calls, [errors,] syscall
		if len(f) < 5 {
			continue
		}
		if n, err := strconv.ParseFloat(f[3], 64); err == nil && f[len(f)-1] != "total" {
			s.Calls[f[len(f)-1]] = n / s.Requests
		}
	}
	return s, nil
}
