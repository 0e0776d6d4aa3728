package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// copied is what `copy --json` says.
type copied struct {
	Bytes     uint64 `json:"bytes"`
	Offloaded uint64 `json:"offloaded_bytes"`
	Emulated  uint64 `json:"emulated_bytes"`
	Host      uint64 `json:"host_bytes"`
	Commands  uint64 `json:"commands"`
	Failed    []struct {
		Offset, Bytes uint64
		Side, Error   string
	} `json:"failed"`
	ByMethod  map[string]uint64 `json:"commands_by_method"`
	Fallbacks []struct {
		Error string
	} `json:"fallbacks"`
}

// offloadedBy fails unless so many of n sectors were offloaded, by so many commands of a method, and the rest was read and written
// once, none of it as a fallback.
func (c *copied) offloadedBy(t testing.TB, n, offloaded uint64, method string, commands int) {
	t.Helper()
	if c.Offloaded != offloaded*512 || c.Emulated != (n-offloaded)*512 || c.Host != 2*c.Emulated || c.ByMethod[method] != uint64(commands) || len(c.Fallbacks) > 0 {
		t.Errorf("%d sectors should be offloaded by %d commands: %+v", offloaded, commands, *c)
	}
}

// planned is what `plan --json` says.
type planned struct {
	Bytes     uint64 `json:"bytes"`
	Offloaded uint64 `json:"offloaded_bytes"`
	Emulated  uint64 `json:"emulated_bytes"`
	Commands  []struct {
		Method  string `json:"method"`
		Sources []struct {
			Disk    string `json:"disk"`
			Start   uint64 `json:"start"`
			Sectors uint64 `json:"sectors"`
		} `json:"sources"`
		Dst struct {
			Disk  string `json:"disk"`
			Start uint64 `json:"start"`
		} `json:"dst"`
		Sectors uint64 `json:"sectors"`
	} `json:"commands"`
	Refused *string `json:"refused"`
}

// copies is one copy on the command line: ranges in sectors.
type copies struct {
	src    string
	from   uint64
	dst    string
	to, n  uint64
	policy []string
}

func (c copies) ranges() []string {
	return []string{fmt.Sprintf("%s:%ds+%ds", c.src, c.from, c.n), fmt.Sprintf("%s:%ds", c.dst, c.to)}
}

func (c copies) String() string {
	return strings.Join(append(c.ranges(), c.policy...), " ")
}

// tool runs a verb that prints JSON, and gives its exit code.
func tool(t testing.TB, into any, args ...string) int {
	t.Helper()
	var out, say bytes.Buffer
	cmd := exec.Command("ublk-linear", append(args, "--json")...)
	cmd.Stdout, cmd.Stderr = &out, &say
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if out.Len() > 0 || err == nil {
		if e := json.Unmarshal(out.Bytes(), into); e != nil {
			t.Fatalf("%v: %v\n%s\n%s", args, e, &out, &say)
		}
	} else {
		t.Logf("%v: %s", args, &say)
	}
	return cmd.ProcessState.ExitCode()
}

func (c copies) run(t testing.TB, file string) (out copied) {
	t.Helper()
	args := append([]string{"copy", "-c", file}, append(c.ranges(), c.policy...)...)
	if code := tool(t, &out, args...); code != 0 {
		t.Fatalf("%v: exit %d: %+v", args, code, out)
	}
	return out
}

func (c copies) plan(t testing.TB, file string) (out planned) {
	t.Helper()
	if code := tool(t, &out, append([]string{"plan", "-c", file}, c.ranges()...)...); code != 0 || out.Refused != nil {
		t.Fatalf("plan %v: exit %d, %+v", c, code, out)
	}
	return out
}

// whole is all of a device, read past the page cache.
func whole(t testing.TB, node string) []byte {
	t.Helper()
	d := openRaw(t, node)
	defer d.Close()
	b := aligned(t, int(d.sectors)*512)
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatalf("%s: %v", node, err)
	}
	return b
}

// scribble fills a device with the pattern of a seed.
func scribble(t testing.TB, node string, seed uint64) {
	t.Helper()
	d := openRaw(t, node)
	defer d.Close()
	b := aligned(t, int(d.sectors)*512)
	fill(b, seed)
	if _, err := d.WriteAt(b, 0); err != nil {
		t.Fatalf("%s: %v", node, err)
	}
}

// expect does a copy and compares both devices with what memmove would have made of them.
func (c copies) expect(t *testing.T, s *server) copied {
	t.Helper()
	src, dst := whole(t, s.dev[c.src]), whole(t, s.dev[c.dst])
	if c.src == c.dst {
		src = dst
	}
	copy(dst[c.to*512:], bytes.Clone(src[c.from*512:(c.from+c.n)*512]))
	out := c.run(t, s.file)
	if at, n := differ(whole(t, s.dev[c.dst]), dst); n > 0 {
		t.Errorf("%v: %d sectors of %s are wrong, the first is %d", c, n, c.dst, at)
	}
	if at, n := differ(whole(t, s.dev[c.src]), src); n > 0 {
		t.Errorf("%v: %d sectors of %s are wrong, the first is %d", c, n, c.src, at)
	}
	if out.Bytes != c.n*512 || len(out.Failed) > 0 {
		t.Errorf("%v: %+v", c, out)
	}
	return out
}

// Copies of a served device, where nothing offloads: the bytes are right, whatever the layouts.
func TestCopyServed(t *testing.T) {
	anyKernel(t)
	s := up(t, pathDisks(nullBlk(t, 64), nullBlk(t, 64), nullBlk(t, 64))+
		tableDevice("lin", "0 20000 linear a 8\n20000 20000 linear b 1024")+
		tableDevice("str", "0 36000 striped 3 24 a 40000 b 40000 c 40000")+
		tableDevice("mix", "0 10000 linear c 8\n10000 24000 striped 2 40 a 80000 b 80000"))
	for i, c := range []copies{
		{src: "lin", from: 19000, dst: "str", to: 7, n: 9000},
		{src: "str", from: 11, dst: "mix", to: 9000, n: 24000},
		{src: "str", from: 0, dst: "str", to: 18000, n: 18000},
		{src: "mix", from: 100, dst: "mix", to: 164, n: 30000},  // overlap forward
		{src: "mix", from: 8100, dst: "mix", to: 100, n: 25000}, // and backward
		{src: "lin", from: 0, dst: "lin", to: 1, n: 30001},
		{src: "lin", from: 5, dst: "lin", to: 5, n: 100},
	} {
		scribble(t, s.dev[c.src], uint64(i)*2+1)
		scribble(t, s.dev[c.dst], uint64(i)*2+2)
		if out := c.expect(t, s); out.Offloaded != 0 || c.from != c.to && out.Emulated != c.n*512 {
			t.Errorf("%v: %+v", c, out)
		}
	}
}

// A dirty page cache above either device does not make a copy wrong, and no stale page is read after it.
func TestCopyPageCache(t *testing.T) {
	needGuest(t)
	s := up(t, pathDisks(nullBlk(t, 64))+tableDevice("x", "0 8192 linear a 0")+tableDevice("y", "0 8192 linear a 16384"))
	x, y := make([]byte, 4<<20), make([]byte, 4<<20)
	fill(x, 1)
	fill(y, 2)
	open := func(name string) *os.File {
		f, err := os.OpenFile(s.dev[name], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	fx, fy := open("x"), open("y")
	if _, err := fx.WriteAt(x, 0); err != nil { // stays in the page cache
		t.Fatal(err)
	}
	if _, err := fy.WriteAt(y, 0); err != nil {
		t.Fatal(err)
	}
	c := copies{src: "x", from: 64, dst: "y", to: 1024, n: 4096, policy: []string{"--force"}}
	c.run(t, s.file)
	copy(y[1024*512:], x[64*512:(64+4096)*512])
	got := make([]byte, len(y))
	if _, err := fy.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if at, n := differ(got, y); n > 0 {
		t.Errorf("through the page cache: %d sectors are wrong, the first is %d", n, at)
	}
	if err := errors.Join(fx.Sync(), fy.Sync()); err != nil {
		t.Fatal(err)
	}
	if at, n := differ(whole(t, s.dev["y"]), y); n > 0 {
		t.Errorf("on the disk: %d sectors are wrong, the first is %d", n, at)
	}
}

// Copies under load: fio verifies what it writes beside the copied range, while copies go on: by the host on null_blk, by the
// disks themselves on QEMU's NVMe.
func TestCopyUnderLoad(t *testing.T) {
	anyKernel(t)
	t.Run("emulated", func(t *testing.T) {
		copyUnderLoad(t, pathDisks(nullBlk(t, 64), nullBlk(t, 64)), false)
	})
	t.Run("nvme", func(t *testing.T) {
		copyUnderLoad(t, "version = 1\n[disk.a]\nmatch = { serial = \"cpa\" }\n[disk.b]\nmatch = { serial = \"cpb\" }\n", true)
	})
}

func copyUnderLoad(t *testing.T, disks string, offload bool) {
	s := up(t, disks+tableDevice("data", "0 40000 linear a 8\n40000 81920 striped 2 128 a 40960 b 1024"))
	const half = 60000 // fio has what is above 30 MiB
	scribble(t, s.dev["data"], 9)
	load := make(chan error, 1)
	cmd := exec.Command("fio", "--minimal", "--name=j", "--filename="+s.dev["data"], "--ioengine=io_uring", "--direct=1", "--rw=randwrite",
		"--bsrange=4k-64k", "--iodepth=8", "--offset=30m", "--size=16m", "--io_size="+fmt.Sprint(scaled(32, 8))+"m", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1")
	var say bytes.Buffer
	cmd.Stdout, cmd.Stderr = &say, &say
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { load <- cmd.Wait() }()
	want := whole(t, s.dev["data"])[:half*512]
	n, offloaded := 0, uint64(0)
	for running := true; running; n++ {
		c := copies{src: "data", from: uint64(n*976) % 20000, dst: "data", to: 30000 + uint64(n*616)%9000, n: 20000, policy: []string{"--force"}}
		if n%2 == 1 {
			c.from, c.to = c.to, c.from
		}
		offloaded += c.run(t, s.file).Offloaded
		copy(want[c.to*512:], bytes.Clone(want[c.from*512:(c.from+c.n)*512]))
		select {
		case err := <-load:
			if running = false; err != nil {
				t.Fatalf("fio: %v\n%s", err, &say)
			}
		default:
		}
	}
	if at, wrong := differ(whole(t, s.dev["data"])[:half*512], want); wrong > 0 {
		t.Errorf("after %d copies %d sectors are wrong, the first is %d", n, wrong, at)
	}
	if offload != (offloaded > 0) {
		t.Errorf("%d bytes offloaded", offloaded)
	}
	t.Logf("%d copies beside fio, %d bytes by the disks", n, offloaded)
}

// What cannot be meant, or must not be done, is refused, and nothing is changed.
func TestCopyRefused(t *testing.T) {
	anyKernel(t)
	s := up(t, pathDisks(nullBlk(t, 64), nullBlk(t, 64, "blocksize=4096"))+
		tableDevice("small", "0 8192 linear a 0")+tableDevice("large", "0 8192 linear b 0")+
		"[device.ro]\nread_only = true\ntable = \"\"\"\n0 8192 linear a 16384\n\"\"\"\n")
	scribble(t, s.dev["small"], 3)
	before := whole(t, s.dev["small"])
	run := func(want int, args ...string) {
		t.Helper()
		var out any
		if code := tool(t, &out, append([]string{"copy", "-c", s.file}, args...)...); code != want {
			t.Errorf("%v: exit %d, not %d: %v", args, code, want, out)
		}
	}
	run(5, "small:0s+8s", "nobody:0s")
	for _, args := range [][]string{
		{"small:0s+8s", "small:8190s"},                // past the end
		{"small:0s+8s", "large:1s"},                   // not on the larger block
		{"small:0s+4s", "large:0s"},                   // nor so long
		{"small:0s+8s", "ro:0s"},                      // read-only
		{"small:0s+8s", "small:16s+9s"},               // not equally long
		{"small:0s+8s,small:16s+8s", "small:64s+24s"}, // nor these
	} {
		if code := tool(t, new(any), append([]string{"copy", "-c", s.file}, args...)...); code == 0 || code == 7 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
	if code := tool(t, new(any), "copy", "-c", s.file, "small:0s+64s", "small:32s", "--overlap", "refuse"); code == 0 {
		t.Error("an overlap was not refused")
	}
	if code := tool(t, new(any), "copy", "-c", s.file, "small:0s+64s", "small:128s", "--fallback", "fail"); code == 0 {
		t.Error("no offload was not refused")
	}
	fd, err := unix.Open(s.dev["small"], unix.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	run(4, "small:0s+8s", "small:64s") // somebody has it for himself
	_ = unix.Close(fd)
	if at, n := differ(whole(t, s.dev["small"]), before); n > 0 {
		t.Errorf("%d sectors changed, the first is %d", n, at)
	}
}

// A copy that is interrupted says how far it came, and that is what is there.
func TestCopyCancelled(t *testing.T) {
	anyKernel(t)
	s := up(t, pathDisks(nullBlk(t, 64))+tableDevice("x", "0 32768 linear a 0")+tableDevice("y", "0 32768 linear a 65536"))
	scribble(t, s.dev["x"], 1)
	scribble(t, s.dev["y"], 2)
	x, y := whole(t, s.dev["x"]), whole(t, s.dev["y"])
	var out, say bytes.Buffer
	cmd := exec.Command("ublk-linear", "copy", "-c", s.file, "x:0s+32768s", "y:0s", "--rate=4MiB", "--window=1MiB", "--in-flight=2MiB", "--json", "--force") // the test has it open
	cmd.Stdout, cmd.Stderr = &out, &say
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, first := openDirect(t, s.dev["y"]), pages(t, 4096)
	within(t, "the first window", func() bool {
		if _, e := transfer(fd, false, first, 0); e != 0 {
			t.Fatal(e)
		}
		return !bytes.Equal(first[:512], y[:512])
	})
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	var res copied
	if err := json.Unmarshal(out.Bytes(), &res); err != nil || cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("exit %d: %v\n%s\n%s", cmd.ProcessState.ExitCode(), err, &out, &say)
	}
	if res.Bytes == 0 || res.Bytes >= 16<<20 || res.Bytes > res.Emulated {
		t.Errorf("%+v", res)
	}
	got := whole(t, s.dev["y"])
	if at, n := differ(got[:res.Bytes], x[:res.Bytes]); n > 0 {
		t.Errorf("%d bytes are said to be copied, but %d sectors are not, the first is %d", res.Bytes, n, at)
	}
	if done := res.Emulated; !bytes.Equal(got[done:], y[done:]) { // windows are begun in order, and this one copies all it began
		t.Errorf("%d bytes were copied, but more of the destination changed", done)
	}
	if c := (copies{src: "x", from: 0, dst: "y", to: 0, n: 32768, policy: []string{"--force"}}); !bytes.Equal(whole(t, s.dev["x"]), x) || c.expect(t, s).Bytes != 16<<20 {
		t.Error("the copy was not done again")
	}
}

// A source with unreadable sectors: what lies before them is copied, what lies behind is said not to be, and where it failed.
func TestCopyBadSource(t *testing.T) {
	anyKernel(t)
	good, under := nullBlk(t, 64), nullBlk(t, 64)
	size := 64 * 2048
	bad := dmCreate(t, "copybad", badTable(under, size))
	s := up(t, pathDisks(bad, good)+tableDevice("x", "0 40960 linear a 0")+tableDevice("y", "0 40960 striped 2 64 b 0 b 65536"))
	scribble(t, s.dev["y"], 2)
	y := whole(t, s.dev["y"])
	var res copied
	if code := tool(t, &res, "copy", "-c", s.file, "x:0s+40960s", "y:0s"); code != 7 {
		t.Errorf("exit %d", code)
	}
	if res.Bytes != badStart*512 {
		t.Errorf("%d bytes copied, the first bad one is %d: %+v", res.Bytes, badStart*512, res)
	}
	if len(res.Failed) == 0 || res.Failed[0].Side != "source" || res.Failed[0].Offset != badStart*512 {
		t.Errorf("failed: %+v", res.Failed)
	}
	got := whole(t, s.dev["y"])
	for _, f := range res.Failed {
		if !bytes.Equal(got[f.Offset:f.Offset+f.Bytes], y[f.Offset:f.Offset+f.Bytes]) {
			t.Errorf("%d+%d was not copied, but changed", f.Offset, f.Bytes)
		}
	}
	src := make([]byte, res.Bytes) // what was read is what the good part of the disk has
	d := openRaw(t, under)
	b := aligned(t, len(src))
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if at, n := differ(got[:res.Bytes], b); n > 0 {
		t.Errorf("%d sectors of the prefix are wrong, the first is %d", n, at)
	}
}

// What a large copy does to others: p99 of random 4 KiB reads of the source and writes of the destination, alone and
// during copies. The figures are for people to read.
func TestCopyForeground(t *testing.T) {
	anyKernel(t)
	s := up(t, pathDisks(nullBlk(t, 128), nullBlk(t, 128))+tableDevice("x", "0 131072 linear a 0")+tableDevice("y", "0 131072 linear b 0"))
	p99 := func(device, rw string) float64 {
		var out struct {
			Jobs []map[string]struct {
				Clat struct {
					Percentile map[string]float64 `json:"percentile"`
				} `json:"clat_ns"`
			} `json:"jobs"`
		}
		cmd := exec.Command("fio", "--name=j", "--filename="+s.dev[device], "--ioengine=io_uring", "--direct=1", "--rw="+rw, "--bs=4k", "--iodepth=1", "--time_based", fmt.Sprintf("--runtime=%d", scaled(3, 10)), "--output-format=json")
		b, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		// Only the two directions are objects of that shape.
		var raw struct{ Jobs []map[string]json.RawMessage }
		if err := json.Unmarshal(b, &raw); err != nil || len(raw.Jobs) == 0 {
			t.Fatal(err)
		}
		one := map[string]json.RawMessage{}
		for _, k := range []string{"read", "write"} {
			one[k] = raw.Jobs[0][k]
		}
		j, _ := json.Marshal(map[string]any{"jobs": []any{one}})
		if err := json.Unmarshal(j, &out); err != nil {
			t.Fatal(err)
		}
		return out.Jobs[0][strings.TrimPrefix(rw, "rand")].Clat.Percentile["99.000000"] / 1000
	}
	alone := [2]float64{p99("x", "randread"), p99("y", "randwrite")}
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			var res copied
			if code := tool(t, &res, "copy", "-c", s.file, "x:0s+131072s", "y:0s", "--force"); code != 0 {
				t.Errorf("exit %d: %+v", code, res)
			}
			n++
		}
	}()
	during := [2]float64{p99("x", "randread"), p99("y", "randwrite")}
	close(stop)
	t.Logf("p99 of 4 KiB reads of the source: %.0f µs alone, %.0f during %d copies; writes to the destination: %.0f, %.0f", alone[0], during[0], <-done, alone[1], during[1])
}
