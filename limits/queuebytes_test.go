package limits

import (
	"errors"
	"io/fs"
	"math"
	"strconv"
	"testing"
	"testing/fstest"
)

// TestQueueBytes: as many requests as the queue has, each as large as one may be; a partition has its disk's queue.
func TestQueueBytes(t *testing.T) {
	disk := func(attrs ...string) fstest.MapFS {
		m := fstest.MapFS{"block/a/dev": {}, "block/a/a1/dev": {}, "block/a/a1/partition": {}}
		for i := 0; i < len(attrs); i += 2 {
			m["block/a/queue/"+attrs[i]] = &fstest.MapFile{Data: []byte(attrs[i+1] + "\n")}
		}
		return m
	}
	most := strconv.Itoa(math.MaxUint32)
	for name, c := range map[string]struct {
		sys  fstest.MapFS
		want uint64
		bad  bool
	}{
		"null_blk":          {disk("nr_requests", "2", "max_sectors_kb", "32"), 64 << 10, false},
		"nvme":              {disk("nr_requests", "1023", "max_sectors_kb", "128"), 1023 * 128 << 10, false},
		"the most":          {disk("nr_requests", most, "max_sectors_kb", most), math.MaxUint64 >> 10 << 10, false},
		"bios only":         {disk("max_sectors_kb", "1280"), 0, false},
		"without a size":    {disk("nr_requests", "2"), 0, false},
		"not a number":      {disk("nr_requests", "two", "max_sectors_kb", "32"), 0, true},
		"nor is the size":   {disk("nr_requests", "2", "max_sectors_kb", "-1"), 0, true},
		"no queue, no disk": {disk(), 0, false},
	} {
		for _, dev := range []string{"a", "a1"} {
			if got, err := QueueBytes(c.sys, dev); got != c.want || (err != nil) != c.bad {
				t.Errorf("%s, %s: %d, %v; want %d", name, dev, got, err, c.want)
			}
		}
		if _, err := QueueBytes(c.sys, "b"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no disk: %v", err)
		}
	}
}
