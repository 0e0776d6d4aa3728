package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
)

// lun is a LUN of the kernel's own SCSI target (LIO): memory, behind the loopback fabric.
type lun struct {
	serial string // its NAA designator is made of the hexadecimal digits
	mib    int
	block  int
	node   string // /dev/sdX
	store  string // its folder in configfs
}

// lioLUNs makes LUNs of one target. They go at the end of the test.
func lioLUNs(t *testing.T, luns ...*lun) {
	t.Helper()
	sh(t, "modprobe", "sd_mod")
	sh(t, "modprobe", "target_core_mod")
	sh(t, "modprobe", "tcm_loop")
	const root = "/sys/kernel/config/target"
	const tpg = root + "/loopback/naa.50014051aaaa0001/tpgt_1"
	folder := func(dir string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	folder(root + "/loopback")
	for i, l := range luns {
		hba := fmt.Sprintf("%s/core/rd_mcp_%d", root, 90+i)
		folder(hba)
		l.store = hba + "/" + l.serial
		folder(l.store)
		set(l.store+"/control", fmt.Sprintf("rd_pages=%d", l.mib<<20/4096))
		set(l.store+"/enable", "1")
		set(l.store+"/attrib/block_size", strconv.Itoa(l.block))
		set(l.store+"/attrib/emulate_3pc", "1")
		set(l.store+"/wwn/vpd_unit_serial", l.serial)
	}
	folder(filepath.Dir(tpg))
	folder(tpg)
	set(tpg+"/nexus", "naa.50014051aaaa0002")
	t.Cleanup(func() {
		if err := os.WriteFile(tpg+"/nexus", []byte("NULL"), 0); err != nil {
			t.Error(err)
		}
	})
	for i, l := range luns {
		dir := fmt.Sprintf("%s/lun/lun_%d", tpg, i)
		folder(dir)
		port := dir + "/port"
		if err := os.Symlink(l.store, port); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(port); err != nil {
				t.Error(err)
			}
		})
		within(t, "LUN "+l.serial, func() bool {
			files, _ := filepath.Glob("/sys/block/sd*/device/vpd_pg80")
			for _, f := range files {
				if b, _ := os.ReadFile(f); strings.Contains(string(b), l.serial) {
					l.node = "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(f)))
					_, err := os.Stat(l.node)
					return err == nil
				}
			}
			return false
		})
	}
}

// twoLUNs are a and b of blocks of 512 bytes; c, of the same target, has 4096.
func twoLUNs(t *testing.T) (a, b, c *lun) {
	t.Helper()
	a, b, c = &lun{serial: "a1a1a1a1b2b2b2b2c3c3c3c3d", mib: 96, block: 512}, &lun{serial: "0e0e0e0e1f1f1f1f2a2a2a2a3", mib: 96, block: 512},
		&lun{serial: "4b4b4b4b5c5c5c5c6d6d6d6d7", mib: 64, block: 4096}
	lioLUNs(t, a, b, c)
	return a, b, c
}

// xsent is an EXTENDED COPY as the kernel traced it on its way to the device: its data are not traced.
type xsent struct {
	disk     string
	segments int
}

var scsiTracing sync.Once

var scsiTraced = regexp.MustCompile(`scsi_dispatch_cmd_start: host_no=(\d+) channel=(\d+) id=(\d+) lun=(\d+) .*raw=([0-9a-f ]+)\)`)

// traceXCopies runs do, and says which EXTENDED COPY commands SCSI disks were given meanwhile, and how many reads and writes.
func traceXCopies(t *testing.T, do func()) (copies []xsent, data int) {
	t.Helper()
	const dir = "/sys/kernel/tracing/"
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(dir+file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scsiTracing.Do(func() { // once, and it stays: see traceCopies
		set("tracing_on", "0")
		set("options/record-cmd", "0")
		set("buffer_size_kb", "16384")
		set("events/scsi/scsi_dispatch_cmd_start/enable", "1")
	})
	set("trace", "")
	set("tracing_on", "1")
	do()
	set("tracing_on", "0")
	b, err := os.ReadFile(dir + "trace")
	if err != nil {
		t.Fatal(err)
	}
	set("trace", "")
	if !strings.Contains(string(b), "entries-in-buffer") {
		t.Fatalf("no trace: %.300s", b)
	}
	for _, l := range strings.Split(string(b), "\n") {
		m := scsiTraced.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		cdb, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(m[5]), " ", ""))
		if err != nil || len(cdb) < 6 {
			t.Fatalf("%s: %v", l, err)
		}
		switch cdb[0] {
		case 0x08, 0x0a, 0x28, 0x2a, 0x88, 0x8a, 0xa8, 0xaa:
			data++
		case 0x83:
			names, _ := filepath.Glob(fmt.Sprintf("/sys/class/scsi_device/%s:%s:%s:%s/device/block/sd*", m[1], m[2], m[3], m[4]))
			if len(names) != 1 || cdb[1] != 0 {
				t.Fatalf("%s: %v", l, names)
			}
			copies = append(copies, xsent{filepath.Base(names[0]), (int(binary.BigEndian.Uint32(cdb[10:])) - 80) / 28})
		}
	}
	return copies, data
}

// wantXSent is the same by the plan.
func wantXSent(p planned, node map[string]string) (out []xsent) {
	for _, c := range p.Commands {
		if c.Method == "xcopy" {
			out = append(out, xsent{filepath.Base(node[c.Dst.Disk]), len(c.Sources)})
		}
	}
	return out
}

func sortXSent(s []xsent) []xsent {
	slices.SortFunc(s, func(a, b xsent) int { return strings.Compare(a.disk, b.disk)*1000 + a.segments - b.segments })
	return s
}

func lunDisk(name string, l *lun, copy string) string {
	s := fmt.Sprintf("[disk.%s]\nmatch = { serial = %q }\n", name, l.serial)
	if copy != "" {
		s += fmt.Sprintf("[disk.%s.copy]\n%s\n", name, copy)
	}
	return s
}

// The ability is what LIO says, of a disk and of a partition, and what `limits` prints; with emulate_3pc off it is none.
func TestXCopyRead(t *testing.T) {
	anyKernel(t)
	a, _, c := twoLUNs(t)
	read := func(node string, ro bool) limits.Copy {
		t.Helper()
		d, err := disk.Open(t.Context(), disk.Spec{Name: "x", Path: node, UnstablePath: true, ReadOnly: ro}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.Copy()
	}
	domains := map[string]bool{}
	for _, l := range []*lun{a, c} {
		wwid, err := os.ReadFile("/sys/block/" + filepath.Base(l.node) + "/device/wwid") // "naa.6001405…"
		if err != nil {
			t.Fatal(err)
		}
		want := limits.Copy{Method: limits.XCopy, MSSRL: 65535, MCL: 65535, MSRC: 0, Domain: "scsi-" + strings.TrimSpace(string(wwid))}
		for _, node := range []string{l.node, addParts(t, l.node, 2048)[0]} {
			for _, ro := range []bool{false, true} {
				if got := read(node, ro); got != want {
					t.Errorf("%s, read-only %v: %+v, not %+v", node, ro, got, want)
				}
			}
		}
		domains[want.Domain] = true
	}
	if len(domains) != 2 {
		t.Errorf("%v", domains)
	}
	file := writeConfig(t, "version = 1\n"+lunDisk("a", a, "")+tableDevice("x", "0 2048 linear a 0"))
	if out := sh(t, "ublk-linear", "limits", "-c", file); !strings.Contains(out, "copy on disk a: xcopy, domain scsi-naa.6") || !regexp.MustCompile(`copy_max_sectors +65535`).MatchString(out) {
		t.Errorf("limits:\n%s", out)
	}
	if err := os.WriteFile(a.store+"/attrib/emulate_3pc", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if got := read(a.node, false); got.Can() || !strings.Contains(got.Reason, "3PC") {
		t.Errorf("without 3PC: %+v", got)
	}
	if out, err := exec.Command("ublk-linear", "limits", "-c", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "no copy on disk a: the disk has no third-party copy") {
		t.Errorf("limits: %v\n%s", err, out)
	}
}

// Copies inside a LUN and between two: the commands that the kernel saw are those of the plan, the bytes are memmove's, and
// nothing but what must be goes through the host.
func TestXCopy(t *testing.T) {
	anyKernel(t)
	a, b, c := twoLUNs(t)
	node := map[string]string{"a": a.node, "b": b.node, "c": c.node}
	s := up(t, "version = 1\n"+lunDisk("a", a, `domain = "lio"`)+lunDisk("b", b, `domain = "lio"`)+lunDisk("c", c, "")+
		tableDevice("la", "0 65600 linear a 2048")+
		tableDevice("lb", "0 65600 linear b 8")+
		tableDevice("sa", "0 16384 striped 2 128 a 80000 a 90000")+
		tableDevice("sab", "0 16384 striped 2 64 a 100000 b 100000")+
		tableDevice("lc", "0 32768 linear c 2048")+
		tableDevice("sc", "0 16384 striped 2 128 c 40960 c 49152"))
	const all = -1
	for i, d := range []string{"la", "lb", "sa", "sab", "lc", "sc"} {
		scribble(t, s.dev[d], uint64(i)*2+101)
	}
	for i, tt := range []struct {
		copies
		offloaded int // sectors; all
	}{
		{copies{src: "la", from: 1000, dst: "la", to: 20000, n: 3001}, all},
		{copies{src: "la", from: 0, dst: "lb", to: 333, n: 12000}, all}, // two LUNs
		{copies{src: "lb", from: 7, dst: "sa", to: 65, n: 3000}, all},
		{copies{src: "sa", from: 0, dst: "sab", to: 128, n: 4096}, all},
		{copies{src: "la", from: 0, dst: "la", to: 1024, n: 8000, policy: []string{"--fua"}}, all},        // overlap forward
		{copies{src: "lc", from: 8, dst: "sc", to: 1000, n: 4000}, all},                                   // blocks of 4096 bytes
		{copies{src: "lc", from: 0, dst: "la", to: 0, n: 4096}, 0},                                        // another domain, and another block
		{copies{src: "la", from: 0, dst: "lb", to: 0, n: 65560, policy: []string{"--window=32MiB"}}, all}, // a window is a block longer than a segment
	} {
		t.Run(fmt.Sprintf("%d %s to %s", i, tt.src, tt.dst), func(t *testing.T) {
			var p planned
			args := append([]string{"plan", "-c", s.file}, tt.ranges()...)
			if len(tt.policy) > 0 && strings.HasPrefix(tt.policy[0], "--window") {
				args = append(args, tt.policy...)
			}
			if code := tool(t, &p, args...); code != 0 || p.Refused != nil {
				t.Fatalf("%v: %d %+v", args, code, p)
			}
			var out copied
			src, dst := whole(t, s.dev[tt.src]), whole(t, s.dev[tt.dst])
			copy(dst[tt.to*512:], slices.Clone(src[tt.from*512:(tt.from+tt.n)*512]))
			got, data := traceXCopies(t, func() { out = tt.run(t, s.file) })
			if at, n := differ(whole(t, s.dev[tt.dst]), dst); n > 0 {
				t.Errorf("%d sectors are wrong, the first is %d", n, at)
			}
			want := wantXSent(p, node)
			if !slices.Equal(sortXSent(got), sortXSent(want)) {
				t.Errorf("sent %d commands, planned %d:\n%v\n%v", len(got), len(want), got, want)
			}
			if tt.offloaded == all {
				tt.offloaded = int(tt.n)
			}
			out.offloadedBy(t, tt.n, uint64(tt.offloaded), "xcopy", len(got))
			if tt.offloaded > 0 && (data > 0 || len(got) == 0) {
				t.Errorf("%d sectors offloaded by %d commands, with %d reads and writes", tt.offloaded, len(got), data)
			}
			if tt.n > 65535 && len(got) < 3 {
				t.Errorf("%d sectors in %d commands: not split at the limit", tt.n, len(got))
			}
			t.Logf("%d commands, %d bytes offloaded, %d through the host", len(got), out.Offloaded, out.Host)
		})
	}
	for _, d := range []string{"la", "lb", "sc"} {
		if st := status(t, s, d); st.Errors != 0 {
			t.Errorf("%s: %d errors", d, st.Errors)
		}
	}
}

// Two LUNs do not copy to each other unless the file says that they do.
func TestXCopyDomains(t *testing.T) {
	anyKernel(t)
	a, b, _ := twoLUNs(t)
	s := up(t, "version = 1\n"+lunDisk("a", a, "")+lunDisk("b", b, "")+tableDevice("la", "0 8192 linear a 0")+tableDevice("lb", "0 8192 linear b 0"))
	scribble(t, s.dev["la"], 3)
	scribble(t, s.dev["lb"], 4)
	c := copies{src: "la", from: 8, dst: "lb", to: 16, n: 4000}
	got, _ := traceXCopies(t, func() {
		if out := c.expect(t, s); out.Offloaded != 0 || out.Emulated != c.n*512 || len(out.Fallbacks) > 0 {
			t.Errorf("%+v", out)
		}
	})
	if len(got) > 0 {
		t.Errorf("sent %v", got)
	}
}

// A partition as a disk: the start is added, and nothing outside changes.
func TestXCopyPartition(t *testing.T) {
	anyKernel(t)
	a, _, _ := twoLUNs(t)
	scribble(t, a.node, 77)
	parts := addParts(t, a.node, 2056, 40008)
	before := whole(t, a.node)
	s := up(t, pathDisks(parts...)+tableDevice("x", "0 4096 linear a 16")+tableDevice("y", "0 12288 linear b 4096"))
	c := copies{src: "x", from: 8, dst: "y", to: 8192, n: 4088}
	got, _ := traceXCopies(t, func() {
		if out := c.run(t, s.file); out.Offloaded != c.n*512 || len(out.Fallbacks) > 0 {
			t.Errorf("%+v", out)
		}
	})
	if want := []xsent{{filepath.Base(a.node), 1}}; !slices.Equal(got, want) {
		t.Errorf("sent %v", got)
	}
	s.down()
	copy(before[(40008+4096+8192)*512:], slices.Clone(before[(2056+16+8)*512:(2056+16+8+4088)*512]))
	if at, n := differ(whole(t, a.node), before); n > 0 {
		t.Errorf("%d sectors of the whole disk are wrong, the first is %d", n, at)
	}
}

// A disk that stops to do third-party copies: one command finds out, the others are not sent, and the bytes are right.
func TestXCopyRefused(t *testing.T) {
	anyKernel(t)
	a, _, _ := twoLUNs(t)
	s := up(t, "version = 1\n"+lunDisk("a", a, "mssrl = 512\nmcl = 512")+tableDevice("x", "0 32768 linear a 0"))
	scribble(t, s.dev["x"], 9)
	if err := os.WriteFile(a.store+"/attrib/emulate_3pc", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	c := copies{src: "x", from: 0, dst: "x", to: 16384, n: 8192}
	var out copied
	got, _ := traceXCopies(t, func() { out = c.expect(t, s) })
	if out.Offloaded != 0 || out.Emulated != c.n*512 || len(out.Fallbacks) == 0 || !strings.Contains(fmt.Sprint(out.Fallbacks), "invalid command operation code") {
		t.Errorf("%+v", out)
	}
	if len(got) == 0 || uint64(len(got)) != out.ByMethod["xcopy"] || len(got) > 8 {
		t.Errorf("%d commands were sent, %+v", len(got), out.ByMethod)
	}
	got, _ = traceXCopies(t, func() { out = c.expect(t, s) })
	if len(got) > 0 || out.ByMethod["xcopy"] != 0 || out.Emulated != c.n*512 {
		t.Errorf("%d more were sent, %+v", len(got), out)
	}
}

// TestConformXCopy: LIO does what SPC-4 says, as far as it is asked, and nothing outside the region changes.
func TestConformXCopy(t *testing.T) {
	anyKernel(t)
	a, _, c := twoLUNs(t)
	var list struct{ Scenarios []struct{ Name string } }
	if code := tool(t, &list, "conform", "--list"); code != 0 {
		t.Fatal(code)
	}
	var calm, races []string
	for _, s := range list.Scenarios {
		if strings.HasPrefix(s.Name, "race-") {
			races = append(races, s.Name)
		} else {
			calm = append(calm, s.Name)
		}
	}
	for _, l := range []struct {
		*lun
		start, length int
		sure          []string // what must have been judged
	}{
		{a, 16 << 20, 72 << 20, []string{"one-range", "range-longest", "ranges-over", "overlap-forward-one", "concurrent-copies", "random-requests"}},
		{c, 16 << 20, 16 << 20, []string{"one-range", "ranges-over", "overlap-forward-one", "unaligned-refused", "concurrent-copies", "random-requests"}},
	} {
		scribble(t, l.node, 7)
		before := whole(t, l.node)
		file := writeConfig(t, "version = 1\n"+lunDisk("a", l.lun, "")+tableDevice("x", "0 2048 linear a 0"))
		args := []string{"-c", file, "--disk=a", fmt.Sprintf("--region=%d+%d", l.start, l.length), "--i-know-this-destroys-data", "--seed=3", "--rounds=60"}
		got, differing := conform(t, 0, append(args, "--only="+strings.Join(calm, ","))...)
		r := got.Reports[0]
		if len(differing[0]) > 0 || !r.Complete || r.Around == nil || !r.Around.Untouched || r.Target.MSSRL != 65535 || r.Target.Ranges != 1 || r.Target.Block != uint64(l.block) {
			t.Errorf("differ: %v; %+v", differing[0], r)
		}
		// The RAM disk copies memory without a lock: a block that is written meanwhile is torn, now and then.
		cmd := exec.Command("ublk-linear", append([]string{"conform"}, append(args, "--only="+strings.Join(races, ","))...)...)
		out, err := cmd.CombinedOutput()
		if code := exitStatus(err); code != 0 && code != 7 || len(races) == 0 || !strings.Contains(string(out), "untouched") {
			t.Errorf("races: exit code %d\n%s", code, out)
		}
		t.Logf("%s", out)
		for _, name := range l.sure {
			ok := false
			for _, s := range r.Scenarios {
				ok = ok || s.Name == name && s.Outcome == "conforms"
			}
			if !ok {
				t.Errorf("%s was not judged", name)
			}
		}
		now := whole(t, l.node)
		for _, side := range [][2]int{{0, l.start}, {l.start + l.length, len(now)}} {
			if at, n := differ(now[side[0]:side[1]], before[side[0]:side[1]]); n > 0 {
				t.Errorf("%d sectors outside the region are wrong, the first is %d", n, at+side[0]/512)
			}
		}
	}
}
