package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// attrs reads the attributes of one sysfs folder. An attribute that is not there has its default; one that
// cannot be read, or is not what it should be, has it too and is remembered.
type attrs struct {
	sys  fs.FS
	dir  string
	errs []error
}

func (a *attrs) err() error { return errors.Join(a.errs...) }

func (a *attrs) fail(name string, err error) {
	a.errs = append(a.errs, fmt.Errorf("sysfs %s: %w", path.Join(a.dir, name), err))
}

func (a *attrs) word(name, def string) string {
	b, err := fs.ReadFile(a.sys, path.Join(a.dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return def
	case err != nil:
		a.fail(name, err)
		return def
	}
	if s := strings.TrimSpace(string(b)); s != "" {
		return s
	}
	return def
}

func (a *attrs) uint64(name string, def uint64) uint64 {
	s := a.word(name, "")
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		a.fail(name, err)
		return def
	}
	return n
}

// uint32 fails for what does not fit: these are 32 bits in the kernel too.
func (a *attrs) uint32(name string, def uint32) uint32 {
	n := a.uint64(name, uint64(def))
	if n > math.MaxUint32 {
		a.fail(name, fmt.Errorf("%d: %w", n, strconv.ErrRange))
		return def
	}
	return uint32(n)
}

// alignment is a signed attribute: -1 stands for misaligned (bdev_alignment_offset).
func (a *attrs) alignment(name string) (offset uint32, misaligned bool) {
	s := a.word(name, "")
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		a.fail(name, err)
		return 0, false
	case n < 0:
		return 0, true
	case n > math.MaxUint32:
		a.fail(name, fmt.Errorf("%d: %w", n, strconv.ErrRange))
		return 0, false
	}
	return uint32(n), false
}
