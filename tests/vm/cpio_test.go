package vm

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCpioGolden(t *testing.T) {
	var b bytes.Buffer
	c := newCpioWriter(&b)
	c.File("/init", 0o755, []byte("#!/bin/sh\n"))
	c.File("modules/a.ko", 0o644, []byte("abcd"))
	c.File("modules/b.ko", 0o644, nil)
	c.Device("dev/console", 5, 1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/initramfs.cpio"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// TestCpioList has another implementation read the archive.
func TestCpioList(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio to compare with")
	}
	var b bytes.Buffer
	c := newCpioWriter(&b)
	c.File("init", 0o755, []byte("x"))
	c.File("a/b/c.ko", 0o644, bytes.Repeat([]byte("y"), 4097))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	if diff := cmp.Diff("init\na\na/b\na/b/c.ko\n", string(out)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestCpioError(t *testing.T) {
	c := newCpioWriter(brokenWriter{})
	c.File("init", 0o755, []byte("x"))
	if err := c.Close(); !errors.Is(err, errBroken) {
		t.Errorf("error %v, want %v", err, errBroken)
	}
}
