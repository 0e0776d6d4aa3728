package uring

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// pairs times two ways of doing the same, in short turns, and reports the median of the rounds' ratios (with/without) and its
// quartiles. Each is called with how often to do it. What is counted is the thread's CPU time: others may run meanwhile.
func pairs(b *testing.B, without, with func(n int)) {
	const chunk = time.Millisecond
	n := 64
	for {
		start := cpuTime()
		without(n)
		if cpuTime()-start > chunk {
			break
		}
		n *= 2
	}
	with(n)
	var ratios, olds, news []float64
	took := func(f func(int)) float64 {
		start := cpuTime()
		f(n)
		return float64(cpuTime()-start) / float64(n)
	}
	for b.Loop() {
		var o, w float64
		if len(ratios)%2 == 0 {
			o, w = took(without), took(with)
		} else {
			w, o = took(with), took(without)
		}
		ratios, olds, news = append(ratios, w/o), append(olds, o), append(news, w)
	}
	for _, v := range [][]float64{ratios, olds, news} {
		slices.Sort(v)
	}
	at := func(v []float64, q int) float64 { return v[(len(v)-1)*q/4] }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(ratios, 1), "ratio-q1")
	b.ReportMetric(at(ratios, 2), "ratio")
	b.ReportMetric(at(ratios, 3), "ratio-q3")
	b.ReportMetric(at(olds, 2), "without-ns")
	b.ReportMetric(at(news, 2), "with-ns")
}

// cpuTime is what this thread has run.
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// turns is n entries, depth at a time, submitted and waited for by enter.
func turns(b *testing.B, r *Ring, depth int, enter func(wait uint32) error, fill func(e *uapi.SQE)) func(n int) {
	return func(n int) {
		for done := 0; done < n; done += depth {
			for range depth {
				fill(r.SQE())
			}
			if err := enter(uint32(depth)); err != nil {
				b.Fatal(err)
			}
			for got := 0; got < depth; {
				c, ok := r.Next()
				switch {
				case ok && c.Res < 0:
					b.Fatal(unix.Errno(-c.Res))
				case ok:
					got++
				default: // a signal came
					if err := r.Enter(1); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	}
}

func nop(e *uapi.SQE) { e.Opcode = uapi.IORING_OP_NOP }

// What New sets up, each against a ring without it, in entries that do nothing.
func BenchmarkSetup(b *testing.B) {
	o := func(k *kernel) Options { return Options{Entries: 128, CQEntries: 1024, Deferred: true, kernel: k} }
	for _, c := range []struct {
		name string
		old  *kernel
	}{{"NO_SQARRAY", &before66}, {"registered ring", &before518}, {"both", &oldest}, {"none", nil}} {
		for _, depth := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", c.name, depth), func(b *testing.B) {
				without, with := newRing(b, o(c.old)), newRing(b, o(nil))
				pairs(b, turns(b, without, depth, without.Enter, nop), turns(b, with, depth, with.Enter, nop))
			})
		}
	}
}

// What is not used: a table of files, in reads of 512 bytes of /dev/zero.
func BenchmarkRegisteredFile(b *testing.B) {
	for _, depth := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			r := newRing(b, Options{Entries: 128, CQEntries: 1024, Deferred: true})
			fd, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer unix.Close(fd)
			if err := registerFile(r, int32(fd)); err != nil {
				b.Fatal(err)
			}
			mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = unix.Munmap(mem) }()
			read := func(fd int, flags uint8) func(e *uapi.SQE) {
				return func(e *uapi.SQE) {
					e.Opcode, e.FD, e.Flags, e.Addr, e.Len = uapi.IORING_OP_READ, int32(fd), flags, address(mem), 512
				}
			}
			pairs(b, turns(b, r, depth, r.Enter, read(fd, 0)), turns(b, r, depth, r.Enter, read(0, uapi.IOSQE_FIXED_FILE)))
		})
	}
}

// What is not used either: an enter of which the runtime is not told, so that it holds up the garbage collector.
func BenchmarkRawSyscall(b *testing.B) {
	for _, depth := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			r := newRing(b, Options{Entries: 128, CQEntries: 1024, Deferred: true})
			pairs(b, turns(b, r, depth, r.Enter, nop), turns(b, r, depth, r.enterRaw, nop))
		})
	}
}
