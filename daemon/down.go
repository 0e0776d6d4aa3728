package daemon

import (
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/disk"
)

// inUse is who has a served device mounted, claimed or open.
func (s *Server) inUse() []error {
	var errs []error
	opt := &disk.Options{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if hs := disk.Holders(d.dev.Node(), opt); len(hs) > 0 {
			errs = append(errs, fmt.Errorf("device %s: %w", d.conf.Name, &disk.BusyError{Node: d.dev.Node(), Holders: hs}))
		}
	}
	return errs
}

// requestDown asks for the end, unless a device is in use.
func (s *Server) requestDown(r DownRequest) (DownResult, error) {
	if s.upgrade.upgrading() {
		return DownResult{}, errUpgrading
	}
	if !r.Force {
		if errs := s.inUse(); len(errs) > 0 {
			return DownResult{}, errors.Join(errs...)
		}
	}
	out := DownResult{Schema: Schema, Stopped: s.List()}
	s.once.Do(func() { close(s.down) })
	return out, nil
}
