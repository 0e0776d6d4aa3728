package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/conform"
)

// conformDoc is what docs/conform.md promises.
type conformDoc struct {
	Schema  int `json:"schema"`
	Reports []struct {
		Schema int `json:"schema"`
		Target struct {
			Name   string `json:"name"`
			Method string `json:"method"`
			Block  uint64 `json:"logical_block_bytes"`
			Length uint64 `json:"region_bytes"`
			Start  uint64 `json:"region_start_bytes"`
			MSSRL  uint64 `json:"mssrl"`
			MCL    uint64 `json:"mcl"`
			Ranges uint64 `json:"ranges"`
		} `json:"target"`
		Seed      uint64 `json:"seed"`
		Conform   int    `json:"conform"`
		Differ    int    `json:"differ"`
		Skipped   int    `json:"not_applicable"`
		Complete  bool   `json:"complete"`
		Scenarios []struct {
			Name     string  `json:"name"`
			Expected string  `json:"expected"`
			Why      string  `json:"why"`
			Ref      string  `json:"ref"`
			Judged   string  `json:"judged"`
			Outcome  string  `json:"outcome"`
			Happened string  `json:"happened"`
			Seconds  float64 `json:"seconds"`
		} `json:"scenarios"`
		Surroundings *struct {
			Untouched bool `json:"untouched"`
			Parts     []struct {
				Start  uint64 `json:"start"`
				Bytes  uint64 `json:"bytes"`
				Before string `json:"sha256_before"`
				After  string `json:"sha256_after"`
			} `json:"parts"`
			Changed []struct {
				Start uint64 `json:"start"`
				Bytes uint64 `json:"bytes"`
			} `json:"changed"`
		} `json:"surroundings"`
	} `json:"reports"`
}

// TestConform: the model conforms, in every form that a report has.
func TestConform(t *testing.T) {
	dir := t.TempDir()
	junit, page := filepath.Join(dir, "x.xml"), filepath.Join(dir, "x.html")
	code, out, errs := cli(t, "conform", "--target", "model", "--rounds", "20", "--seed", "9", "--json", "--junit", junit, "--html", page)
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var doc conformDoc
	oneObject(t, out, &doc)
	if r := doc.Reports[0]; r.Conform != len(conform.Scenarios()) || !r.Complete || r.Seed != 9 || r.Surroundings != nil {
		t.Errorf("%+v", r)
	}
	var suite struct {
		Tests int `xml:"tests,attr"`
	}
	b, err := os.ReadFile(junit)
	if err := errors.Join(err, xml.Unmarshal(b, &suite)); err != nil || suite.Tests != len(conform.Scenarios()) {
		t.Error(err, suite)
	}
	if b, err := os.ReadFile(page); err != nil || !strings.HasSuffix(string(b), "</html>\n") {
		t.Error(err)
	}
	code, out, errs = cli(t, "conform", "--target", "model", "--only", "one-range,device-end", "--progress", "always")
	if code != exitOK || !strings.Contains(out, "\n  conforms  one-range\n  conforms  device-end\n") || strings.Count(errs, "\r") != 4 {
		t.Errorf("exit code %d: %q %q", code, out, errs)
	}
	code, out, _ = cli(t, "conform", "--list")
	for _, s := range conform.Scenarios() {
		if code != exitOK || !strings.Contains(out, s.Name+"\n    expected  "+s.Expect+"\n") {
			t.Errorf("exit code %d, no %s", code, s.Name)
		}
	}
}

// TestConformDirectory: files are made, judged and removed.
func TestConformDirectory(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := cli(t, "conform", "--directory", dir, "--rounds", "5", "--json")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var doc conformDoc
	oneObject(t, out, &doc)
	if left, _ := os.ReadDir(dir); len(left) > 0 || len(doc.Reports)+strings.Count(errs, "not run") != 2 {
		t.Errorf("%d reports, left %v: %s", len(doc.Reports), left, errs)
	}
	if code, out, errs := cli(t, "conform", "--directory", filepath.Join(dir, "none")); code != exitNotFound || out != "" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

// TestConformRefused: what would destroy data without having been meant is refused before a disk is opened, and a disk that
// cannot copy is told why; neither changes a byte.
func TestConformRefused(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.img")
	if err := os.WriteFile(image, bytes.Repeat([]byte("data"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	file := write(t, "version = 1\n[disk.a]\nfile = \""+image+"\"\n[disk.n]\nsize = \"1GiB\"\n[device.d]\ntable = \"0 1024 linear a 0\"\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "one of --target"},
		{"--target model --directory /tmp", exitUsage, "one of --target"},
		{"--disk a --directory /tmp", exitUsage, "one of --target"},
		{"--disk a --region 0s+1MiB", exitUsage, "everything in 0s+1MiB of disk a will be overwritten"},
		{"--target a --region 0s+1MiB", exitUsage, "--i-know-this-destroys-data"},
		{"--disk a --i-know-this-destroys-data", exitUsage, "--region START+LEN"},
		{"--target model --region 0s+1MiB", exitUsage, "are for a disk"},
		{"--disk a --region 1MiB --i-know-this-destroys-data", exitUsage, "is not START+LEN"},
		{"--disk a --region 1MB+1MiB --i-know-this-destroys-data", exitUsage, "start of --region"},
		{"--disk a --region 0s+x --i-know-this-destroys-data", exitUsage, "length of --region"},
		{"--disk a --region 0s+0s --i-know-this-destroys-data", exitUsage, "is empty"},
		{"--disk a --region 0s+1MiB --i-know-this-destroys-data", exitFailure, "does not copy by NVMe"},
		{"--disk x --region 0s+1MiB --i-know-this-destroys-data", exitNotFound, `no disk "x"`},
		{"--disk n --region 0s+1MiB --i-know-this-destroys-data", exitFailure, "only declared"},
		{"--target model --only nosuch", exitUsage, `no scenario "nosuch"`},
		{"--target model --rounds 0", exitUsage, "--rounds 0"},
		{"--target model --progress maybe", exitUsage, "--progress"},
		{"--target model more", exitUsage, "no arguments"},
	} {
		code, out, errs := cli(t, append([]string{"conform", "-c", file, "--run-dir", filepath.Join(dir, "run")}, strings.Fields(c.args)...)...)
		if code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, want %d: %s%s", c.args, code, c.code, out, errs)
		}
	}
	if b, err := os.ReadFile(image); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("data"), 1<<18)) {
		t.Error("the disk has changed", err)
	}
}

// TestConformStops: a signal ends it, what came before is printed, and it is no success.
func TestConformStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"conform", "--target", "model"}, &out, &errs); code != exitFailure || !strings.Contains(errs.String(), "interrupted") || !strings.Contains(out.String(), "not run to its end") {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
	if code := run(t.Context(), []string{"conform", "--target", "model", "--only", "one-block"}, &brokenPipe{10}, io.Discard); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
}

// TestConformVerdict: what differs, and what was overwritten, is exit code 7.
func TestConformVerdict(t *testing.T) {
	good := &conform.Report{Complete: true, Conform: 3}
	differs := &conform.Report{Complete: true, Differ: 1}
	cut := &conform.Report{Differ: 1}
	hurt := &conform.Report{Complete: true, Around: &conform.Evidence{}}
	for _, c := range []struct {
		r    []*conform.Report
		want int
	}{{[]*conform.Report{good}, exitOK}, {[]*conform.Report{good, differs}, exitPartial}, {[]*conform.Report{hurt}, exitPartial}, {[]*conform.Report{cut}, exitOK}} {
		err := verdictOf(c.r)
		if (err == nil) != (c.want == exitOK) || err != nil && exitCode(err) != c.want {
			t.Errorf("%+v: %v", c.r[0], err)
		}
	}
}
