package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is the folder that keeps what was downloaded. Several runs may use it at once.
//
//	series/NAME           the release NAME stands for: the stamp that makes a second run do without a network
//	kernels/RELEASE/      vmlinuz and lib/modules/RELEASE
//	tmp/                  what is being made; renamed when whole
type Cache struct {
	Dir string
	Log io.Writer // progress; nil: silent
}

// DefaultCacheDir is ublk-linear in the user's cache folder.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	return filepath.Join(dir, "ublk-linear"), nil
}

func (c *Cache) logf(format string, args ...any) {
	if c.Log != nil {
		fmt.Fprintf(c.Log, format+"\n", args...)
	}
}

// lock waits until no other process changes the cache, and returns the release.
func (c *Cache) lock(ctx context.Context) (func(), error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache lock: %w", err)
	}
	// Tried again and again, and not waited for in the kernel: a Ctrl-C must get through.
	for said := false; ; said = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("cache lock: %w", err)
		}
		if !said {
			c.logf("waiting for another run to fill the cache")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// temp makes a folder to prepare something in, on the cache's own file system so that it can be renamed.
// The lock is held: whatever an interrupted run left there is removed first.
func (c *Cache) temp() (string, error) {
	dir := filepath.Join(c.Dir, "tmp")
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("cache temp folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache temp folder: %w", err)
	}
	return dir, nil
}
