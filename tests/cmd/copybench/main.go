// Command copybench times an emulated copy of a file disk against what else copies files: dd with its best block size, cp,
// and qemu-img convert, on the same files, in one run, interleaved. It prints the median of the paired ratios.
//
// Every copy ends with the data on the disk: flushed by the tool, or by sync behind it. With root the page cache is dropped
// before each.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	dir := flag.String("dir", os.TempDir(), "folder on the file system to measure")
	mib := flag.Int("size", 512, "MiB")
	rounds := flag.Int("rounds", 5, "rounds; every round times every tool once")
	tool := flag.String("tool", "ublk-linear", "the program")
	flag.Parse()
	if err := run(*dir, *mib, *rounds, *tool); err != nil {
		fmt.Fprintln(os.Stderr, "copybench:", err)
		os.Exit(1)
	}
}

// contender is a way to copy src to dst.
type contender struct {
	name string
	args func(src, dst string) []string
	then []string // what makes it durable
	took []time.Duration
}

func run(base string, mib, rounds int, tool string) (err error) {
	dir, err := os.MkdirTemp(base, "ublk-linear-copybench.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	src, dst, conf := filepath.Join(dir, "src.img"), filepath.Join(dir, "dst.img"), filepath.Join(dir, "bench.toml")
	sum, err := makeSource(src, mib)
	if err != nil {
		return err
	}
	n := fmt.Sprintf("%dMiB", mib)
	toml := fmt.Sprintf("version = 1\n[disk.s]\nfile = %q\n[disk.d]\nfile = %q\ncreate = %q\n", src, dst, n)
	for _, d := range []string{"s", "d"} {
		toml += fmt.Sprintf("[[device.%s.segment]]\ntype = \"linear\"\ndisk = %q\noffset = \"0B\"\nlength = %q\n", d, d, n)
	}
	if err := os.WriteFile(conf, []byte(toml), 0o600); err != nil {
		return err
	}
	if tool, err = filepath.Abs(tool); err != nil {
		return err
	}
	all := []*contender{{name: "ublk-linear copy", args: func(_, _ string) []string {
		return []string{tool, "copy", "-c", conf, "s:0B+" + n, "d:0B", "--fallback=emulate", "--progress=never"}
	}}}
	for _, bs := range []string{"64K", "256K", "1M", "4M", "16M"} {
		all = append(all, &contender{name: "dd bs=" + bs, args: func(src, dst string) []string {
			return []string{"dd", "if=" + src, "of=" + dst, "bs=" + bs, "iflag=direct", "oflag=direct", "conv=notrunc,fsync", "status=none"}
		}})
	}
	all = append(all,
		&contender{name: "cp", args: func(src, dst string) []string { return []string{"cp", src, dst} }, then: []string{"sync", dst}},
		&contender{name: "qemu-img convert", args: func(src, dst string) []string {
			return []string{"qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-t", "none", "-T", "none", "-m", "16", "-W", "-S", "0", src, dst}
		}, then: []string{"sync", dst}})
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return fmt.Errorf("%w (package qemu-utils)", err)
	}
	for r := range rounds + 1 { // the first warms up
		for i := range all {
			c := all[(i+r)%len(all)]
			took, err := c.time(src, dst)
			if err != nil {
				return err
			}
			if r > 0 {
				c.took = append(c.took, took)
			} else if got, err := sumOf(dst); err != nil || !bytes.Equal(got, sum) {
				return fmt.Errorf("%s did not copy: %w", c.name, errors.Join(err, errors.New("the files differ")))
			}
		}
	}
	report(all, mib)
	return nil
}

func makeSource(name string, mib int) ([]byte, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.Reader, int64(mib)<<20); err != nil {
		return nil, err
	}
	return h.Sum(nil), f.Sync()
}

func sumOf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// time copies once.
func (c *contender) time(src, dst string) (time.Duration, error) {
	_ = exec.Command("sync").Run()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) // only root may
	begin := time.Now()
	for _, args := range [][]string{c.args(src, dst), c.then} {
		if len(args) == 0 {
			continue
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return time.Since(begin), nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func report(all []*contender, mib int) {
	ours := all[0].took
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "copy of %d MiB, %d rounds\tMiB/s, median\tours : it, median\tleast\tmost\t\n", mib, len(ours))
	row := func(name string, took []time.Duration) {
		var speed, ratio []float64
		for i, d := range took {
			speed = append(speed, float64(mib)/d.Seconds())
			ratio = append(ratio, d.Seconds()/ours[i].Seconds())
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t\n", name, median(speed), median(ratio), slices.Min(ratio), slices.Max(ratio))
	}
	best := slices.Clone(all[1].took)
	for _, c := range all {
		row(c.name, c.took)
		if c != all[0] {
			for i, d := range c.took {
				best[i] = min(best[i], d)
			}
		}
	}
	row("best of the others, per round", best)
	_ = w.Flush()
}
