package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/copy"
)

// CopyRequest asks for a copy: the bytes of the source's segments, in order, go to those of the destination.
type CopyRequest struct {
	Source      CopySide   `json:"source"`
	Destination CopySide   `json:"destination"`
	Policy      CopyPolicy `json:"policy"`
}

// CopySide is one side of a copy.
type CopySide struct {
	Device   string        `json:"device"`
	Segments []CopySegment `json:"segments"`
}

// CopySegment is a range of a device, in bytes.
type CopySegment struct {
	Pos uint64 `json:"pos"`
	Len uint64 `json:"len"`
}

// CopyPolicy is blkcopy.Policy in words. What is not said is the first word of each, false, or the default size.
type CopyPolicy struct {
	AtBoundary   string `json:"at_boundary,omitempty"` // split, refuse
	Fallback     string `json:"fallback,omitempty"`    // emulate, fail: of a pair of disks without offload
	OnFailure    string `json:"on_failure,omitempty"`  // emulate, fail: of an offload that failed
	Overlap      string `json:"overlap,omitempty"`     // memmove, refuse
	FUA          bool   `json:"fua,omitempty"`
	Flush        bool   `json:"flush,omitempty"`
	ShareExtents bool   `json:"share_extents,omitempty"`
	Zeroes       bool   `json:"zeroes,omitempty"`
	Window       uint64 `json:"window,omitempty"`    // bytes
	InFlight     uint64 `json:"in_flight,omitempty"` // bytes
	Rate         uint64 `json:"rate,omitempty"`      // bytes per second
}

// Validate lists every word that is none; sizes are the plan's to judge.
func (p *CopyPolicy) Validate() error {
	_, problems := p.policy()
	if len(problems) > 0 {
		return &blkcopy.RequestError{Problems: problems}
	}
	return nil
}

func (p *CopyPolicy) policy() (blkcopy.Policy, []error) {
	var problems []error
	// pick is the place of a word among those that are allowed; the first is the default.
	pick := func(key, word string, allowed ...string) uint8 {
		i := slices.Index(allowed, word)
		if i < 0 && word != "" {
			problems = append(problems, fmt.Errorf("%s %q: %s", key, word, strings.Join(allowed, " or ")))
		}
		return uint8(max(i, 0))
	}
	return blkcopy.Policy{
		AtBoundary:     blkcopy.Boundary(pick("at_boundary", p.AtBoundary, "split", "refuse")),
		WithoutOffload: blkcopy.Fallback(pick("fallback", p.Fallback, "emulate", "fail")),
		AfterFailure:   blkcopy.Fallback(pick("on_failure", p.OnFailure, "emulate", "fail")),
		Overlap:        blkcopy.Overlap(pick("overlap", p.Overlap, "memmove", "refuse")),
		FUA:            p.FUA, Flush: p.Flush, ShareExtents: p.ShareExtents, Zeroes: p.Zeroes,
		Window: p.Window, InFlight: p.InFlight, Rate: p.Rate,
	}, problems
}

// CopyResult is what a copy did: never more than that.
type CopyResult struct {
	Schema    int           `json:"schema"`
	Bytes     uint64        `json:"bytes"` // the longest prefix of which everything is copied
	Offloaded uint64        `json:"offloaded_bytes"`
	Emulated  uint64        `json:"emulated_bytes"`
	Host      uint64        `json:"host_bytes"` // through this host's memory, read and written
	Commands  uint64        `json:"commands"`   // sent
	Seconds   float64       `json:"seconds"`
	Failed    []CopyFailure `json:"failed"` // what is not copied

	Total            uint64            `json:"total_bytes"`
	Zeroed           uint64            `json:"zeroed_bytes"`
	Onto             uint64            `json:"onto_bytes"` // copied onto themselves: nothing was sent
	HostRead         uint64            `json:"host_read_bytes"`
	HostWritten      uint64            `json:"host_written_bytes"`
	CommandsByMethod map[string]uint64 `json:"commands_by_method"`
	Reads            uint64            `json:"reads"`
	Fallbacks        []CopyFailure     `json:"fallbacks"`     // offloads that failed and were emulated
	MoreFailures     uint64            `json:"more_failures"` // beyond those listed in the two
	Complete         bool              `json:"complete"`
	Error            string            `json:"error"` // why it is not complete; ""
}

// Moved says whether anything was copied, wherever in the request.
func (r *CopyResult) Moved() bool { return r.Offloaded+r.Emulated+r.Zeroed > 0 }

// CopyFailure is a stretch of a request that was not copied as it should have been.
type CopyFailure struct {
	Offset uint64 `json:"offset"` // bytes, in the request
	Bytes  uint64 `json:"bytes"`
	Method string `json:"method"`
	Side   string `json:"side"` // source, destination; "" for an offload that does not say
	Disk   string `json:"disk"`
	Sector uint64 `json:"sector"` // of the disk
	Error  string `json:"error"`
}

// CopyProgress is what a copy has done so far.
type CopyProgress struct {
	ID        uint64  `json:"id"`    // of the copy in its server; 0: there is none
	Bytes     uint64  `json:"bytes"` // in no order
	Total     uint64  `json:"total_bytes"`
	Offloaded uint64  `json:"offloaded_bytes"`
	Emulated  uint64  `json:"emulated_bytes"`
	Seconds   float64 `json:"seconds"`
}

// CopyInfo is a copy under way.
type CopyInfo struct {
	Source      string `json:"source"` // devices
	Destination string `json:"destination"`
	CopyProgress
}

// CopyList is the copies under way.
type CopyList struct {
	Schema int        `json:"schema"`
	Copies []CopyInfo `json:"copies"`
}

// copyLine is a line of the answer to a copy request; the last has the result.
type copyLine struct {
	Progress *CopyProgress `json:"progress,omitempty"`
	Result   *CopyResult   `json:"result,omitempty"`
}
