package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
)

// Bounds and defaults of a reload.
const (
	DefaultReloadWait = 30 * time.Second
	MaxReloadWait     = time.Hour
)

// ReloadRequest asks a server to serve what its file says now.
type ReloadRequest struct {
	Check        bool     `json:"check"`                  // say what would change, and change nothing
	Shrink       bool     `json:"shrink"`                 // devices may become smaller
	Force        bool     `json:"force"`                  // devices may go that are mounted or open
	CancelCopies bool     `json:"cancel_copies"`          // copies on devices that change are ended, not waited for
	WaitSeconds  *float64 `json:"wait_seconds,omitempty"` // for copies; nil: DefaultReloadWait
}

// wait is how long copies are waited for. Errors: out of range.
func (r *ReloadRequest) wait() (time.Duration, error) {
	if r.WaitSeconds == nil {
		return DefaultReloadWait, nil
	}
	if s := *r.WaitSeconds; !(s >= 0 && s <= MaxReloadWait.Seconds()) {
		return 0, fmt.Errorf("wait_seconds %v is not in 0..%v", s, MaxReloadWait.Seconds())
	}
	return time.Duration(*r.WaitSeconds * float64(time.Second)), nil
}

// The words of DeviceDiff.Change and DiskDiff.Change.
const (
	Added     = "added"     // of a disk: opened
	Removed   = "removed"   // of a disk: closed
	Changed   = "changed"   // of a disk: what the file says of it
	Unchanged = "unchanged" // only of a device
)

// DeviceDiff is what a reload changes of a device. Its spans that are in neither list stay.
type DeviceDiff struct {
	Name       string   `json:"name"`
	Change     string   `json:"change"`
	OldSectors uint64   `json:"old_sectors"` // 0 of an added one
	NewSectors uint64   `json:"new_sectors"` // 0 of a removed one
	Moved      uint64   `json:"moved_sectors"`
	MovedExact bool     `json:"moved_exact"` // false: no more than that
	Gone       []Span   `json:"gone"`
	Come       []Span   `json:"come"`
	Settings   []string `json:"settings"` // "allow_overlap: false, now true"
}

// DiskDiff is what a reload changes of a disk.
type DiskDiff struct {
	Name   string `json:"name"`
	Change string `json:"change"`
	Source string `json:"source"` // where it is: `path "/dev/…"`
	What   string `json:"what"`   // of a changed one
}

// ReloadResult is what changed, or would.
type ReloadResult struct {
	Schema  int          `json:"schema"`
	Config  string       `json:"config"`
	Check   bool         `json:"check"`   // nothing was changed
	Changes int          `json:"changes"` // devices and disks that change
	Devices []DeviceDiff `json:"devices"` // in the order of the new file, then those that go
	Disks   []DiskDiff   `json:"disks"`   // only those that change
	// Copies are those that were ended; how far each came is in its own result.
	Copies []CopyInfo `json:"copies"`
	Stall  float64    `json:"stall_seconds"` // for which requests of changed devices waited
}

// ErrReload is what a ReloadError is when the file cannot be served as it is.
var ErrReload = errors.New("the file cannot be reloaded")

// ReloadError is a reload that was refused before anything was touched: everything that is wrong.
type ReloadError struct {
	Invalid []error // of the file, of what it asks of its disks, and of what cannot change while served
	Busy    []error // in use; the same reload may go another time
}

func (e *ReloadError) Error() string {
	var out []string
	for _, x := range e.all() {
		out = append(out, x.Error())
	}
	return strings.Join(out, "\n")
}

// Unwrap is ErrReload, or EBUSY when that is all.
func (e *ReloadError) Unwrap() error {
	if len(e.Invalid) > 0 {
		return ErrReload
	}
	return unix.EBUSY
}

func (e *ReloadError) all() []error { return append(append([]error{}, e.Invalid...), e.Busy...) }

// add sorts an error; nil is none.
func (e *ReloadError) add(err error) {
	switch {
	case err == nil:
	case errors.Is(err, unix.EBUSY):
		e.Busy = append(e.Busy, err)
	default:
		e.Invalid = append(e.Invalid, err)
	}
}

// addEach adds problems, each by itself.
func (e *ReloadError) addEach(ps config.Problems) {
	for i := range ps {
		e.add(ps[i : i+1])
	}
}

// or is e when there is anything in it.
func (e *ReloadError) or() error {
	if len(e.Invalid)+len(e.Busy) == 0 {
		return nil
	}
	return e
}

// MixedError is returned by a reload that failed and could not take everything back: what is served is neither the old
// file's nor the new one's.
type MixedError struct {
	Err error    // why the reload failed
	Not []string // for every step that could not be taken back, the device, what it has now, and why
}

func (e *MixedError) Error() string {
	return fmt.Sprintf("%v\nnot everything could be taken back:\n%s\nall other devices have their old table", e.Err, strings.Join(e.Not, "\n"))
}

func (e *MixedError) Unwrap() error { return e.Err }
