package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/conform"
	"github.com/ublk-go/ublk-linear/copy/sim"
)

// TestConformSim: a simulated device conforms as it is made, differs where it is told to, and its limits are the flags'.
func TestConformSim(t *testing.T) {
	code, out, errs := cli(t, "conform", "--target", "sim", "--rounds", "20", "--json")
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var doc conformDoc
	oneObject(t, out, &doc)
	if r := doc.Reports[0]; r.Conform != len(conform.Scenarios()) || !r.Complete || r.Target.MSSRL != 16 || r.Target.MCL != 40 || r.Target.Ranges != 4 || r.Target.Block != 4096 || r.Target.Name != "sim" {
		t.Errorf("%+v", r.Target)
	}
	code, out, errs = cli(t, strings.Fields("conform --target sim --misbehave overlap-forward,hangs --mssrl 20 --mcl 30 --msrc 1 --block 512B --latency 20s --rate 1MiB --rounds 20 --json")...)
	if code != exitPartial || !strings.Contains(errs, "sim: ") || !strings.Contains(errs, "2 differ") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	doc = conformDoc{}
	oneObject(t, out, &doc)
	if r := doc.Reports[0]; r.Differ != 2 || r.Target.MSSRL != 20 || r.Target.MCL != 30 || r.Target.Ranges != 2 || r.Target.Block != 512 {
		t.Errorf("%+v", r)
	}
	code, out, _ = cli(t, "conform", "--list")
	for _, m := range sim.Misbehaviours() {
		if code != exitOK || !strings.Contains(out, m.Name+"\n    does      "+m.What+"\n") {
			t.Errorf("exit code %d, no %s", code, m.Name)
		}
	}
	var list struct {
		Schema        int                `json:"schema"`
		Scenarios     []conform.Scenario `json:"scenarios"`
		Misbehaviours []sim.Misbehaviour `json:"misbehaviours"`
	}
	_, out, _ = cli(t, "conform", "--list", "--json")
	oneObject(t, out, &list)
	if len(list.Scenarios) != len(conform.Scenarios()) || len(list.Misbehaviours) != len(sim.Misbehaviours()) || list.Misbehaviours[3].Why == "" {
		t.Errorf("%d scenarios, %d misbehaviours", len(list.Scenarios), len(list.Misbehaviours))
	}
}

// TestConformSimDisk: a disk in memory that says nvme is judged as the file has it, whole or a region; one that does not is
// refused, as any disk.
func TestConformSimDisk(t *testing.T) {
	file := write(t, `version = 1
[disk.m]
memory = "2MiB"
[disk.m.limits]
logical_block = "4KiB"
[disk.m.copy]
method = "nvme"
mssrl = 16
mcl = 40
msrc = 3
misbehave = ["limits-late"]
latency = "20s"
[disk.p]
memory = "2MiB"
[device.d]
table = "0 4096 linear m 0"
[device.e]
table = "0 4096 linear p 0"
`)
	run := func(args string) (int, string, string) {
		return cli(t, append([]string{"conform", "-c", file, "--rounds", "20", "--run-dir", filepath.Join(t.TempDir(), "run")}, strings.Fields(args)...)...)
	}
	for _, c := range []struct {
		args          string
		start, length uint64
	}{{"--disk m", 0, 2 << 20}, {"--target m --region 1MiB+1MiB", 1 << 20, 1 << 20}} {
		code, out, errs := run(c.args + " --json")
		if code != exitPartial || !strings.Contains(errs, "disk m, simulated: ") || !strings.Contains(errs, "1 differ") || !strings.Contains(errs, "range-over-second") {
			t.Fatalf("%s: exit code %d: %s", c.args, code, errs)
		}
		var doc conformDoc
		oneObject(t, out, &doc)
		if r := doc.Reports[0]; r.Target.Block != 4096 || r.Target.Start != c.start || r.Target.Length != c.length || r.Target.MSSRL != 16 {
			t.Errorf("%+v", r.Target)
		}
	}
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"--disk p":                      {exitUsage, "--region START+LEN says"},
		"--disk m --region 1MiB+2MiB":   {exitFailure, "past its end"},
		"--disk m --region 1MiB":        {exitUsage, "is not START+LEN"},
		"--disk m --misbehave hangs":    {exitUsage, "--misbehave is for --target sim"},
		"--target model --block 512":    {exitUsage, "--block is for --target sim"},
		"--target sim --misbehave hang": {exitUsage, `did you mean "hangs"?`},
		"--target sim --mssrl 0":        {exitUsage, "--mssrl 0: from 1 to 65535"},
		"--target sim --mcl 0":          {exitUsage, "--mcl 0"},
		"--target sim --msrc 256":       {exitUsage, "--msrc 256: from 0 to 255"},
		"--target sim --block 520":      {exitUsage, "a power of two"},
		"--target sim --rate 0":         {exitUsage, "--rate"},
		"--target sim --latency -1s":    {exitUsage, "--latency"},
		"--target sim --region 0s+1s":   {exitUsage, "are for a disk"},
	} {
		if code, out, errs := run(args); code != want.code || out != "" || !strings.Contains(errs, want.text) {
			t.Errorf("%s: exit code %d, want %d: %s%s", args, code, want.code, out, errs)
		}
	}
}
