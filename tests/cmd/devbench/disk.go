package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nullBlk makes a null_blk disk and returns its node. Without memory it takes any data and returns none, at once: what is
// measured is all that is above it.
func (b *bencher) nullBlk(mib int, memory bool, more ...[2]string) (string, error) {
	name := b.name("b")
	dir := filepath.Join("/sys/kernel/config/nullb", name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	attrs := [][2]string{{"size", strconv.Itoa(mib)}, {"irqmode", "0"}, {"submit_queues", "2"}}
	if b.delay > 0 { // a timer completes requests, as an interrupt does
		attrs = append(attrs, [2]string{"irqmode", "2"}, [2]string{"completion_nsec", strconv.FormatInt(int64(b.delay), 10)})
	}
	if memory {
		attrs = append(attrs, [2]string{"memory_backed", "1"}, [2]string{"discard", "1"})
	}
	for _, a := range slices.Concat(attrs, more, [][2]string{{"power", "1"}}) {
		if err := os.WriteFile(filepath.Join(dir, a[0]), []byte(a[1]), 0); err != nil {
			return "", err
		}
	}
	b.later(func() error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "power"), []byte("0"), 0), os.Remove(dir))
	})
	index, err := os.ReadFile(filepath.Join(dir, "index"))
	if err != nil {
		return "", err
	}
	for _, node := range []string{"/dev/" + name, "/dev/nullb" + strings.TrimSpace(string(index))} { // the folder's name since 6.11 or so
		if _, err := os.Stat(node); err == nil {
			return node, nil
		}
	}
	return "", fmt.Errorf("null_blk %s has no node", name)
}

// disks makes n of them.
func (b *bencher) disks(n, mib int, memory bool) ([]string, error) {
	var out []string
	for range n {
		d, err := b.nullBlk(mib, memory)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// dm makes a device-mapper device.
func (b *bencher) dm(contenderName, table string) (*contender, error) {
	name := b.name("bench")
	cmd := exec.Command("dmsetup", "create", name, "--noudevsync")
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("dmsetup create: %w: %s", err, out)
	}
	b.later(func() error {
		var out []byte
		var err error
		for range 50 { // the last reference may take a moment to go
			if out, err = exec.Command("dmsetup", "remove", "--noudevsync", name).CombinedOutput(); err == nil {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return fmt.Errorf("dmsetup remove %s: %w: %s", name, err, out)
	})
	minor, err := exec.Command("dmsetup", "info", "-c", "--noheadings", "-o", "minor", name).Output()
	return &contender{name: contenderName, node: "/dev/dm-" + strings.TrimSpace(string(minor))}, err
}

// striped is a dm table over disks from their start on.
func striped(disks []string, chunk, sectors int) string {
	t := fmt.Sprintf("0 %d striped %d %d", sectors*len(disks), len(disks), chunk)
	for _, d := range disks {
		t += " " + d + " 0"
	}
	return t
}

// segments is n linear targets of 64 sectors that change disks, so that nothing can be merged.
func segments(disks []string, n int) string {
	var t strings.Builder
	for i := range n {
		fmt.Fprintf(&t, "%d 64 linear %s %d\n", i*64, disks[i%2], i/2*64)
	}
	return t.String()
}
