package ublk

// held is all that is held of a device at a time. It never changes: whoever holds or releases puts a new one, with the
// next version, in its place.
type held struct {
	fence
	version uint64
	holds   []*hold // in the order they were born
}

func newHeld(version uint64, holds []*hold) *held {
	s := &held{version: version, holds: append([]*hold(nil), holds...)}
	for _, h := range holds {
		s.all = s.all || h.all
		s.writes = append(s.writes, h.writes...)
		s.reads = append(s.reads, h.reads...)
	}
	s.writes, s.reads = join(s.writes), join(s.reads)
	return s
}

// settled is the version up to which no tag in flight conflicts with a hold. A hold does not wait for what only younger
// ones wait for: without that, holds that keep coming could keep an old one waiting for ever.
func (s *held) settled(tags []tag) uint64 {
	v := s.version
	for i := range tags {
		tg := &tags[i]
		if !tg.busy || !s.stops(tg.q.op, tg.q.r) {
			continue
		}
		for _, h := range s.holds {
			if h.born > v {
				break
			}
			if h.stops(tg.q.op, tg.q.r) {
				v = h.born - 1
				break
			}
		}
	}
	return v
}
