package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

func TestKallsyms(t *testing.T) {
	s, err := kallsyms(`0000000000000000 A absolute
ffffffff81000200 t third
ffffffff81000000 T _text
ffffffff81000000 T first
ffffffff81000100 t second
ffffffff81000300 d data
ffffffffc0001000 t last	[ublk_drv]
`)
	if err != nil {
		t.Fatal(err)
	}
	for va, want := range map[uint64]string{
		0xffffffff80ffffff:             "",
		0xffffffff81000000:             "_text",
		0xffffffff810000ff:             "_text",
		0xffffffff81000100:             "second",
		0xffffffff81000301:             "third", // data is no function
		0xffffffff81000200 + farthest:  "",
		0xffffffffc0001004:             "last [ublk_drv]",
		0xffffffffc0001000 + farthest:  "",
		0x401000:                       "",
		0xffffffffc0001000 + 1<<10 - 1: "last [ublk_drv]",
	} {
		if got, ok := s.at(va); got != want || ok != (want != "") {
			t.Errorf("%x: %q, %v; want %q", va, got, ok, want)
		}
	}
	for text, why := range map[string]string{
		"0000000000000000 T _text\n0000000000000000 T first\n": "addresses are hidden",
		"":        "there is nothing",
		"x T y\n": "that is no address",
	} {
		if _, err := kallsyms(text); err == nil {
			t.Errorf("%q: no error, and %s", text, why)
		}
	}
}

func TestProgram(t *testing.T) {
	needGCC(t)
	for flag, low := range map[string]uint64{"-no-pie": 0x400000, "-pie": loadedAt} {
		out := filepath.Join(t.TempDir(), "guest")
		if said, err := exec.Command("gcc", flag, "-o", out, "testdata/guest.c", "plugin/plugin.c").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		s, err := program(out)
		if err != nil {
			t.Fatal(err)
		}
		at, err := address(out, "main")
		if err != nil || at < low || at > low+1<<20 {
			t.Fatalf("%s: main is at %x, %v", flag, at, err)
		}
		if name, ok := s.at(at + 5); !ok || name != "main" {
			t.Errorf("%s: %x is in %q", flag, at+5, name)
		}
		if _, err := address(out, "no_such"); err == nil {
			t.Error("a function that is not there has an address")
		}
	}
	if _, err := program("testdata/guest.c"); err == nil {
		t.Error("a text is a program")
	}
}
