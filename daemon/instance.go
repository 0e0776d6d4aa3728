package daemon

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RunDir is where servers keep their locks, sockets and states.
const RunDir = "/run/ublk-linear"

// LinkDir is where devices get their names.
const LinkDir = "/dev/ublk-linear"

// markMagic is the upper half of what the driver keeps for our devices (ublksrv_flags): "ublL".
const markMagic = 0x75626c4c

// Instance is one configuration file's place in RunDir: at most one server at a time serves it.
type Instance struct {
	Config string // absolute path
	dir    string
	name   string
}

// NewInstance finds the instance of a configuration file. Two paths to one file are one instance.
func NewInstance(path, runDir string) (*Instance, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	if runDir == "" {
		runDir = RunDir
	}
	base := strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs))
	base = strings.ToValidUTF8(base[:min(len(base), 40)], "") // a socket's path has 107 bytes at most
	sum := crc32.ChecksumIEEE([]byte(abs))
	return &Instance{Config: abs, dir: runDir, name: fmt.Sprintf("%s-%08x", base, sum)}, nil
}

// Socket is the path of the control socket.
func (i *Instance) Socket() string { return filepath.Join(i.dir, i.name+".sock") }

func (i *Instance) lockPath() string  { return filepath.Join(i.dir, i.name+".lock") }
func (i *Instance) statePath() string { return filepath.Join(i.dir, i.name+".json") }

// Mark is what the driver keeps with our devices: the magic, and which configuration they are of.
func (i *Instance) Mark() uint64 {
	return markMagic<<32 | uint64(crc32.ChecksumIEEE([]byte(i.Config)))
}

// Ours says whether a mark is that of any ublk-linear device.
func Ours(mark uint64) bool { return mark>>32 == markMagic }

// ServedError is returned when another process has the instance.
type ServedError struct {
	Config  string
	PID     int
	Copying bool // it is no server, but a copy without one
}

func (e *ServedError) Error() string {
	if e.Copying {
		return fmt.Sprintf("%s is in use by process %d, which copies", e.Config, e.PID)
	}
	return fmt.Sprintf("%s is already served by process %d (ublk-linear down -c %s stops it)", e.Config, e.PID, e.Config)
}

// Unwrap makes errors.Is(err, unix.EBUSY) hold.
func (e *ServedError) Unwrap() error { return unix.EBUSY }

// copying stands behind the number of a process that is no server.
const copying = " copy"

// Lock takes the instance for as long as the file is open: a server that dies gives it up. Errors: a ServedError.
func (i *Instance) Lock() (*os.File, error) { return i.lockAs("") }

// lockAs is Lock of a process that is something else than a server.
func (i *Instance) lockAs(what string) (*os.File, error) {
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	f, err := os.OpenFile(i.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("instance lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for range 3 { // Served of another process holds it for a moment
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(50 * time.Millisecond)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid, what := readPID(f)
			return nil, &ServedError{i.Config, pid, what == copying}
		}
		return nil, fmt.Errorf("instance lock: %w", err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("instance lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+what), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("instance lock: %w", err)
	}
	return f, nil
}

// lockSoon is Lock that waits for a server which was killed: its last thread may still be in the middle of a command to a
// disk, and has all its files until that ends.
func (i *Instance) lockSoon(ctx context.Context) (*os.File, error) {
	for end := time.Now().Add(fenceWait); ; {
		f, err := i.Lock()
		served, ok := errors.AsType[*ServedError](err)
		if !ok || !dying(served.PID) || time.Now().After(end) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// dying says whether a process is on its way out (proc_pid_stat(5): state, and PF_EXITING among the flags).
func dying(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return pid > 0 // gone; its lock goes, too
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 7 {
		return false
	}
	flags, _ := strconv.ParseUint(f[6], 10, 64)
	return f[0] == "Z" || f[0] == "X" || flags&0x4 != 0
}

// Served says whether a server has the instance now.
func (i *Instance) Served() bool {
	f, err := os.Open(i.lockPath())
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// readPID is who has the instance, and as what.
func readPID(f *os.File) (pid int, what string) {
	b := make([]byte, 24)
	n, _ := f.ReadAt(b, 0)
	text := strings.TrimSpace(string(b[:n]))
	if i := strings.IndexByte(text, ' '); i >= 0 {
		text, what = text[:i], text[i:]
	}
	pid, _ = strconv.Atoi(text)
	return pid, what
}

// forget removes what the instance left in the run folder. The caller holds the lock; the lock file stays, since a
// waiter may have it open.
func (i *Instance) forget() {
	_ = os.Remove(i.Socket())
	_ = os.Remove(i.statePath())
	_ = os.Remove(i.statePath() + ".tmp")
}
