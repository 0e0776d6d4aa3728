package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

var (
	// errStillGone is returned for a disk that is not back, or not quite.
	errStillGone = errors.New("the disk is gone")
	// errDiskGone is why a copy ends whose disk vanished.
	errDiskGone = errors.New("a disk of the copy is gone")
)

// holdAgain is how long a disk that is back may be held by those who look at new disks.
const holdAgain = 2 * time.Second

// back takes a disk back that was gone, if it is there. The right to change what is served is taken for that: another change
// under way is waited for, without holding up anything. Errors: errStillGone; why the disk cannot be used.
func (s *Server) back(ctx context.Context, old *disk.Disk) error {
	same := s.there(old)
	if !same {
		if err := s.candidate(old); err != nil {
			return err
		}
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return errStillGone
	}
	defer end()
	users, at := s.usersOf(old), s.indexOf(old)
	if at < 0 {
		return errStillGone // a reload has closed it
	}
	for _, u := range users {
		if u.dev.InFlight(u.at) > 0 {
			return errStillGone // what the old one still has must not land over what the new one gets
		}
	}
	fresh := old
	if !same {
		if fresh, err = s.reopen(ctx, old); err != nil {
			return err
		}
	}
	unflushed := s.cached(old, fresh, at) && (s.health.statsOf(old).Unflushed() || s.copies.any())
	s.health.statsOf(old).Returned() // nothing is in flight
	s.mu.Lock()
	ds := slices.Clone(s.disks)
	s.mu.Unlock()
	ds[at] = fresh
	var backing *ublk.Backing
	if fresh != old {
		s.health.moved(old, fresh)
		backing = &s.faults.backings(s.health.backings(ds))[at]
	}
	for _, u := range users {
		for {
			err := u.dev.DiskBack(ctx, u.at, backing, unflushed)
			if ctx.Err() == nil && !errors.Is(err, ublk.ErrTimeout) {
				break // done, or the device has ended
			}
			if ctx.Err() != nil { // the server ends; a queue may still have the old one, which stays open
				s.mu.Lock()
				s.disks = ds
				s.mu.Unlock()
				return err
			}
		}
	}
	s.returned(old, fresh, ds, unflushed)
	return nil
}

// returned is the rest, when the queues have the disk: what copies find, the state, and the word of it.
func (s *Server) returned(old, fresh *disk.Disk, ds disks, unflushed bool) {
	s.health.returned(fresh, DiskReturn{Time: time.Now(), Unflushed: unflushed})
	s.mu.Lock()
	s.disks = ds
	for _, e := range s.on(slices.Index(ds, fresh)) {
		e.epoch.Add(1) // a copy that was planned before does no more
	}
	before := s.renew()
	s.mu.Unlock()
	s.copies.behind(func() {
		if before != nil {
			before.Close()
		}
		if fresh != old {
			if err := old.Close(); err != nil {
				s.log.Warn("closing a disk that was gone", "disk", old.Name(), "err", err)
			}
		}
	})
	if err := s.saveState(); err != nil {
		s.log.Error("the state with a disk that is back could not be written", "disk", fresh.Name(), "err", err)
	}
	x := Event{Kind: DiskReturned, Disk: fresh.Name(), Node: fresh.Node()}
	if unflushed {
		x.Error = "writes that were answered and not flushed may be gone with its cache: the next flush of each device on it fails"
	}
	s.log.Warn("a disk is back", "disk", fresh.Name(), "node", fresh.Node(), "unflushed", unflushed)
	s.events.publish(x)
}

// there says whether the block device that was opened is there, still or again.
func (s *Server) there(d *disk.Disk) bool {
	return isThere(s.keeper.sys, d.Rdev())
}

// candidate looks for a block device that says it is the disk, other than the one that is gone. Errors: errStillGone; ENOTUNIQ.
func (s *Server) candidate(old *disk.Disk) error {
	i, err := disk.Inspect(againSpec(old), &disk.Options{Served: servedBy(s.inst.dir)})
	switch {
	case errors.Is(err, unix.ENOTUNIQ):
		return err
	case i.Rdev == 0 || i.Rdev == old.Rdev():
		return errStillGone
	}
	return nil // what else is wrong with it, opening says
}

// againSpec finds a disk by what it is.
func againSpec(old *disk.Disk) disk.Spec {
	return disk.Spec{Name: old.Name(), Match: knows(old.Identity(), old.Identity().PartUUID != ""), ReadOnly: old.ReadOnly()}
}

// reopen opens a disk that is back, as at the start: nobody else has it, and it is what it was. Errors: why it is not.
func (s *Server) reopen(ctx context.Context, old *disk.Disk) (_ *disk.Disk, err error) {
	d, err := openDisk(ctx, againSpec(old), &disk.Options{Logger: s.log, Wait: holdAgain, Served: servedBy(s.inst.dir)})
	if err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) {
			return nil, errStillGone // it went again, or its node is not there yet
		}
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if was, now := old.Identity(), d.Identity(); was != now {
		return nil, fmt.Errorf("%s is another disk: %v, was %v", d.Node(), now, was)
	}
	if d.Sectors() < old.Sectors() {
		return nil, fmt.Errorf("%s has %d sectors, fewer than the %d it had", d.Node(), d.Sectors(), old.Sectors())
	}
	return d, s.fits(old, d)
}

// fits refuses a disk with which a device could not keep to what it was announced with.
func (s *Server) fits(old, d *disk.Disk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.disks, old)
	ds := slices.Clone(s.disks)
	ds[at] = d
	bottoms := ds.bottoms(s.file)
	var errs []error
	for _, e := range s.on(at) {
		live := e.dev.Spec()
		want := live
		var err error
		if want.Limits, err = ds.stack(e.table, bottoms); err == nil {
			err = errors.Join(stricter(&live, &want)...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", e.conf.Name, err))
		}
	}
	return errors.Join(errs...)
}

// cached says whether a disk has, or had, a cache that loses what is not flushed.
func (s *Server) cached(old, fresh *disk.Disk, at int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.file.Disks[at].Limits
	return override(old.Limits(), o).WriteCache || override(fresh.Limits(), o).WriteCache
}

// indexOf is a disk's place in the list; -1 when it has none.
func (s *Server) indexOf(d *disk.Disk) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Index(s.disks, d)
}

// usersOf are the devices on a disk.
func (s *Server) usersOf(d *disk.Disk) (out []diskUser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.disks, d)
	if i < 0 {
		return nil
	}
	for _, e := range s.on(i) {
		out = append(out, diskUser{e.conf.Name, target.Disk(i), e.conf.OnDiskLoss.Park(), e.dev})
	}
	return out
}

// on are the devices on the disk at a place in the list. The caller has mu.
func (s *Server) on(at int) (out []*device) {
	for _, e := range s.devices {
		if slices.Contains(e.table.Disks(), target.Disk(at)) {
			out = append(out, e)
		}
	}
	return out
}
