package daemon

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// The words of DiskStatus.State.
const (
	DiskPresent = "present"
	DiskParked  = "parked" // it is gone, and requests wait for it
	DiskLost    = "lost"   // it is gone, and requests fail
)

// newKeeper is the server's keeper, which is started when the disks are open.
func (s *Server) newKeeper() *keeper {
	return &keeper{log: s.log, events: &s.events, sys: os.DirFS("/sys"), wake: make(chan struct{}, 1),
		users: s.usersOf, suspects: s.health.suspects, there: s.there, back: s.back, ended: s.endCopiesOn,
		known: func() []*disk.Disk {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.disks.open()
		}}
}

// endCopiesOn ends the copies of devices whose disk is gone: what they have written may be gone, too, when it is back.
func (s *Server) endCopiesOn(users []diskUser) {
	var names []string
	for _, u := range users {
		names = append(names, u.name)
		if e := s.device(u.name); e != nil {
			e.epoch.Add(1)
		}
	}
	s.copies.endOn(names, errDiskGone)
}

// park gives the served devices the policies of their file.
func (s *Server) park() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.devices {
		e.dev.Park(e.conf.OnDiskLoss.Park() > 0)
	}
}

// diskStatus is the disks of a device. The caller has mu.
func (s *Server) diskStatus(d *device) (out []DiskStatus) {
	for _, i := range d.table.Disks() {
		k := s.disks[i]
		io, last := s.health.status(k)
		x := DiskStatus{Name: k.Name(), Kind: k.Kind().String(), Node: k.Node(), Bytes: k.Sectors() * 512,
			Serial: k.Identity().Serial, WWID: k.Identity().WWID, IO: io, LastError: last}
		s.diskLoss(&x, d, i, k)
		out = append(out, x)
	}
	return out
}

// diskLoss fills in what a device sees of a disk.
func (s *Server) diskLoss(out *DiskStatus, e *device, at target.Disk, d *disk.Disk) {
	state, since := s.keeper.state(d, e.conf.Name)
	out.Returned = s.health.lastReturn(d)
	out.Parked = e.dev.Parked()[at]
	if e.conf.OnDiskLoss.Park() == 0 && state == DiskPresent {
		return // nobody watches it
	}
	if out.State = state; state != DiskPresent {
		out.Since = &since
	}
}

// gone says whether a disk has vanished and is looked for.
func (s *Server) gone(d *disk.Disk) bool {
	state, _ := s.keeper.state(d, "")
	return state != DiskPresent
}

// goneUnder refuses what cannot be done while requests wait for a disk. Errors: EBUSY.
func (s *Server) goneUnder(devices ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.devices {
		if !slices.Contains(devices, e.conf.Name) {
			continue
		}
		parked := e.dev.Parked()
		for _, at := range e.table.Disks() {
			d := s.disks[at]
			state, since := s.keeper.state(d, e.conf.Name)
			if state == DiskParked || parked[at] > 0 {
				when := "" // the keeper has not looked yet
				if state != DiskPresent {
					when = since.Format(" since 15:04:05")
				}
				return fmt.Errorf("device %s: disk %s is gone%s, and %d commands wait for it: %w", e.conf.Name, d.Name(), when, parked[at], unix.EBUSY)
			}
		}
	}
	return nil
}

// anyGone refuses an upgrade while a disk is gone: the new program could not open it.
func (s *Server) anyGone(served []*device) error {
	for _, e := range served {
		for _, d := range s.disksOf(e) {
			if state, since := s.keeper.state(d, e.conf.Name); state != DiskPresent {
				return fmt.Errorf("device %s: disk %s is gone since %s, and the new program could not open it: %w", e.conf.Name, d.Name(), since.Format("15:04:05"), unix.EBUSY)
			}
		}
	}
	return nil
}

// remapped are those of touched that stay.
func (p *reloadPlan) remapped() (names []string) {
	for i := range p.steps {
		if s := &p.steps[i]; s.remaps() {
			names = append(names, s.name)
		}
	}
	return names
}
