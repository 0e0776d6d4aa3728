package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fioRun is one fio at work: four jobs beside each other, two with a flush behind every 16 writes and two with FUA. Each writes
// every block of its own part once, in bursts, then reads what was acknowledged and verifies it.
type fioRun struct {
	cmd  *exec.Cmd
	say  *lockedBuffer
	json string
	done chan error // the exit, once
	stat string     // of the device
	base [2]uint64  // reads that it had answered before, and sectors that it had written
}

// What a fioRun writes to, from the beginning of its device on, and how much.
const (
	fioSpan  = 32 << 20 // bytes
	fioBytes = 12 << 20
)

// fioTold is what the tests read of fio's JSON; all jobs are one group.
type fioTold struct {
	Read   fioSide `json:"read"`
	Write  fioSide `json:"write"`
	Failed int     `json:"total_err"` // requests, those that continue_on_error went on over
	Sync   struct {
		Lat fioTimes `json:"lat_ns"`
	} `json:"sync"`
}

type fioSide struct {
	Bytes uint64   `json:"io_bytes"` // of requests that succeeded
	Lat   fioTimes `json:"lat_ns"`
}

type fioTimes struct {
	Max int64 `json:"max"` // ns
}

// longest is how long the slowest read, write or flush took.
func (f *fioTold) longest() time.Duration {
	return time.Duration(max(f.Read.Lat.Max, f.Write.Lat.Max, f.Sync.Lat.Max))
}

// startFio begins on a device whose part of fioSpan is zero: of blocks of many sizes fio does not see by itself that one is of
// an earlier run. Words are more options of all jobs.
func startFio(t testing.TB, node string, words ...string) *fioRun {
	t.Helper()
	sh(t, "blkdiscard", "--zeroout", "--length", fmt.Sprint(fioSpan), node)
	dir := t.TempDir()
	jobs := fioGlobal(node) + "rw=randwrite\nnumjobs=2\noffset_increment=8m\nthinktime=100ms\n" + strings.Join(words, "\n") +
		"\n[flush]\nbsrange=4k-64k\niodepth=16\nsize=4m\nfsync=16\nthinktime_blocks=8\n" +
		"[fua]\nbs=8k\niodepth=4\nsize=2m\nsync=1\nthinktime_blocks=16\noffset=16m\n"
	file := filepath.Join(dir, "jobs.fio")
	if err := os.WriteFile(file, []byte(jobs), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fioRun{say: &lockedBuffer{}, json: filepath.Join(dir, "out.json"), done: make(chan error, 1), stat: "/sys/class/block/" + filepath.Base(node) + "/stat"}
	f.base = [2]uint64{f.counter(t, 0), f.counter(t, 6)}
	f.cmd = exec.Command("fio", "--output-format=json", "--output="+f.json, file)
	f.cmd.Stdout, f.cmd.Stderr = f.say, f.say
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		f.done <- f.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		select {
		case <-ended:
		case <-time.After(hang): // what it waits for is gone with the device
		}
	})
	return f
}

// running is false when it has ended, well or not.
func (f *fioRun) running() bool { return len(f.done) == 0 }

// wrote is how many of fioBytes have been answered, well or not.
func (f *fioRun) wrote(t testing.TB) uint64 {
	t.Helper()
	return (f.counter(t, 6) - f.base[1]) << 9
}

// reads is whether a job has begun to verify.
func (f *fioRun) reads(t testing.TB) bool {
	t.Helper()
	return f.counter(t, 0) > f.base[0]
}

// underWay is how many requests of the device are.
func (f *fioRun) underWay(t testing.TB) uint64 {
	t.Helper()
	return f.counter(t, 8)
}

// counter is one of the numbers in the device's stat (Documentation/block/stat.rst).
func (f *fioRun) counter(t testing.TB, at int) uint64 {
	t.Helper()
	b, err := os.ReadFile(f.stat)
	field := strings.Fields(string(b))
	if err != nil || len(field) <= at {
		t.Fatalf("%s: %v, %q", f.stat, err, b)
	}
	n, err := strconv.ParseUint(field[at], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wait returns what it tells at its end. All that was acknowledged has been read then and is what was written: the test fails
// otherwise. A write that failed is not judged. Void is a run in which a read failed: its other blocks were verified, that
// one was not, and the caller says whether there may be such runs.
func (f *fioRun) wait(t testing.TB) (_ fioTold, void bool) {
	t.Helper()
	var err error
	select {
	case err = <-f.done:
	case <-time.After(hang):
		err = fmt.Errorf("it still runs after %v", hang)
	}
	text, _ := os.ReadFile(f.json)
	var out struct {
		Jobs []fioTold `json:"jobs"`
	}
	from := max(strings.Index(string(text), "{\n"), 0) // warnings and errors are before it
	if said := f.say.String(); exitStatus(err) > 0 && strings.Contains(said, "error: read offset=") && !strings.Contains(said, "verify: ") {
		return fioTold{}, true
	}
	if e := json.Unmarshal(text[from:], &out); err != nil || e != nil || len(out.Jobs) != 1 {
		t.Fatalf("fio: %v, its JSON: %v, %d groups\n%s%s", err, e, len(out.Jobs), f.say, text[:from])
	}
	told := out.Jobs[0]
	if told.Write.Bytes == 0 || told.Read.Bytes != told.Write.Bytes || told.Write.Bytes < fioBytes && told.Failed == 0 {
		t.Errorf("fio wrote %d bytes of %d, read %d, and %d requests failed", told.Write.Bytes, fioBytes, told.Read.Bytes, told.Failed)
	}
	return told, false
}

// underFio does step at random moments while fio is at work, run after run, until it was done n times while fio was; behind
// each run, when nobody has the device open, between. Step returns for how long requests waited, as the program says.
func underFio(t testing.TB, node, what string, n int, step func() time.Duration, between func()) {
	t.Helper()
	var stall, longest time.Duration
	done, runs, bytes := 0, 0, uint64(0)
	for done < n && !t.Failed() {
		f := startFio(t, node)
		within(t, "fio writes", func() bool { return f.wrote(t) > 0 || !f.running() })
		for done < n && f.running() && !t.Failed() {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			took := step()
			if f.running() {
				done++
				stall = max(stall, took)
			}
		}
		told, void := f.wait(t)
		if void {
			t.Fatalf("reads failed\n%s", f.say)
		}
		longest = max(longest, told.longest())
		bytes += told.Read.Bytes
		runs++
		between()
	}
	t.Logf("%d × %s under fio (%d runs, %d MiB verified): the longest stall %v, the longest I/O %v",
		done, what, runs, bytes>>20, stall.Round(100*time.Microsecond), longest.Round(100*time.Microsecond))
}
