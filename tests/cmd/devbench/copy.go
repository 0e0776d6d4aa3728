package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

const copyMiB = 128

// way is one that copies so many MiB: commands, one after the other. The last makes the copy durable, if none before has.
type way struct {
	name   string
	args   [][]string
	server *contender // that does it, or serves what is copied; nil: none
	report bool       // the first command prints what it did as JSON
	mib    int
	src    place // what is read and written, to see that the copy is one
	dst    place
}

// place is a byte of a block device.
type place struct {
	node string
	at   int64
}

// copied is what `ublk-linear copy --json` says.
type copied struct {
	Commands float64 `json:"commands"`
	Host     float64 `json:"host_bytes"`
}

// bulk is copies between two disks in memory, and on NVMe disks that copy by themselves, where the guest has them.
func bulk(b *bencher, _ bool) error {
	if err := b.bulkMemory(); err != nil {
		return err
	}
	if err := b.clear(); err != nil {
		return err
	}
	return b.bulkNVMe()
}

func (b *bencher) bulkMemory() error {
	d, err := b.disks(2, copyMiB, true)
	if err != nil {
		return err
	}
	n := copyMiB << 11
	s, err := b.copyServer(d, fmt.Sprintf("0 %d linear d0 0", n), fmt.Sprintf("0 %d linear d1 0", n))
	if err != nil {
		return err
	}
	x, y := s.nodes[0], s.nodes[1]
	all := []*way{b.ours("ublk-linear copy", s, copyMiB, place{node: d[0]}, place{node: d[1]}, "v0:0s", "v1:0s")}
	for _, bs := range []string{"64K", "256K", "1M", "4M"} {
		all = append(all, dd("dd bs="+bs, bs, copyMiB, place{node: d[0]}, place{node: d[1]}))
	}
	served := dd("dd bs=1M, of the served devices", "1M", copyMiB, place{node: x}, place{node: y})
	served.server = s
	all = append(all, served,
		&way{name: "cp", args: [][]string{{"cp", d[0], d[1]}, {"sync", d[1]}}, mib: copyMiB, src: place{node: d[0]}, dst: place{node: d[1]}})
	if _, err := exec.LookPath("qemu-img"); err == nil {
		all = append(all, &way{name: "qemu-img convert", mib: copyMiB, src: place{node: d[0]}, dst: place{node: d[1]}, args: [][]string{
			{"qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-t", "none", "-T", "none", "-m", "16", "-W", "-S", "0", d[0], d[1]}, {"sync", d[1]}}})
	} else {
		fmt.Println("copy: no qemu-img, left out (package qemu-utils, on the host)")
	}
	return b.copies(fmt.Sprintf("disk to disk, in memory, %d MiB", copyMiB), all)
}

// copyServer serves tables over disks as v0, v1 and so on.
func (b *bencher) copyServer(disks []string, tables ...string) (*contender, error) {
	c := newConfig(disks)
	for i, t := range tables {
		c.device(fmt.Sprintf("v%d", i), "zero-copy", 1, t)
	}
	return b.up(b.tools[0], b.tools[0].name, c, len(tables))
}

// ours is a copy by the server of a file, which the command asks for it.
func (b *bencher) ours(name string, s *contender, mib int, src, dst place, from, to string, flags ...string) *way {
	args := append([]string{b.tools[0].path, "copy", "-c", s.file, fmt.Sprintf("%s+%dMiB", from, mib), to, "--json", "--progress=never"}, flags...)
	return &way{name: name, args: [][]string{args}, server: s, report: true, mib: mib, src: src, dst: dst}
}

// dd copies past the page cache, and has the disk flush in the end.
func dd(name, bs string, mib int, src, dst place) *way {
	return &way{name: name, mib: mib, src: src, dst: dst, args: [][]string{{"dd", "if=" + src.node, "of=" + dst.node, "bs=" + bs,
		fmt.Sprintf("count=%dM", mib), fmt.Sprintf("skip=%d", src.at), fmt.Sprintf("seek=%d", dst.at), "iflag=direct,count_bytes,skip_bytes", "oflag=direct,seek_bytes", "conv=notrunc,fsync", "status=none"}}}
}

// copies measures every way, round by round, beginning with another each round. The round before the first warms up, and
// there the copy is looked at.
func (b *bencher) copies(job string, all []*way) error {
	for _, w := range all {
		if err := w.proved(); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for r := range b.rounds {
		for _, w := range slices.Concat(all[r%len(all):], all[:r%len(all)]) {
			s, err := w.once()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			s.Set, s.Job, s.Round = "copy", job, r
			b.add(s)
			fmt.Printf("copy, %s, %s, round %d: %.3f s, %.0f MiB/s, CPU %.0f us/MiB, %.0f commands, %.0f MiB through the host\n", job, w.name, r, s.Seconds, s.MiBs, s.CPUMiB, s.Commands, s.HostMiB)
		}
	}
	return b.save()
}

// once copies, with nothing of the disks in the page cache.
func (w *way) once() (bench.Sample, error) {
	s := bench.Sample{Contender: w.name}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return s, err
	}
	var cpu time.Duration
	if w.server != nil {
		cpu -= w.server.usage().cpu
	}
	begin := time.Now()
	for i, args := range w.args {
		var out, say bytes.Buffer
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &say
		if err := cmd.Run(); err != nil {
			return s, fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, &out, &say)
		}
		cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if i > 0 || !w.report {
			continue
		}
		var c copied
		if err := json.Unmarshal(out.Bytes(), &c); err != nil {
			return s, err
		}
		s.Commands, s.HostMiB = c.Commands, c.Host/(1<<20)
	}
	s.Seconds = time.Since(begin).Seconds()
	if w.server != nil {
		cpu += w.server.usage().cpu
	}
	s.MiBs, s.CPUMiB = float64(w.mib)/s.Seconds, cpu.Seconds()*1e6/float64(w.mib)
	return s, nil
}

// proved copies what was not there before, and compares.
func (w *way) proved() error {
	was, err := w.src.read(w.mib)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for at := 0; at < len(was); at += 1 << 20 { // a block of each MiB is another one now
		_, _ = rand.Read(block)
		copy(was[at:], block)
	}
	if err := w.src.write(was); err != nil {
		return err
	}
	if _, err := w.once(); err != nil {
		return err
	}
	is, err := w.dst.read(w.mib)
	if err == nil && !bytes.Equal(was, is) {
		err = errors.New("the destination is not what the source was")
	}
	return err
}
