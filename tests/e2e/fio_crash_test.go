package e2e

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crashErrors is what fio's requests may fail with, in its words: nothing for reads; for writes EIO, of those that were under
// way, and 121, EREMOTEIO, of those that come while there is no server.
var crashErrors = map[string]string{"queue": ",EIO", "fail": ",EIO:121"}

// SIGKILL under fio with the policies under which writes fail: those that were under way (queue), and all as long as there is
// no server (fail). fio goes on over these errors of writes and flushes, and over nothing else; a block whose write was acknowledged is
// what was written, in the end. In half of the rounds a copy is under way.
func TestCrashFioErrors(t *testing.T) {
	needGuest(t)
	for _, policy := range policies(t) {
		if policy == "reissue" {
			continue // TestCrashFio
		}
		t.Run(policy, func(t *testing.T) {
			s, file, disks := crashBed(t, policy)
			node := s.dev["life"]
			mine := pages(t, blockSize)
			kills, runs, voids, failed, bytes := 0, 0, 0, 0, uint64(0)
			var slowest time.Duration
			for least := scaled(2, 105); kills < least || failed == 0 && kills < 5*least; runs++ {
				f := startFio(t, node, "thinktime=200ms", "continue_on_error=write", "ignore_error="+crashErrors[policy])
				for f.running() && f.wrote(t) == 0 {
					time.Sleep(time.Millisecond)
				}
				// A read that fails verifies nothing: no kill when a job may be reading by the time there is no server. Each
				// thinks for 2.4 s and more, of which a kill may hide 0.2 s. On a machine that is too busy for that such a run
				// does not count, and the next one has fewer kills, and sooner.
				served, from, before := time.Duration(0), time.Now(), kills
				for range max(1, 4-voids) {
					time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
					var c *copying
					if kills%2 == 1 {
						c = startCopy(t, file)
						time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
					}
					for f.running() && f.underWay(t) == 0 { // between two bursts nothing can be lost
						time.Sleep(time.Millisecond)
					}
					if served += time.Since(from); served > time.Second/time.Duration(1+voids) && kills > before || f.reads(t) || !f.running() {
						c.kill()
						c.wait()
						break
					}
					s.signal(syscall.SIGKILL)
					if policy == "fail" { // else all that fio has left would fail, and then all that it reads
						_ = f.cmd.Process.Signal(syscall.SIGSTOP)
					}
					s.crash()
					c.kill()
					if policy == "fail" {
						if e := writeOnce(t, node, mine); e != unix.EIO && e != unix.EREMOTEIO {
							t.Errorf("a write while there is no server: %v", e)
						}
					}
					start := time.Now()
					var err error
					if s, err = tryUp(t, file); err != nil {
						t.Fatalf("kill %d: %v", kills, err)
					}
					slowest = max(slowest, time.Since(start))
					_ = f.cmd.Process.Signal(syscall.SIGCONT)
					from = time.Now()
					c.wait()
					kills++
				}
				told, void := f.wait(t)
				if void {
					if kills, voids = before, voids+1; voids > 20 {
						t.Fatalf("reads failed in %d runs\n%s", voids, f.say)
					}
					continue
				}
				failed += told.Failed
				bytes += told.Read.Bytes
				if t.Failed() {
					break
				}
			}
			t.Logf("%d kills under %d runs of fio (%d did not count): %d requests failed, %d MiB verified, the slowest recovery took %v", kills, runs-voids, voids, failed, bytes>>20, slowest.Round(time.Millisecond))
			if failed == 0 {
				t.Error("no request failed: it says nothing of the policy")
			}
			s.down()
			nothingLeft(t, disks...)
		})
	}
}

// writeOnce writes behind what fio writes to, and has the device open only for that.
func writeOnce(t testing.TB, node string, b []byte) unix.Errno {
	t.Helper()
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	_, e := transfer(fd, true, b, fioSpan/512)
	return e
}
