package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
)

// HoldDisk opens one disk of a checked file for writing and holds it, as Up would, with the instance of the file, so that no
// server begins meanwhile. release closes it and gives the instance back. Errors: fs.ErrNotExist, of a name that the file does
// not have; a ServedError; those of disk.Open.
func HoldDisk(ctx context.Context, f *config.File, name, runDir string, log *slog.Logger) (_ *disk.Disk, release func() error, err error) {
	d := f.Disk(name)
	switch {
	case d == nil:
		return nil, nil, fmt.Errorf("no disk %q in %s: %w", name, f.Path, fs.ErrNotExist)
	case d.Kind == config.KindDeclared:
		return nil, nil, fmt.Errorf("disk %s is only declared (size = %v): there is nothing to open", d.Name, d.Declared)
	}
	inst, err := NewInstance(f.Path, runDir)
	if err != nil {
		return nil, nil, err
	}
	lock, err := inst.lockAs(copying)
	if err != nil {
		return nil, nil, err
	}
	open, err := disk.Open(ctx, specOf(d, !d.ReadOnly), &disk.Options{Logger: log, Wait: diskWait, Served: servedBy(runDir)})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s:%d:%d: %w", f.Path, d.Pos.Line, d.Pos.Col, err), lock.Close())
	}
	return open, func() error { return errors.Join(open.Close(), lock.Close()) }, nil
}
