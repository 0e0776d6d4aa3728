package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// TestStatusLoss: status tells of the disks that are gone, and of those that were.
func TestStatusLoss(t *testing.T) {
	var b strings.Builder
	at := time.Unix(1000, 0).UTC()
	err := printStatus(&b, daemon.Status{Disks: []daemon.DiskStatus{
		{Name: "a", State: daemon.DiskParked, Since: &at, Parked: 12},
		{Name: "b", State: daemon.DiskPresent},
		{Name: "c", State: daemon.DiskPresent, Returned: &daemon.DiskReturn{Time: at, Unflushed: true}},
		{Name: "d", State: daemon.DiskLost, Since: &at, Returned: &daemon.DiskReturn{Time: at}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := `disk loss  a is gone since 1970-01-01T00:16:40Z: parked, 12 commands wait for it
           c was gone, and came back at 1970-01-01T00:16:40Z; writes that were not flushed may have gone with its cache
           d is gone since 1970-01-01T00:16:40Z: lost, 0 commands wait for it
           d was gone, and came back at 1970-01-01T00:16:40Z
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("no\n%s\nin\n%s", want, &b)
	}
}
