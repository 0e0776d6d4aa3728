package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func twoFiles(t *testing.T, mib int) (src, dst place) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []*place{&src, &dst} {
		p.node = filepath.Join(dir, map[bool]string{true: "src", false: "dst"}[p == &src])
		if err := os.WriteFile(p.node, make([]byte, mib<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return src, dst
}

// A way that does not copy, or not to where it should, is not measured.
func TestProved(t *testing.T) {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Skip("needs root: ", err)
	}
	src, dst := twoFiles(t, 12)
	dst.at = 6 << 20
	good := dd("dd", "1M", 5, src, dst)
	if err := good.proved(); err != nil {
		t.Fatal(err)
	}
	s, err := good.once()
	if err != nil || s.Seconds <= 0 || s.CPUMiB <= 0 || s.MiBs <= 0 || s.Contender != "dd" {
		t.Errorf("%+v, %v", s, err)
	}
	for name, bad := range map[string]*way{
		"nothing":       {mib: 5, src: src, dst: dst, args: [][]string{{"true"}}},
		"elsewhere":     {mib: 5, src: src, dst: dst, args: dd("", "1M", 5, src, place{dst.node, 5 << 20}).args},
		"not all":       {mib: 5, src: src, dst: dst, args: dd("", "1M", 4, src, dst).args},
		"a failure":     {mib: 5, src: src, dst: dst, args: [][]string{{"false"}}},
		"then":          {mib: 5, src: src, dst: dst, args: append(dd("", "1M", 5, src, dst).args, []string{"false"})},
		"no JSON of it": {mib: 5, src: src, dst: dst, args: dd("", "1M", 5, src, dst).args, report: true},
	} {
		if bad.proved() == nil {
			t.Errorf("%s: counts as a copy", name)
		}
	}
}

// The baseline of small copies copies.
func TestPair(t *testing.T) {
	src, dst := twoFiles(t, 4)
	want := bytes.Repeat([]byte{1, 2, 3, 4}, 4<<20/4)
	if err := src.write(want); err != nil {
		t.Fatal(err)
	}
	dst.at = 1 << 20
	do, end, err := pair(src, dst)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(8192, 4096, 16384); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dst.node)
	if err != nil {
		t.Fatal(err)
	}
	at := 1<<20 + 4096
	if !bytes.Equal(got[at:at+16384], want[8192:8192+16384]) || len(bytes.Trim(got[:at], "\x00")) > 0 || len(bytes.Trim(got[at+16384:], "\x00")) > 0 {
		t.Error("not copied, or more than that")
	}
}
