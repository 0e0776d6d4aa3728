package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// Kind is what a disk is made of.
type Kind uint8

const (
	Block  Kind = iota // a block device
	File               // a regular file
	Memory             // anonymous memory, gone when the disk is closed
)

// String is the word that messages use.
func (k Kind) String() string {
	switch k {
	case Block:
		return "block"
	case File:
		return "file"
	case Memory:
		return "memory"
	}
	return "unknown"
}

// Spec names a disk. Exactly one of Path, Match, File and Memory is set.
type Spec struct {
	Name string // what the configuration calls the disk; for messages

	// Path of a block device. It must be a name that stays with the disk, see UnstableError.
	Path string
	// Match finds the one block device of which all of these hold: serial, wwid, partuuid, model. With a
	// partuuid it is a partition, otherwise a whole disk.
	Match map[string]string
	// File is the path of a regular file.
	File string
	// Create is the length in bytes, a multiple of 512, with which a File that is not there is made,
	// sparse. A file that is there is used as it is; one shorter than Create is an error. 0: the file
	// must be there.
	Create uint64
	// Memory is a length in bytes, a multiple of 512.
	Memory uint64

	UnstablePath bool // accept a Path that can name another disk after the next boot
	ReadOnly     bool
}

// Validate lists every violation.
func (s *Spec) Validate() error {
	var errs []error
	var set []string
	for _, w := range [...]struct {
		name string
		set  bool
	}{{"path", s.Path != ""}, {"match", s.Match != nil}, {"file", s.File != ""}, {"memory", s.Memory != 0}} {
		if w.set {
			set = append(set, w.name)
		}
	}
	if len(set) != 1 {
		had := "none"
		if len(set) > 0 {
			had = strings.Join(set, " and ")
		}
		errs = append(errs, fmt.Errorf("exactly one of path, match, file, memory: %s given", had))
	}
	if s.Create != 0 && s.File == "" {
		errs = append(errs, errors.New("create: without file"))
	}
	errs = append(errs, validMatch(s.Match)...)
	for _, b := range [...]struct {
		name  string
		bytes uint64
	}{{"create", s.Create}, {"memory", s.Memory}} {
		if b.bytes%512 != 0 {
			errs = append(errs, fmt.Errorf("%s: %d bytes is not a multiple of 512: %d over", b.name, b.bytes, b.bytes%512))
		}
		if b.bytes > math.MaxInt64 {
			errs = append(errs, fmt.Errorf("%s: %d bytes is more than a file can be", b.name, b.bytes))
		}
	}
	if s.Memory != 0 && s.ReadOnly {
		errs = append(errs, errors.New("memory: read-only memory holds nothing"))
	}
	return errors.Join(errs...)
}

// Options of Open, Inspect and Holders. The zero value, and nil, is the running system.
type Options struct {
	Sys, Proc, Dev fs.FS // nil: /sys, /proc, /dev

	// Wait is how long a disk that is busy, and that no living process or subsystem is seen to hold, is
	// tried again: that is how the in-flight I/O of a killed server looks. 0: not at all.
	Wait time.Duration

	// Served names our own device if the block device node (the kernel's name, "ublkb7") is served by
	// ublk-linear, and is "" otherwise. nil: none is.
	Served func(node string) string

	Logger *slog.Logger // nil: silent

	kernel *kernel // nil: the system's own; tests replace it
}

// withDefaults is a copy of o, which may be nil, with every field set.
func (o *Options) withDefaults() *Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Sys == nil {
		d.Sys = os.DirFS("/sys")
	}
	if d.Proc == nil {
		d.Proc = os.DirFS("/proc")
	}
	if d.Dev == nil {
		d.Dev = os.DirFS("/dev")
	}
	if d.Served == nil {
		d.Served = func(string) string { return "" }
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.kernel == nil {
		d.kernel = systemKernel()
	}
	return &d
}

// named puts the disk's name before an error.
func (s *Spec) named(err error) error {
	if err == nil || s.Name == "" {
		return err
	}
	return fmt.Errorf("disk %s: %w", s.Name, err)
}

func validMatch(match map[string]string) (errs []error) {
	if match != nil && len(match) == 0 {
		errs = append(errs, errors.New("match: empty"))
	}
	for key, value := range sorted(match) {
		if !slices.Contains(matchKeys(), key) {
			errs = append(errs, fmt.Errorf("match: unknown key %s: one of %s", key, strings.Join(matchKeys(), ", ")))
		} else if strings.TrimSpace(value) == "" {
			errs = append(errs, fmt.Errorf("match: %s is empty", key))
		}
	}
	return errs
}
