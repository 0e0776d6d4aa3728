package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// saidLimits is what the tests read of `limits --json`.
type saidLimits struct {
	Name   string `json:"name"`
	Limits struct {
		LogicalBlock  uint64   `json:"logical_block_size"`
		PhysicalBlock uint64   `json:"physical_block_size"`
		IOMin         uint64   `json:"io_min"`
		IOOpt         uint64   `json:"io_opt"`
		MaxSectors    uint64   `json:"max_sectors"`
		Chunk         uint64   `json:"chunk_sectors"`
		Granularity   uint64   `json:"discard_granularity"`
		Discard       uint64   `json:"discard_max_sectors"`
		WriteZeroes   uint64   `json:"write_zeroes_max_sectors"`
		Offset        uint64   `json:"alignment_offset"`
		Misaligned    bool     `json:"misaligned"`
		Features      []string `json:"features"`
	} `json:"limits"`
	Why           map[string]string `json:"why"`
	Inexpressible []string          `json:"inexpressible"`
}

// servedDevice is a device of TestLimitsServed. Its limits are of interest, not its data.
type servedDevice struct {
	name, table string
	more        string // keys of the device
	maxIO       uint64 // bytes, if not 512 KiB
}

// servedDisks are the disks by the names that the tables use, and the devices over them.
func servedDisks(t *testing.T) (disks map[string]string, devices []servedDevice) {
	t.Helper()
	scsi := scsiHosts(t, 3, "per_host_store=1", "physblk_exp=3", "lowest_aligned=7", "lbpu=1", "lbpws=1", "lbprz=1", "unmap_granularity=16", "unmap_max_blocks=4096", "opt_blks=1024")
	part := addParts(t, scsi[2], 63)
	null := func(attrs ...string) string { return nullBlk(t, 64, attrs...) }
	disks = map[string]string{
		"n5": "/dev/" + nvmeBySerial(t, "cpa"), "n4": "/dev/" + nvmeBySerial(t, "cpb"),
		"a": null(withCache), "b": null(withCache), "c": null(withCache, "fua=0"), "small": null("blocksize=4096", "max_sectors=64"),
		"odd": null("discard=0", "max_sectors=255"), "two": null("blocksize=2048"), "big": null("max_sectors=65536"),
		"sa": scsi[0], "sb": scsi[1], "sp": part[0], "loop": loopDisk(t, 4096), "brd": ramDisk(t),
	}
	if err := os.WriteFile("/sys/class/block/"+filepath.Base(disks["odd"])+"/queue/rotational", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	return disks, []servedDevice{
		{name: "nvme", table: "0 8192 linear n5 0"},
		{name: "nvme4k", table: "0 8192 linear n4 8", more: "max_io = \"64KiB\"", maxIO: 64 << 10},
		{name: "row", table: "0 28800 striped 3 96 a 0 b 0 c 0"},
		{name: "pow2", table: "0 16384 striped 2 128 a 20000 b 20000", more: "read_only = true"},
		{name: "tiny", table: "0 3500 striped 5 7 a 40000 b 40000 a 50001 b 50003 c 40000"},
		{name: "shifted", table: "0 8192 linear sa 1"},
		{name: "ongrid", table: "0 8192 linear sa 16391"},
		{name: "half", table: "0 8000 striped 2 4 sa 32775 sb 32775"},
		{name: "mixed", table: "0 8000 linear sb 8\n8000 9600 striped 2 96 big 0 c 60000", more: "max_io = \"1MiB\"", maxIO: 1 << 20},
		{name: "small", table: "0 16000 linear small 0"},
		{name: "nodiscard", table: "0 8191 linear odd 0\n8191 1 linear a 60000"},
		{name: "loop", table: "0 8192 linear loop 0\n8192 8192 linear small 32768"},
		{name: "brd", table: "0 8192 linear brd 8"},
		{name: "part", table: "0 8192 linear sp 1000"},
		{name: "large", table: "0 65536 striped 2 16384 two 0 big 32768"},
		{name: "everything", table: "0 8192 linear n5 65536\n8192 8192 linear n4 65536\n16384 8192 linear two 65536\n24576 8064 striped 3 24 brd 40000 loop 65536 small 65536"},
	}
}

// What a served device's queue shows is what `limits` says of it, in ublk's words as docs/limits.md has them; what those
// words lack is logged once; and it discards and zeroes within them. A saved copy of /sys gives the same limits.
func TestLimitsServed(t *testing.T) {
	needGuest(t)
	disks, devices := servedDisks(t)
	var toml strings.Builder
	toml.WriteString("version = 1\n")
	for _, name := range slices.Sorted(maps.Keys(disks)) {
		fmt.Fprintf(&toml, "[disk.%s]\npath = %q\nunstable_path = true\n", name, disks[name])
	}
	for _, d := range devices {
		fmt.Fprintf(&toml, "[device.%s]\n%s\ntable = \"\"\"\n%s\n\"\"\"\n", d.name, d.more, d.table)
	}
	file := writeConfig(t, toml.String())
	live := limitsOf(t, "-c", file)
	t.Run("saved", func(t *testing.T) { savedLimits(t, file, disks, live) })

	s, err := tryUp(t, file, "-v")
	t.Cleanup(s.down)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "what up -v logs of the last device", func() bool { // stderr may come behind stdout
		return strings.Contains(s.err.String(), `msg="device is up" name=`+devices[len(devices)-1].name+" ")
	})
	logged := inexpressibleLogged(s.err.String())
	kinds := map[string]int{}
	for _, said := range logged {
		for _, limit := range said {
			kinds[strings.Fields(limit)[0]]++
		}
	}
	t.Logf("ublk cannot say, by limit and number of devices: %v", kinds)
	for _, k := range []string{"physical_block_size", "io_min", "io_opt", "chunk_sectors"} {
		if kinds[k] == 0 {
			t.Errorf("no device has a %s that ublk cannot say", k)
		}
	}
	for _, d := range devices {
		t.Run(d.name, func(t *testing.T) {
			i := slices.IndexFunc(live, func(l saidLimits) bool { return l.Name == d.name })
			l, node := live[i], s.dev[d.name]
			want := presented(l, d.maxIO)
			got := sysLimits(t, node)
			said := logged[strings.TrimPrefix(node, "/dev/ublkb")]
			people := sh(t, "ublk-linear", "limits", d.name, "-c", file)
			for _, name := range []string{"dma_alignment", "max_segments", "max_segment_size", "virt_boundary_mask"} {
				want[name] = "0"
				for row := range strings.Lines(people) {
					if f := strings.Fields(row); f[0] == name {
						want[name] = f[1]
					}
				}
				// A driver before 6.15 has no parameter for these: up says so, and they are its defaults.
				said = slices.DeleteFunc(said, func(line string) bool {
					old := strings.HasPrefix(line, name+" ") && strings.HasSuffix(line, "no parameter for it (6.15)")
					if old {
						want[name] = strings.TrimSuffix(strings.Fields(line)[5], ":")
					}
					return old
				})
			}
			for name, v := range got {
				if w, ok := want[name]; !ok || v != w {
					t.Errorf("%s is %s, want %q", name, v, w)
				}
			}
			slices.Sort(said)
			slices.Sort(l.Inexpressible)
			if !slices.Equal(said, l.Inexpressible) {
				t.Errorf("up -v said %q, limits said %q", said, l.Inexpressible)
			}
			if t.Failed() {
				t.Logf("%+v", l)
			}
			if !slices.Contains(l.Limits.Features, "read_only") && d.more != "read_only = true" {
				discards(t, node, got)
			}
		})
	}
}

// limitsOf is `limits --json`.
func limitsOf(t *testing.T, args ...string) []saidLimits {
	t.Helper()
	cmd := exec.Command("ublk-linear", append([]string{"limits", "--json"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			out = e.Stderr
		}
		t.Fatalf("limits %v: %v\n%s", args, err, out)
	}
	var all struct {
		Devices []saidLimits `json:"devices"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	return all.Devices
}

// presented is what docs/limits.md promises a device's queue to show, by the names of limits.Fields.
func presented(d saidLimits, maxIO uint64) map[string]string {
	l := d.Limits
	if maxIO == 0 {
		maxIO = 512 << 10
	}
	pbs := l.PhysicalBlock
	if l.Offset != 0 || l.Misaligned {
		pbs = l.LogicalBlock
	}
	power := func(v uint64) uint64 { // the largest power of two that divides v, up to 256 MiB
		return min(v&-v, 256<<20)
	}
	blocks := func(sectors uint64) uint64 { return sectors * 512 / l.LogicalBlock * l.LogicalBlock }
	most := blocks(min(maxIO/512, l.MaxSectors)) / 1024
	granularity := uint64(0)
	if l.Discard != 0 {
		granularity = max(l.Granularity, pbs)
	}
	flag := func(name string) uint64 {
		if slices.Contains(l.Features, name) {
			return 1
		}
		return 0
	}
	readOnly := flag("read_only")
	if d.Name == "pow2" {
		readOnly = 1
	}
	ioMin := l.IOMin
	if pbs < l.PhysicalBlock && ioMin == l.PhysicalBlock {
		ioMin = pbs
	}
	out := map[string]string{"write_cache": [...]string{"write through", "write back"}[flag("write_cache")], "zoned": "none"}
	for name, v := range map[string]uint64{
		"logical_block_size": l.LogicalBlock, "physical_block_size": pbs, "io_min": max(power(ioMin), pbs), "io_opt": power(l.IOOpt),
		"max_hw_sectors": most, "max_sectors": most, "discard_granularity": granularity, "discard_max_sectors": blocks(l.Discard),
		"discard_max_hw_sectors": blocks(l.Discard), "max_discard_segments": 1, "write_zeroes_max_sectors": blocks(l.WriteZeroes),
		"fua": flag("fua"), "rotational": flag("rotational"), "read_only": readOnly,
		// The server cuts at chunk edges.
		"chunk_sectors": 0, "max_integrity_segments": 0,
		// What ublk has no words for.
		"alignment_offset": 0, "atomic_write_max": 0, "atomic_write_unit_min": 0, "atomic_write_unit_max": 0, "atomic_write_boundary": 0,
		"write_zeroes_unmap_max_hw_sectors": 0, "write_zeroes_unmap_max_sectors": 0, "stable_writes": 0, "zone_write_granularity": 0,
	} {
		out[name] = strconv.FormatUint(v, 10)
	}
	return out
}

// inexpressibleLogged is the limits that up logged as beyond ublk, by the number of the device, in the words of
// `limits`.
func inexpressibleLogged(log string) map[string][]string {
	out := map[string][]string{}
	for l := range strings.Lines(log) {
		if !strings.Contains(l, "limit that ublk cannot say") {
			continue
		}
		key := func(name string) string {
			_, v, _ := strings.Cut(l, " "+name+"=")
			if strings.HasPrefix(v, `"`) {
				v, _, _ = strings.Cut(v[1:], `"`)
				return v
			}
			v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
			return v
		}
		out[key("dev")] = append(out[key("dev")], fmt.Sprintf("%s %s is presented as %s: %s", key("limit"), key("value"), key("presented"), key("why")))
	}
	return out
}

// discards sends what the device says that it takes: a single block, a piece that begins and ends off the granularity,
// and all of it.
func discards(t *testing.T, node string, shown map[string]string) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sectors := number(t, "/sys/class/block/"+filepath.Base(node)+"/size")
	lbs, _ := strconv.ParseUint(shown["logical_block_size"], 10, 64)
	for _, r := range []span{{0, lbs}, {lbs, 13 * lbs}, {0, sectors * 512}} {
		if err := rangeIoctl(f.Fd(), blkDiscard, r.start, r.end-r.start); (err == nil) != (shown["discard_max_sectors"] != "0") {
			t.Errorf("discard of %+v: %v, with discard_max_bytes %s", r, err, shown["discard_max_sectors"])
		}
		if r.end-r.start > 4<<20 {
			r.end = r.start + 4<<20 // where the kernel writes zeroes itself, it takes long
		}
		if err := rangeIoctl(f.Fd(), blkZeroOut, r.start, r.end-r.start); err != nil {
			t.Errorf("zeroout of %+v: %v, with write_zeroes_max_bytes %s", r, err, shown["write_zeroes_max_sectors"])
		}
	}
}

// savedLimits asks for the limits by a copy of /sys, as of another host's.
func savedLimits(t *testing.T, file string, disks map[string]string, live []saidLimits) {
	dir := t.TempDir()
	args := []string{"-c", file, "--sysfs", dir}
	for name, node := range disks {
		saveSys(t, dir, filepath.Base(node))
		args = append(args, "--node", name+"="+filepath.Base(node))
	}
	saved := limitsOf(t, args...)
	for i, l := range saved {
		// Identify is not in sysfs: only the copy limits may differ.
		delete(l.Why, "copy")
		delete(live[i].Why, "copy")
		a, _ := json.Marshal(live[i])
		b, _ := json.Marshal(l)
		if string(a) != string(b) {
			t.Errorf("live  %s\nsaved %s", a, b)
		}
	}
	if len(saved) != len(live) {
		t.Errorf("%d devices, not %d", len(saved), len(live))
	}
}

// saveSys copies what sysfs has of a block device, links as links.
func saveSys(t *testing.T, dir, name string) {
	t.Helper()
	link, err := os.Readlink("/sys/class/block/" + name) // ../../devices/…/NAME
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/class/block", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, dir+"/class/block/"+name); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	from := filepath.Join("/sys/class/block", link)
	to := filepath.Join(dir, "class/block", link)
	for _, sub := range []string{"", "queue"} {
		files, err := os.ReadDir(filepath.Join(from, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a partition has no queue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(to, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(from, sub, f.Name()))
			if err != nil || !f.Type().IsRegular() {
				continue // some can only be written
			}
			if err := os.WriteFile(filepath.Join(to, sub, f.Name()), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(from, "partition")); err == nil {
		saveSys(t, dir, filepath.Base(filepath.Dir(from)))
	}
}
