package disk

import (
	"testing"
	"testing/fstest"
)

// Who can say that a disk's driver never sleeps is debugfs: it is asked for the whole disk, and without an answer it may.
func TestNonBlocking(t *testing.T) {
	for name, c := range map[string]struct {
		flags string
		want  bool
	}{
		"nvme, 7.2":               {"TAG_QUEUE_SHARED|NO_SCHED_BY_DEFAULT\n", true},
		"null_blk, 6.12":          {"alloc_policy=FIFO SHOULD_MERGE\n", true},
		"no flags":                {"\n", true},
		"with memory, 6.12":       {"alloc_policy=FIFO SHOULD_MERGE|BLOCKING\n", false},
		"the only one":            {"BLOCKING\n", false},
		"first":                   {"BLOCKING|NO_SCHED_BY_DEFAULT\n", false},
		"one of an unknown name":  {"TAG_RR|NON_BLOCKING|17\n", true},
		"what takes bios (no mq)": {"", false},
	} {
		sys := fstest.MapFS{"kernel/debug/block/other/hctx0/flags": {Data: []byte("\n")}}
		if c.flags != "" {
			sys["kernel/debug/block/nullb0/hctx0/flags"] = &fstest.MapFile{Data: []byte(c.flags)}
		}
		if got := nonBlocking("nullb0", &Options{Sys: sys}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
