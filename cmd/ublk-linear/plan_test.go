package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pieces and commands of a plan in the words of the vectors.
func planLines(t *testing.T, text string) (pieces, commands string, doc planDoc) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	var ps, cs []string
	for _, p := range doc.Pieces {
		ps = append(ps, fmt.Sprintf("%s:%d>%s:%d+%d", p.Src.Disk, p.Src.Start, p.Dst.Disk, p.Dst.Start, p.Sectors))
	}
	for _, c := range doc.Commands {
		var ss []string
		for _, s := range c.Sources {
			ss = append(ss, fmt.Sprintf("%s:%d+%d", s.Disk, s.Start, s.Sectors))
		}
		cs = append(cs, fmt.Sprintf("%s %s>%s:%d+%d", c.Method, strings.Join(ss, ","), c.Dst.Disk, c.Dst.Start, c.Sectors))
	}
	return strings.Join(ps, " "), strings.Join(cs, "; "), doc
}

// TestPlanVectors: the cuts that the designs of the kernel were asked about, on declared disks of one namespace, and the
// commands that come of them.
func TestPlanVectors(t *testing.T) {
	for _, c := range []struct{ id, file, src, dst, pieces, commands string }{
		{"S1 source crosses", "l.toml", "d:990s+30s", "d:1500s", "A:3038>B:500+10 B:0>B:510+20",
			"nvme A:3038+10>B:500+10; nvme B:0+20>B:510+20"},
		{"S2 destination crosses", "l.toml", "d:100s+40s", "d:980s", "A:2148>A:3028+20 A:2168>B:0+20",
			"nvme A:2148+20>A:3028+20; nvme A:2168+20>B:0+20"},
		{"S3 both, overlapping", "l.toml", "d:980s+40s", "d:990s", "A:3028>A:3038+10 A:3038>B:0+10 B:0>B:10+20",
			"emulate A:3028+10>A:3038+10; emulate A:3038+10,B:0+20>B:0+30"},
		{"S3b both inside one, overlapping in their ends", "l.toml", "d:950s+50s", "d:900s", "A:2998>A:2948+50",
			"nvme A:2998+50>A:2948+50"},
		{"S5 cap 16", "l16.toml", "d:990s+40s", "d:1500s", "A:3038>B:500+10 B:0>B:510+30",
			"nvme A:3038+10>B:500+10; nvme B:0+16>B:510+16; nvme B:16+14>B:526+14"},
		{"S6 whole row, same phase", "s.toml", "d:0s+192s", "d:192s", "A:0>A:64+64 B:128>B:192+64 C:0>C:64+64",
			"nvme A:0+64>A:64+64; nvme B:128+64>B:192+64; nvme C:0+64>C:64+64"},
		{"S6b two rows", "s.toml", "d:0s+384s", "d:768s",
			"A:0>A:256+64 B:128>B:384+64 C:0>C:256+64 A:64>A:320+64 B:192>B:448+64 C:64>C:320+64",
			"nvme A:0+128>A:256+128; nvme B:128+128>B:384+128; nvme C:0+128>C:256+128"},
		{"S7 shifted by a chunk, overlapping", "s.toml", "d:0s+192s", "d:64s", "A:0>B:128+64 B:128>C:0+64 C:0>A:64+64",
			"emulate C:0+64>A:64+64; emulate A:0+64>B:128+64; emulate B:128+64>C:0+64"},
		{"S8 other phase", "s.toml", "d:10s+100s", "d:400s", "A:10>A:144+48 A:58>B:256+6 B:128>B:262+46",
			"nvme A:10+48>A:144+48; nvme A:58+6>B:256+6; nvme B:128+46>B:262+46"},
		{"S9 linear to striped", "m.toml", "d:50s+40s", "d:300s", "A:2098>B:104+8 A:2106>C:104+16 A:2122>B:112+16",
			"nvme A:2098+8,A:2122+16>B:104+24; nvme A:2106+16>C:104+16"},
		{"S10 seam into the stripe, both sides", "m.toml", "d:90s+30s", "d:200s", "A:2138>B:52+10 B:0>B:62+2 B:2>C:56+14 C:8>C:70+2 C:10>B:64+2",
			"nvme A:2138+10>B:52+10; nvme B:0+2>B:62+2; nvme C:10+2>B:64+2; nvme B:2+14>C:56+14; nvme C:8+2>C:70+2"},
	} {
		t.Run(c.id, func(t *testing.T) {
			code, out, errs := cli(t, "plan", c.src, c.dst, "--json", "-c", "testdata/plan/"+c.file)
			if code != exitOK || errs != "" {
				t.Fatalf("exit code %d: %s", code, errs)
			}
			pieces, commands, doc := planLines(t, out)
			if d := cmp.Diff(c.pieces, pieces); d != "" {
				t.Errorf("pieces %s", d)
			}
			if d := cmp.Diff(c.commands, commands); d != "" {
				t.Errorf("commands %s", d)
			}
			if doc.Refused != nil || doc.Offloaded+doc.Emulated != doc.Bytes || doc.Host != 2*doc.Emulated {
				t.Errorf("%+v", doc.planTotalsDoc)
			}
		})
	}
}

// TestPlanStreams: a plan of millions of pieces is printed as it is made, ends when asked to, and its totals are right
// without a list.
func TestPlanStreams(t *testing.T) {
	file := write(t, "version = 1\n[disk.a]\nsize = \"4TiB\"\n[disk.b]\nsize = \"4TiB\"\n[device.d]\ntable = \"0 4294967296 striped 2 8 a 0 b 0\"\n")
	args := []string{"plan", "d:0s+1TiB", "d:1TiB", "-c", file, "--json"}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, args, &out, &errs); code != exitFailure || !strings.Contains(errs.String(), "canceled") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	errs.Reset()
	if code := run(context.Background(), args, &brokenPipe{1 << 20}, &errs); code != exitFailure || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	code, text, _ := cli(t, "plan", "d:0s+64MiB", "d:1GiB", "-c", file, "--json", "--summary")
	var doc planSummaryDoc
	if err := json.Unmarshal([]byte(text), &doc); err != nil || code != exitOK || doc.Pieces != 64<<20/4096 || doc.Bytes != 64<<20 || doc.Emulated != doc.Bytes {
		t.Errorf("%d %s %v", code, text, err)
	}
}

// TestPlanRefused: what a copy would be refused for is a plan; what cannot be read is usage.
func TestPlanRefused(t *testing.T) {
	const file = "testdata/plan/l.toml"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"d:1990s+20s", "d:0s"}, "source d:1018880+10240: ends past the device, which has 1024000 bytes"},
		{[]string{"d:0s+20s", "d:1990s"}, "destination d:1018880+10240: ends past the device"},
		{[]string{"d:0s+1000B", "d:1000s"}, "not a multiple of 512 bytes"},
		{[]string{"d:0s+20s", "d:100s+30s"}, "the source has 10240 bytes, the destination 15360"},
		{[]string{"d:0s+20s", "d:100s+10s,d:105s+10s"}, "two destination segments overlap"},
		{[]string{"d:0s+20s", "d:10s", "--overlap", "refuse"}, "overlap on d"},
		{[]string{"d:990s+20s", "d:1500s", "--at-boundary", "refuse"}, "crosses the edge at 512000"},
		{[]string{"d:0s+20s", "d:1s", "--fallback", "fail", "--window", "1KiB"}, "window of 1024 bytes"},
	} {
		code, out, errs := cli(t, append([]string{"plan", "-c", file, "--json"}, c.args...)...)
		_, _, doc := planLines(t, out)
		if code != exitOK || errs != "" || doc.Refused == nil || !strings.Contains(*doc.Refused, c.want) || len(doc.Pieces)+len(doc.Commands) != 0 || doc.Bytes != 0 {
			t.Errorf("%q: exit code %d %s\n%s", c.args, code, errs, out)
		}
		code, out, errs = cli(t, append([]string{"plan", "-c", file}, c.args...)...)
		if code != exitOK || errs != "" || !strings.HasPrefix(out, "refused: ") {
			t.Errorf("%q: exit code %d %s\n%s", c.args, code, errs, out)
		}
	}
}

// TestCopyArgs: what plan and copy refuse alike before they look at anything.
func TestCopyArgs(t *testing.T) {
	for _, verb := range []string{"plan", "copy"} {
		for _, c := range []struct {
			args []string
			code int
			want string
		}{
			{nil, exitUsage, "takes one source or more and a destination"},
			{[]string{"d:0s+1s"}, exitUsage, "takes one source or more and a destination"},
			{[]string{"d", "d:0s"}, exitUsage, `source "d" is not DEVICE:START+LEN, as data:0s+2048s`},
			{[]string{"d:", "d:0s"}, exitUsage, `source "d:" is not`},
			{[]string{":0s+1s", "d:0s"}, exitUsage, `source ":0s+1s" is not`},
			{[]string{"d:0s", "d:0s"}, exitUsage, `source "d:0s" has no length`},
			{[]string{"d:0s+1s,", "d:0s"}, exitUsage, `source "" is not`},
			{[]string{"d:0s+1M", "d:0s"}, exitUsage, "two readings"},
			{[]string{"d:x+1s", "d:0s"}, exitUsage, `start of source "d:x+1s"`},
			{[]string{"d:0s+1s", "d:x"}, exitUsage, `start of destination "d:x"`},
			{[]string{"d:0s+0s", "d:0s"}, exitUsage, `source "d:0s+0s" is empty`},
			{[]string{"d:0s+1s", "d:0s+0s"}, exitUsage, `destination "d:0s+0s" is empty`},
			{[]string{"d:18446744073709551615B+1s", "d:0s"}, exitUsage, "ends past 2^64 bytes"},
			{[]string{"d:0B+18446744073709551615B,d:0B+1B", "d:0s"}, exitUsage, "2^64 bytes and more"},
			{[]string{"d:0s+1s", "e:0s+1s", "d:0s"}, exitUsage, "the sources are on d and on e: one copy has one source device"},
			{[]string{"d:0s+2s", "d:0s+1s,e:0s+1s"}, exitUsage, "the destinations are on d and on e"},
			{[]string{"d:0s+2s", "d:4s,d:8s+1s"}, exitUsage, `destination "d:4s" has no length: of several destinations each needs one`},
			{[]string{"d:0s+1s", "d:2s", "--overlap", "memcpy"}, exitUsage, `overlap "memcpy": memmove or refuse`},
			{[]string{"d:0s+1s", "d:2s", "--at-boundary", "cut"}, exitUsage, `at_boundary "cut": split or refuse`},
			{[]string{"d:0s+1s", "d:2s", "--window", "big"}, exitUsage, "--window: "},
			{[]string{"d:0s+1s", "d:2s", "--in-flight", "0"}, exitUsage, "--in-flight: 0 is nothing"},
			{[]string{"x:0s+1s", "d:2s"}, exitNotFound, `no device "x" in testdata/plan/l.toml`},
			{[]string{"d:0s+1s", "x:2s"}, exitNotFound, `no device "x"`},
		} {
			code, out, errs := cli(t, append([]string{verb, "-c", "testdata/plan/l.toml", "--run-dir", t.TempDir()}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("%s %q: exit code %d, want %d\n%s%s", verb, c.args, code, c.code, out, errs)
			}
		}
	}
	for _, c := range []struct{ args, want []string }{
		{[]string{"d:0s+8s", "d:16s+8s", "d:100s"}, []string{"A:2048>A:2148+8", "A:2064>A:2156+8"}}, // several arguments, or commas
		{[]string{"d:0s+8s,d:16s+8s", "d:100s"}, []string{"A:2048>A:2148+8", "A:2064>A:2156+8"}},
		{[]string{"d:0s+16s", "d:100s+4s,d:200s+12s"}, []string{"A:2048>A:2148+4", "A:2052>A:2248+12"}},
		{[]string{"d:0s+16s", "d:100s+16s"}, []string{"A:2048>A:2148+16"}},
	} {
		_, out, _ := cli(t, append([]string{"plan", "-c", "testdata/plan/l.toml", "--json"}, c.args...)...)
		if pieces, _, _ := planLines(t, out); pieces != strings.Join(c.want, " ") {
			t.Errorf("%q: %s", c.args, pieces)
		}
	}
}
