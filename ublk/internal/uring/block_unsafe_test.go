package uring

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// echo is a process that answers a byte a while later. It is this program with that in its environment.
const echo = "URING_TEST_ECHO"

func init() {
	if os.Getenv(echo) == "" {
		return
	}
	b := make([]byte, 1)
	for {
		if n, err := os.Stdin.Read(b); n != 1 || err != nil {
			os.Exit(0)
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 50000}, nil) // a disk
		_, _ = os.Stdout.Write(b)
	}
}

// BenchmarkBlock is what it costs a locked goroutine to block once, with another process in the place of a kernel that
// answers after a while: in Syscall, where Go's runtime hands the processor on and has its monitor thread woken for it, and in RawSyscall,
// where it does neither (and where the collector would have to wait). CPU time and voluntary context switches are those
// of the whole process.
func BenchmarkBlock(b *testing.B) {
	for _, name := range []string{"Syscall", "RawSyscall", "Ring", "BriefRing"} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var there, back [2]int
			for _, p := range []*[2]int{&there, &back} {
				if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
					b.Fatal(err)
				}
			}
			other := exec.Command(os.Args[0])
			other.Env = append(os.Environ(), echo+"=1")
			other.Stdin, other.Stdout = os.NewFile(uintptr(there[0]), "in"), os.NewFile(uintptr(back[1]), "out")
			if err := other.Start(); err != nil {
				b.Fatal(err)
			}
			var r *Ring
			switch name {
			case "Ring":
				r = newRing(b, Options{Entries: 8, Deferred: true})
			case "BriefRing":
				r = newRing(b, Options{Entries: 8, Deferred: true})
				r.BriefAt(new(int))
				places.Store(max(1, places.Load()))
			}
			buf := make([]byte, 1)
			at := uintptr(unsafe.Pointer(&buf[0])) // the heap does not move, and buf is kept below
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
			for b.Loop() {
				_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(there[1]), at, 1)
				switch name {
				case "RawSyscall":
					_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(back[0]), at, 1)
				case "Syscall":
					_, _, _ = unix.Syscall(unix.SYS_READ, uintptr(back[0]), at, 1)
				default:
					e := r.SQE()
					e.Opcode, e.FD, e.Addr, e.Len = uapi.IORING_OP_READ, int32(back[0]), uint64(at), 1
					for _, ok := r.Next(); !ok; _, ok = r.Next() {
						if err := r.Enter(1); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Nvcsw-before.Nvcsw)/float64(b.N), "switches/op")
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/1000/float64(b.N), "cpu-us/op")
			runtime.KeepAlive(buf)
			_ = unix.Close(there[1])
			_ = other.Wait()
			_ = unix.Close(back[0])
		})
	}
}
