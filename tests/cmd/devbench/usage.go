package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a server has used.
type usage struct {
	cpu       time.Duration
	switches  int // voluntary context switches: times that a thread blocked
	rss, anon int // KiB
}

// usage adds up the threads of a contender's processes, kernel workers of their rings among them. The kernel counts a
// thread's running time in nanoseconds (/proc/PID/task/TID/schedstat), where /proc/PID/stat has hundredths of a second.
func (c *contender) usage() (u usage) {
	for _, pid := range c.pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, t := range tasks {
			stat, _ := os.ReadFile(t + "/schedstat")
			if f := strings.Fields(string(stat)); len(f) > 0 {
				ns, _ := strconv.ParseInt(f[0], 10, 64)
				u.cpu += time.Duration(ns)
			}
			u.switches += field(t+"/status", "voluntary_ctxt_switches")
		}
		status := fmt.Sprintf("/proc/%d/status", pid)
		u.rss += field(status, "VmRSS")
		u.anon += field(status, "RssAnon")
	}
	return u
}

// field is a number of a file of "Name: number" lines; 0 where there is none.
func field(file, name string) int {
	text, _ := os.ReadFile(file)
	for l := range strings.Lines(string(text)) {
		if k, v, _ := strings.Cut(l, ":"); k == name {
			if f := strings.Fields(v); len(f) > 0 {
				n, _ := strconv.Atoi(f[0])
				return n
			}
		}
	}
	return 0
}
