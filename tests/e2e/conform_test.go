package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// conformed is what conform prints with --json, as docs/conform.md has it.
type conformed struct {
	Schema  int `json:"schema"`
	Reports []struct {
		Target struct {
			Name   string `json:"name"`
			MSSRL  uint64 `json:"mssrl"`
			MCL    uint64 `json:"mcl"`
			Ranges uint64 `json:"ranges"`
			Block  uint64 `json:"logical_block_bytes"`
		} `json:"target"`
		Conform  int  `json:"conform"`
		Complete bool `json:"complete"`
		Around   *struct {
			Untouched bool `json:"untouched"`
			Parts     []struct {
				Start, Bytes uint64
			} `json:"parts"`
		} `json:"surroundings"`
		Scenarios []struct {
			Name, Outcome, Happened string
			Seconds                 float64
		} `json:"scenarios"`
	} `json:"reports"`
}

// conform runs the verb, and says what differs in the nth report.
func conform(t *testing.T, wantCode int, args ...string) (c conformed, differing [][]string) {
	t.Helper()
	cmd := exec.Command("ublk-linear", append([]string{"conform", "--json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if code := exitStatus(cmd.Run()); code != wantCode {
		t.Fatalf("%v: exit code %d, not %d\n%s%s", args, code, wantCode, &errs, &out)
	}
	if out.Len() == 0 {
		return c, nil
	}
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	for _, r := range c.Reports {
		var names []string
		for _, s := range r.Scenarios {
			if s.Outcome == "differs" {
				names = append(names, s.Name)
			}
			if s.Outcome != "conforms" {
				t.Logf("%s: %s %s: %s", r.Target.Name, s.Name, s.Outcome, s.Happened)
			}
		}
		differing = append(differing, names)
	}
	return c, differing
}

// TestConformNVMe: QEMU's NVMe is found to do exactly what it does wrong, and nothing outside the region changes, by the
// report and by looking.
func TestConformNVMe(t *testing.T) {
	anyKernel(t)
	const start, length = 16 << 20, 16 << 20
	for _, c := range []struct {
		serial string
		limits [4]uint64 // MSSRL, MCL, ranges, block
		want   []string
	}{
		{"cpa", [4]uint64{128, 128, 128, 512}, []string{"overlap-forward-ranges"}}, // a range over MSSRL is over MCL
		{"cpb", [4]uint64{16, 40, 4, 4096}, []string{"range-over-second", "overlap-forward-ranges"}},
	} {
		t.Run(c.serial, func(t *testing.T) {
			node := "/dev/" + nvmeBySerial(t, c.serial)
			scribble(t, node, 7)
			before := whole(t, node)
			file := writeConfig(t, "version = 1\n[disk.a]\nmatch = { serial = \""+c.serial+"\" }\n"+tableDevice("x", "0 2048 linear a 0"))
			region := fmt.Sprintf("--region=%d+%d", start, length)

			// Without the words nothing is touched, and so while somebody has the disk.
			conform(t, 2, "-c", file, "--disk=a", region)
			if at, n := differ(whole(t, node), before); n > 0 {
				t.Fatalf("%d sectors were changed without --i-know-this-destroys-data, the first is %d", n, at)
			}
			s, err := tryUp(t, file)
			if err != nil {
				t.Fatal(err)
			}
			conform(t, 4, "-c", file, "--disk=a", region, "--i-know-this-destroys-data")
			s.down()

			dir := t.TempDir()
			junit, page := filepath.Join(dir, "x.xml"), filepath.Join(dir, "x.html")
			got, differing := conform(t, 7, "-c", file, "--disk=a", region, "--i-know-this-destroys-data", "--seed=3", "--rounds=60", "--junit="+junit, "--html="+page)
			r := got.Reports[0]
			// QEMU's disk is a file of the host, whose page cache tears a block that is read while it is written, if rarely.
			certain := slices.DeleteFunc(slices.Clone(differing[0]), func(name string) bool { return strings.HasPrefix(name, "race-") })
			if !slices.Equal(certain, c.want) {
				t.Errorf("differ: %v, should: %v", differing[0], c.want)
			}
			if l := [4]uint64{r.Target.MSSRL, r.Target.MCL, r.Target.Ranges, r.Target.Block}; l != c.limits || !r.Complete || r.Conform < 25 {
				t.Errorf("limits %v, complete %v, %d conform", l, r.Complete, r.Conform)
			}
			if r.Around == nil || !r.Around.Untouched || len(r.Around.Parts) != 4 {
				t.Errorf("surroundings: %+v", r.Around)
			}
			now := whole(t, node)
			for _, side := range [][2]int{{0, start}, {start + length, len(now)}} {
				if at, n := differ(now[side[0]:side[1]], before[side[0]:side[1]]); n > 0 {
					t.Errorf("%d sectors outside the region are wrong, the first is %d", n, at+side[0]/512)
				}
			}
			if bytes.Equal(now[start:start+length], before[start:start+length]) {
				t.Error("the region is as it was: nothing was done there")
			}
			var suite struct{ XMLName xml.Name }
			if b, err := os.ReadFile(junit); err != nil || xml.Unmarshal(b, &suite) != nil || suite.XMLName.Local != "testsuite" || strings.Count(string(b), "<failure") != len(differing[0]) {
				t.Errorf("JUnit: %v\n%s", err, b)
			}
			if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "overlap-forward-ranges") {
				t.Errorf("HTML: %v", err)
			}
			var seconds float64
			for _, s := range r.Scenarios {
				seconds += s.Seconds
			}
			t.Logf("%.1f s", seconds)
		})
	}
}

// TestConformPartition: of a partition the region counts from its start, and the disk around it is not touched.
func TestConformPartition(t *testing.T) {
	anyKernel(t)
	name := nvmeBySerial(t, "cpb")
	scribble(t, "/dev/"+name, 8)
	part := onePartition(t, name, 4096) // 8 MiB at 1 MiB
	before := whole(t, "/dev/"+name)
	file := writeConfig(t, fmt.Sprintf("version = 1\n[disk.p]\npath = \"/dev/%s\"\nunstable_path = true\n", part)+tableDevice("x", "0 2048 linear p 0"))
	_, differing := conform(t, 7, "-c", file, "--target=p", "--region=4MiB+4MiB", "--i-know-this-destroys-data", "--only=one-range,guard-blocks,range-over-second,random-requests", "--rounds=30")
	if !slices.Equal(differing[0], []string{"range-over-second"}) {
		t.Errorf("differ: %v", differing[0])
	}
	now := whole(t, "/dev/"+name)
	const start, end = 5 << 20, 9 << 20
	for _, side := range [][2]int{{0, start}, {end, len(now)}} {
		if at, n := differ(now[side[0]:side[1]], before[side[0]:side[1]]); n > 0 {
			t.Errorf("%d sectors of the whole disk are wrong, the first is %d", n, at+side[0]/512)
		}
	}
	if bytes.Equal(now[start:end], before[start:end]) {
		t.Error("the region is as it was")
	}
}

// TestConformDirectory: a file system that shares blocks conforms in both ways, one that does not says why one is missing,
// and nothing is left behind.
func TestConformDirectory(t *testing.T) {
	anyKernel(t)
	for _, c := range []struct {
		name, mkfs string
		reports    int
		args       []string
		conform    int
	}{
		{"xfs", "mkfs.xfs -q -f -m reflink=1", 2, nil, 15},
		// Not the races: there the pages of the source are written on, one by one, and a write in between may be half seen.
		{"ext4", "mkfs.ext4 -q -F", 1, []string{"--only=one-range,guard-blocks,source-unchanged,random-requests"}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 400<<20)); err != nil {
				t.Fatal(err)
			}
			words(t, c.mkfs, image)
			loop := strings.TrimSpace(sh(t, "losetup", "-f", "--show", image))
			t.Cleanup(func() { sh(t, "losetup", "-d", loop) })
			dir := filepath.Join(t.TempDir(), "m")
			defer mount(t, loop, dir, c.name)()
			got, differing := conform(t, 0, append(c.args, "--directory="+dir, "--rounds=60")...)
			if len(got.Reports) != c.reports {
				t.Errorf("%d reports", len(got.Reports))
			}
			for i, r := range got.Reports {
				if len(differing[i]) > 0 || !r.Complete || r.Conform < c.conform || r.Around != nil {
					t.Errorf("%+v", r)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".ublk*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
