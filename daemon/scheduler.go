package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The kernel gives a device of one queue an I/O scheduler, mq-deadline (elevator_get_default), and one of several none. The
// disks below have their own: here it only sends every request by way of a kernel worker. So a device of ours begins without.
//
// Writing queue/scheduler freezes the device: the writer waits, and nothing can kill it, until all requests in flight are
// answered (blk_mq_freeze_queue). Even reading it may wait for another who writes. A server's thread must not: killed in
// there, the server would neither end nor answer them. So it is done by a process of its own (schedulers.go), which has
// nothing of the server's open, and ends when the device is recovered or deleted.

const (
	defaultScheduler = "mq-deadline"    // elevator_get_default knows no other
	quietWait        = 4 * time.Second  // for a moment without requests
	quietPoll        = time.Millisecond // between two looks
	atOnce           = 16               // devices: for each the kernel looks for a module by the name of none-iosched, 50 at a time
)

// errInFlight is why a device keeps its scheduler.
var errInFlight = errors.New("it was never without requests in flight")

// NoSchedulers is what the process does that Options.NoScheduler names. in has a kernel name of a block device on each line.
// The device gets the scheduler `none` if it has the kernel's own choice: another one is somebody's, by a udev rule. out gets
// the name when that is done, and what was in the way behind it. sys is where sysfs is, "/sys". NoSchedulers ends with in,
// and the last device.
func NoSchedulers(sys string, in io.Reader, out io.Writer) error {
	var devices sync.WaitGroup
	defer devices.Wait()
	var mu sync.Mutex
	slots := make(chan struct{}, atOnce)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name := lines.Text()
		devices.Go(func() { // one that waits holds up no other
			answer := name
			if err := noScheduler(filepath.Join(sys, "block", filepath.Base(name)), quietWait, slots); err != nil {
				answer += " " + strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = fmt.Fprintln(out, answer) // a server that is gone does not ask
		})
	}
	return lines.Err()
}

// noScheduler takes the scheduler of a device out. It waits for a moment without requests, for as long as patience: what
// hangs at a disk would otherwise keep all others out of the frozen device, those for other disks too.
func noScheduler(dir string, patience time.Duration, slots chan struct{}) error {
	file := filepath.Join(dir, "queue", "scheduler")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.Contains(string(b), "["+defaultScheduler+"]") {
		return nil
	}
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(quietPoll) {
		if done, err := ifIdle(dir, file, slots); done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return errInFlight
		}
	}
}

// ifIdle takes the scheduler out now, or not.
func ifIdle(dir, file string, slots chan struct{}) (done bool, err error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	if idle, err := isIdle(dir); err != nil || !idle {
		return false, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.WriteString("none")
	return err == nil, err
}

// isIdle says whether no request of a device is in flight.
func isIdle(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "inflight"))
	if err != nil {
		return false, err
	}
	var reads, writes uint64
	if _, err := fmt.Sscan(string(b), &reads, &writes); err != nil {
		return false, fmt.Errorf("inflight of %s: %w", filepath.Base(dir), err)
	}
	return reads+writes == 0, nil
}
