package daemon

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// ProcessInfo is what this process is to the kernel, by the kernel's own account.
type ProcessInfo struct {
	IOFlusher     bool   `json:"io_flusher"`     // every thread is one (PR_SET_IO_FLUSHER)
	Threads       int    `json:"threads"`        // io_uring's workers among them
	LockedBytes   uint64 `json:"locked_bytes"`   // VmLck: mapped so that it stays in memory once it is there; 0: nothing
	ResidentBytes uint64 `json:"resident_bytes"` // VmRSS
	OOMScoreAdj   int    `json:"oom_score_adj"`
	MemoryLimit   int64  `json:"memory_limit_bytes"` // of the Go heap, soft; 2^63-1: none
}

// flusherFlags are PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE (include/linux/sched.h): what PR_SET_IO_FLUSHER sets.
const flusherFlags = 0x00080000 | 0x00100000

// Process reads what this process is.
func Process() ProcessInfo { return processAt("/proc/self") }

func processAt(dir string) ProcessInfo {
	out := ProcessInfo{MemoryLimit: math.MaxInt64}
	tasks, _ := filepath.Glob(dir + "/task/[0-9]*/stat")
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil { // it ended
			continue
		}
		if out.Threads++; out.Threads == 1 {
			out.IOFlusher = true
		}
		out.IOFlusher = out.IOFlusher && taskFlags(string(b))&flusherFlags == flusherFlags
	}
	b, _ := os.ReadFile(dir + "/status")
	out.LockedBytes, out.ResidentBytes = kilobytes(string(b), "VmLck:"), kilobytes(string(b), "VmRSS:")
	b, _ = os.ReadFile(dir + "/oom_score_adj")
	out.OOMScoreAdj, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	out.MemoryLimit = debug.SetMemoryLimit(-1)
	return out
}

// taskFlags is field 9 of /proc/PID/stat, the task's PF_ flags. The second field, the name, may have spaces and brackets.
func taskFlags(stat string) uint64 {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 7 {
		return 0
	}
	n, _ := strconv.ParseUint(f[6], 10, 64)
	return n
}

// kilobytes is a line of /proc/PID/status, in bytes.
func kilobytes(status, key string) uint64 {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
