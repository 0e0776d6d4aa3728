package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
)

// nodes are the block devices of a copy's sides, as any process of the host has them. The server must not open them: its
// own page cache would wait for itself.
type nodes struct{ src, dst string }

func copyNodes(l List, r *CopyRequest) (nodes, error) {
	node := func(name string) (string, error) {
		for _, d := range l.Devices {
			if d.Name == name {
				return d.Node, nil
			}
		}
		return "", fmt.Errorf("no device %q is served: %w", name, fs.ErrNotExist)
	}
	src, err := node(r.Source.Device)
	if err != nil {
		return nodes{}, err
	}
	dst, err := node(r.Destination.Device)
	return nodes{src, dst}, err
}

// passing is how long a process may have the destination open before it is a user: udev looks at devices, and so does
// another copy.
const passing = time.Second

// free refuses a destination that somebody uses: it would find its data changed. Errors: a disk.BusyError, ctx's.
func (n nodes) free(ctx context.Context) error {
	for end := time.Now().Add(passing); ; {
		hs := disk.Holders(n.dst, &disk.Options{})
		if len(hs) == 0 {
			return nil
		}
		stays := slices.ContainsFunc(hs, func(h disk.Holder) bool { return h.Kind != "process" })
		if stays || time.Now().After(end) {
			return &disk.BusyError{Node: n.dst, Holders: hs}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clean writes what the page cache has of both devices, and forgets it.
func (n nodes) clean() error {
	var errs []error
	if n.src != n.dst {
		errs = append(errs, tidy(n.src, true))
	}
	errs = append(errs, tidy(n.dst, true))
	return errors.Join(errs...)
}

// forget forgets what the page cache has of the destination: it may have been read in the middle of the copy.
func (n nodes) forget() error { return tidy(n.dst, false) }

// tidy opens a device for reading: closing one that was open for writing has udev look at it.
func tidy(node string, sync bool) error {
	f, err := os.Open(node)
	if err != nil {
		return err
	}
	defer f.Close()
	if sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	// All of it: a folio that is only partly inside a range is not dropped (invalidate_mapping_pages), and it may be
	// megabytes long.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: node, Err: err}
	}
	return nil
}
