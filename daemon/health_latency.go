package daemon

import (
	"math/bits"

	"github.com/ublk-go/ublk-linear/ublk"
)

// LatencyBucket is how many commands took less than Below, and at least half of it; in the first, also those below that.
type LatencyBucket struct {
	Below    float64 `json:"below_seconds"` // a power of two nanoseconds
	Commands uint64  `json:"commands"`
}

// latency is a histogram by ublk's buckets.
type latency [ublk.LatencyBuckets]uint64

func (l *latency) total() (n uint64) {
	for _, c := range l {
		n += c
	}
	return n
}

// bucketEnd is the end of a bucket, in seconds. The last has no end, and what it had if it had one is said.
func bucketEnd(bucket int) float64 { return float64(uint64(2)<<bucket) / 1e9 }

// part is a time that at least percent of the commands were done in, up to twice the shortest such time; 0 when there are
// no commands.
func (l *latency) part(percent uint64) float64 {
	n := l.total()
	if n == 0 {
		return 0
	}
	hi, lo := bits.Mul64(n, percent)
	rank, rem := bits.Div64(hi, lo, 100)
	if rem > 0 {
		rank++
	}
	var sum uint64
	for i, c := range l {
		if sum += c; sum >= rank && sum > 0 {
			return bucketEnd(i)
		}
	}
	return bucketEnd(len(l) - 1)
}

// buckets are those that have commands.
func (l *latency) buckets() []LatencyBucket {
	out := []LatencyBucket{}
	for i, c := range l {
		if c > 0 {
			out = append(out, LatencyBucket{bucketEnd(i), c})
		}
	}
	return out
}
