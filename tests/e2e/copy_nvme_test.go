package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sent is an NVMe Copy command as the kernel traced it on its way to the device.
type sent struct {
	disk   string
	dst    uint64 // logical blocks
	ranges int
	fua    bool
}

var tracing sync.Once

// traceCopies runs do, and says which NVMe Copy commands the kernel's nvme driver was given meanwhile, and of how many
// commands of other kinds: reads and writes of data among them.
func traceCopies(t *testing.T, do func()) (copies []sent, others int) {
	t.Helper()
	const dir = "/sys/kernel/tracing/"
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(dir+file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Once, and it stays: each switching of a tracepoint patches the kernel's text, and record-cmd would have the scheduler's
	// patched, which an emulated CPU has once not survived. tracing_on only opens and closes the buffer.
	tracing.Do(func() {
		set("tracing_on", "0")
		set("options/record-cmd", "0")
		set("buffer_size_kb", "16384")
		set("events/nvme/nvme_setup_cmd/enable", "1")
	})
	set("trace", "")
	set("tracing_on", "1")
	do()
	set("tracing_on", "0")
	b, err := os.ReadFile(dir + "trace")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "entries-in-buffer") {
		t.Fatalf("no trace: %.300s", b)
	}
	set("trace", "")
	return parseTrace(t, string(b))
}

// traced is one line of nvme_setup_cmd. What the kernel has no words for, it prints as the command's last 24 bytes.
var traced = regexp.MustCompile(`nvme_setup_cmd: .*disk=(\w+),.*cmd=\((?:nvme_cmd_)?(\w+)(.*)\)`)

// ofPath is the name of a path to a namespace, nvme0c0n1: commands are traced there, and the namespace is nvme0n1.
var ofPath = regexp.MustCompile(`^(nvme[0-9]+)c[0-9]+n([0-9]+)$`)

func parseTrace(t *testing.T, text string) (copies []sent, others int) {
	for _, l := range strings.Split(text, "\n") {
		m := traced.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		if m[2] != "copy" && m[2] != "0x19" && m[2] != "25" {
			others++
			continue
		}
		words := regexp.MustCompile(`cdw10=([0-9a-f ]+)`).FindStringSubmatch(m[3])
		if words == nil {
			t.Fatalf("a copy without its words: %s", l)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(words[1]), " ", ""))
		if err != nil || len(b) < 12 {
			t.Fatalf("a copy: %s: %v", l, err)
		}
		cdw12 := binary.LittleEndian.Uint32(b[8:])
		copies = append(copies, sent{ofPath.ReplaceAllString(m[1], "${1}n$2"), binary.LittleEndian.Uint64(b), int(cdw12&0xff) + 1, cdw12>>30&1 == 1})
	}
	return copies, others
}

// wantSent is the same by the plan.
func wantSent(p planned, node map[string]string, block, start map[string]uint64) (out []sent) {
	for _, c := range p.Commands {
		if c.Method == "nvme" {
			out = append(out, sent{disk: node[c.Dst.Disk], dst: (c.Dst.Start + start[c.Dst.Disk]) * 512 / block[c.Dst.Disk], ranges: len(c.Sources)})
		}
	}
	return out
}

func sortSent(s []sent) []sent {
	slices.SortFunc(s, func(a, b sent) int {
		if a.disk != b.disk {
			return strings.Compare(a.disk, b.disk)
		}
		return int(int64(a.dst) - int64(b.dst))
	})
	return s
}

// Copies on QEMU's NVMe disks, "cpa" with its defaults, "cpb" with blocks of 4096 bytes, MSSRL 16, MCL 40 and MSRC 3: the
// commands that the kernel saw are those of the plan, the bytes are memmove's, and what is on one namespace is offloaded.
func TestCopyNVMe(t *testing.T) {
	needGuest(t)
	a, b := nvmeBySerial(t, "cpa"), nvmeBySerial(t, "cpb")
	s := up(t, "version = 1\n[disk.a]\nmatch = { serial = \"cpa\" }\n[disk.b]\nmatch = { serial = \"cpb\" }\n"+
		tableDevice("la", "0 16384 linear a 2048")+
		tableDevice("ra", "0 8192 linear a 40000\n8192 8192 linear a 20480")+
		tableDevice("sa", "0 16384 striped 2 128 a 49152 a 61440")+
		tableDevice("ta", "0 16384 striped 2 128 a 73728 a 86016")+
		tableDevice("ua", "0 16320 striped 3 16 a 96000 a 102400 a 108800")+
		tableDevice("lb", "0 16384 linear b 2048")+
		tableDevice("sb", "0 16384 striped 2 128 b 49152 b 61440")+
		tableDevice("tb", "0 16384 striped 4 64 b 73728 b 79872 b 86016 b 92160")+
		tableDevice("mix", "0 8192 linear a 118784\n8192 8192 striped 2 64 b 102400 b 110592"))
	node, block, start := map[string]string{"a": a, "b": b}, map[string]uint64{"a": 512, "b": 4096}, map[string]uint64{}
	const all = -1
	for i, d := range []string{"la", "sa", "ua", "sb", "tb", "mix"} { // what is copied from; what is copied to is filled each time
		scribble(t, s.dev[d], uint64(i)*2+101)
	}
	for i, tt := range []struct {
		copies
		offloaded int // sectors; all
	}{
		{copies{src: "la", from: 1000, dst: "ra", to: 8000, n: 3001}, all},
		{copies{src: "la", from: 0, dst: "sa", to: 0, n: 8192}, all},
		{copies{src: "sa", from: 0, dst: "ta", to: 0, n: 12288}, all},   // one phase: rows are joined
		{copies{src: "sa", from: 64, dst: "ta", to: 128, n: 5000}, all}, // another: they are gathered
		{copies{src: "sa", from: 7, dst: "ua", to: 9, n: 4000}, all},
		{copies{src: "ua", from: 16, dst: "la", to: 1, n: 4096}, all},
		{copies{src: "la", from: 0, dst: "la", to: 1024, n: 8000, policy: []string{"--fua"}}, all}, // overlap forward
		{copies{src: "lb", from: 8, dst: "sb", to: 1000, n: 4000}, all},
		{copies{src: "sb", from: 0, dst: "tb", to: 0, n: 8192}, all},
		{copies{src: "tb", from: 32, dst: "lb", to: 0, n: 8000}, all},
		{copies{src: "la", from: 0, dst: "lb", to: 0, n: 4096}, 0},        // two namespaces
		{copies{src: "mix", from: 4096, dst: "lb", to: 0, n: 8192}, 4096}, // the half that lies on b
		{copies{src: "mix", from: 8000, dst: "mix", to: 320, n: 4000}, 192},
	} {
		t.Run(fmt.Sprintf("%d %s to %s", i, tt.src, tt.dst), func(t *testing.T) {
			scribble(t, s.dev[tt.dst], uint64(i)*2+2)
			p := tt.plan(t, s.file)
			src, dst := whole(t, s.dev[tt.src]), whole(t, s.dev[tt.dst])
			copy(dst[tt.to*512:], append([]byte{}, src[tt.from*512:(tt.from+tt.n)*512]...))
			var out copied
			got, _ := traceCopies(t, func() { out = tt.run(t, s.file) })
			if at, n := differ(whole(t, s.dev[tt.dst]), dst); n > 0 {
				t.Errorf("%d sectors are wrong, the first is %d", n, at)
			}
			want := wantSent(p, node, block, start)
			for i := range want {
				want[i].fua = slices.Contains(tt.policy, "--fua")
			}
			if !slices.Equal(sortSent(got), sortSent(want)) {
				t.Errorf("sent %d commands, planned %d:\n%v\n%v", len(got), len(want), got, want)
			}
			if tt.offloaded == all {
				tt.offloaded = int(tt.n)
			}
			out.offloadedBy(t, tt.n, uint64(tt.offloaded), "nvme", len(got))
			t.Logf("%d NVMe commands, %d bytes offloaded, %d through the host", len(got), out.Offloaded, out.Host)
		})
	}
	// Nothing of a status of our own making is an I/O error of the served devices.
	for _, d := range []string{"la", "sb", "mix"} {
		if st := status(t, s, d); st.Errors != 0 {
			t.Errorf("%s: %d errors", d, st.Errors)
		}
	}
}

// A partition as a disk: commands go to the namespace with the partition's start added, and nothing outside changes.
func TestCopyNVMePartition(t *testing.T) {
	anyKernel(t)
	for _, tt := range []struct {
		serial string
		block  uint64
	}{{"cpa", 512}, {"cpb", 4096}} {
		name := nvmeBySerial(t, tt.serial)
		scribble(t, "/dev/"+name, 77)
		part := onePartition(t, name, int64(tt.block)) // 8 MiB at 1 MiB
		before := whole(t, "/dev/"+name)
		s := up(t, fmt.Sprintf("version = 1\n[disk.p]\npath = \"/dev/%s\"\nunstable_path = true\n", part)+
			tableDevice("x", "0 4096 linear p 0")+tableDevice("y", "0 12288 linear p 4096"))
		c := copies{src: "x", from: 8, dst: "y", to: 8192, n: 4088} // up to the partition's last sectors
		p := c.plan(t, s.file)
		var out copied
		got, _ := traceCopies(t, func() { out = c.run(t, s.file) })
		want := wantSent(p, map[string]string{"p": name}, map[string]uint64{"p": tt.block}, map[string]uint64{"p": 2048})
		if !slices.Equal(sortSent(got), sortSent(want)) || len(got) == 0 {
			t.Errorf("%s: sent\n%v\nplanned\n%v", part, got, want)
		}
		if out.Offloaded != c.n*512 {
			t.Errorf("%s: %+v", part, out)
		}
		s.down()
		copy(before[(2048+4096+8192)*512:], append([]byte{}, before[(2048+8)*512:(2048+8+4088)*512]...))
		if at, n := differ(whole(t, "/dev/"+name), before); n > 0 {
			t.Errorf("%s: %d sectors of the whole disk are wrong, the first is %d", part, n, at)
		}
	}
}

// Two partitions of one namespace as two disks: still an offload, each start added on its own side.
func TestCopyNVMePartitions(t *testing.T) {
	anyKernel(t)
	name := nvmeBySerial(t, "cpa")
	parts := addParts(t, "/dev/"+name, 2056, 40008)
	s := up(t, pathDisks(parts...)+tableDevice("x", "0 8000 linear a 16")+tableDevice("y", "0 8000 striped 2 40 b 8 b 12000"))
	scribble(t, s.dev["x"], 5)
	scribble(t, s.dev["y"], 6)
	c := copies{src: "x", from: 10, dst: "y", to: 50, n: 7000}
	p := c.plan(t, s.file)
	got, _ := traceCopies(t, func() {
		if out := c.expect(t, s); out.Offloaded != c.n*512 || len(out.Fallbacks) > 0 {
			t.Errorf("%+v", out)
		}
	})
	want := wantSent(p, map[string]string{"b": name}, map[string]uint64{"b": 512}, map[string]uint64{"b": 40008})
	if !slices.Equal(sortSent(got), sortSent(want)) || len(got) == 0 {
		t.Errorf("sent\n%v\nplanned\n%v", got, want)
	}
}
