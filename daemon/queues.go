package daemon

import "github.com/ublk-go/ublk-linear/ublk"

// tellQueues tells whoever started the server that d is to come.
func (s *Server) tellQueues(d *ublk.Device) {
	if s.queues == nil {
		return
	}
	n := d.Spec().Queues
	s.mu.Lock()
	for _, e := range s.devices {
		n += e.dev.Spec().Queues
	}
	s.mu.Unlock()
	s.queues(n)
}
