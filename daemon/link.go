package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/target"
)

func opName(op int) string { return target.Op(op).String() }

// links is the folder of the devices' names.
type links string

const devLinks links = LinkDir

func (l links) path(name string) string { return filepath.Join(string(l), name) }

// folderTries is how often the folder is made again. Nobody is that unlucky.
const folderTries = 1000

// add gives a device its name: /dev/ublk-linear/NAME -> ../ublkbN, replaced in one step.
func (l links) add(name, node string) error {
	l.unfinished(node)
	tmp := l.path(fmt.Sprintf(".%s.%d", name, os.Getpid()))
	var err error
	for range folderTries {
		if err = os.MkdirAll(string(l), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link folder: %w", err)
		}
		if err = os.Symlink("../"+filepath.Base(node), tmp); !errors.Is(err, fs.ErrNotExist) {
			break // else another server, whose last name went, has removed the folder since
		}
	}
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := os.Rename(tmp, l.path(name)); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// remove takes the name away, if it still is that device's.
func (l links) remove(name, node string) {
	l.unfinished(node)
	path := l.path(name)
	if to, err := os.Readlink(path); err == nil && to == "../"+filepath.Base(node) {
		_ = os.Remove(path)
		_ = os.Remove(string(l)) // when it was the last
	}
}

// unfinished removes what a server that was killed was about to rename to the name of a device. The caller has the device, so
// that nobody else is about to.
func (l links) unfinished(node string) {
	names, _ := os.ReadDir(string(l))
	for _, n := range names {
		path := l.path(n.Name())
		if !strings.HasPrefix(n.Name(), ".") { // which no device's name begins with
			continue
		}
		if to, err := os.Readlink(path); err == nil && to == "../"+filepath.Base(node) {
			_ = os.Remove(path)
		}
	}
}

// sweep removes the names that lead nowhere, which dead servers left. It is the node that is asked for: a name that is not
// there any more may be there again.
func (l links) sweep() {
	names, _ := os.ReadDir(string(l))
	for _, n := range names {
		to, err := os.Readlink(l.path(n.Name()))
		if err != nil {
			continue
		}
		if !filepath.IsAbs(to) {
			to = l.path(to)
		}
		if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(l.path(n.Name()))
		}
	}
	_ = os.Remove(string(l))
}

// check refuses names that another server's device has. A link that leads nowhere is a dead server's, and one that leads to
// the node that the device will have is its own.
func (l links) check(f *config.File, own map[string]string) error {
	var errs []error
	for _, d := range f.Devices {
		path := l.path(d.Name)
		if to, err := os.Readlink(path); err == nil && own[d.Name] != "" && to == "../"+filepath.Base(own[d.Name]) {
			continue
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			to, _ := os.Readlink(path)
			errs = append(errs, fmt.Errorf("%s:%d:%d: device %s: %s is there and leads to %s, another server's: rename one of the two: %w",
				f.Path, d.Pos.Line, d.Pos.Col, d.Name, path, to, unix.EBUSY))
		}
	}
	return errors.Join(errs...)
}
