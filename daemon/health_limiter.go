package daemon

import "time"

// failEvery is the least time between two lines on one failing disk.
const failEvery = 10 * time.Second

// limiter says when to tell of something that happens often: the first time at once, then not before every is over, and
// then of all that happened since. The caller has the clock. The zero value, with an every, is ready.
type limiter struct {
	every time.Duration
	last  time.Time // when it was told
	told  bool      // ever
	since uint64    // what has not been told
}

// add counts n more. It is how many to tell of now, 0: none yet.
func (l *limiter) add(now time.Time, n uint64) uint64 {
	l.since += n
	return l.due(now)
}

// due is how many to tell of now, of those that were not told when they came.
func (l *limiter) due(now time.Time) uint64 {
	if l.since == 0 || l.told && now.Sub(l.last) < l.every {
		return 0
	}
	return l.rest(now)
}

// rest is what is untold, whatever the time.
func (l *limiter) rest(now time.Time) uint64 {
	n := l.since
	l.since = 0
	if n > 0 {
		l.last, l.told = now, true
	}
	return n
}
