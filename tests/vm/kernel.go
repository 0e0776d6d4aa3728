package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is a kernel in the cache.
type Kernel struct {
	Series  string // as asked for: "6.12"
	Release string // as uname says it: "6.12.95+deb12-amd64"
	Dir     string // holds vmlinuz and lib/modules/RELEASE
}

// Image is the file to boot.
func (k *Kernel) Image() string { return filepath.Join(k.Dir, "vmlinuz") }

// Modules is the folder that depmod knows by the release.
func (k *Kernel) Modules() string { return filepath.Join(k.Dir, "lib", "modules", k.Release) }

// Series is a line of kernels that the tests run on: the newest of it in the first suite that has one.
type Series struct {
	Name   string
	Suites []string
}

// AllSeries returns the kernels the project supports, oldest first. No version is named: Debian's meta
// package says which is the newest.
func AllSeries() []Series {
	lts := []string{"trixie", "bookworm-backports"}
	if readOSRelease().Codename == "bookworm" {
		lts = []string{"bookworm-backports", "trixie"}
	}
	return []Series{
		{Name: "6.12", Suites: lts},
		{Name: "7", Suites: []string{"sid", "trixie-backports"}},
	}
}

// metaPackage depends on the newest kernel of a suite.
const metaPackage = "linux-image-amd64"

// Kernel returns the kernel of a series: from the cache, or downloaded. With refresh, the newest is
// asked for even when there is one.
func (c *Cache) Kernel(ctx context.Context, s Series, refresh bool) (*Kernel, error) {
	if k := c.Cached(s); k != nil && !refresh {
		return k, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k := c.Cached(s); k != nil && !refresh { // the run we waited for did it
		return k, nil
	}
	var errs error
	rel := readOSRelease()
	for _, suite := range s.Suites {
		for _, m := range mirrors(machineSources("/etc/apt"), rel.Codename) {
			k, err := c.fetch(ctx, s, m, suite)
			if err == nil {
				return k, c.stamp(k)
			}
			errs = errors.Join(errs, fmt.Errorf("%s of %s: %w", suite, m, err))
			if ctx.Err() != nil {
				return nil, errs
			}
		}
	}
	return nil, fmt.Errorf("kernel %s: %w", s.Name, errs)
}

// Cached returns the kernel the stamp of a series names, or nil.
func (c *Cache) Cached(s Series) *Kernel {
	b, err := os.ReadFile(filepath.Join(c.Dir, "series", s.Name))
	if err != nil {
		return nil
	}
	k := c.at(s, strings.TrimSpace(string(b)))
	if k.Release == "" || !k.whole() {
		return nil
	}
	return k
}

func (c *Cache) at(s Series, release string) *Kernel {
	return &Kernel{Series: s.Name, Release: release, Dir: filepath.Join(c.Dir, "kernels", release)}
}

// whole says whether the kernel is there. It is renamed into place when it is, so a look at two files will do.
func (k *Kernel) whole() bool {
	for _, f := range []string{k.Image(), filepath.Join(k.Modules(), "modules.dep")} {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

// stamp writes down what a series stands for, and clears up.
func (c *Cache) stamp(k *Kernel) error {
	dir := filepath.Join(c.Dir, "series")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("kernel stamp: %w", err)
	}
	tmp := filepath.Join(c.Dir, "tmp", "stamp")
	if err := os.WriteFile(tmp, []byte(k.Release+"\n"), 0o644); err != nil {
		return fmt.Errorf("kernel stamp: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, k.Series)); err != nil {
		return fmt.Errorf("kernel stamp: %w", err)
	}
	if err := c.prune(); err != nil {
		return fmt.Errorf("old kernels: %w", err)
	}
	return os.RemoveAll(filepath.Join(c.Dir, "tmp"))
}

// prune removes the kernels that no stamp names any more and no run uses.
func (c *Cache) prune() error {
	kernels, err := filepath.Glob(filepath.Join(c.Dir, "kernels", "*"))
	if err != nil {
		return err
	}
	stamps, err := filepath.Glob(filepath.Join(c.Dir, "series", "*"))
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, s := range stamps {
		b, err := os.ReadFile(s)
		if err != nil {
			return err
		}
		named[strings.TrimSpace(string(b))] = true
	}
	for _, dir := range kernels {
		if named[filepath.Base(dir)] {
			continue
		}
		release, err := (&Kernel{Dir: dir}).hold(unix.LOCK_EX)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err == nil {
			release()
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps others from removing the kernel, or with LOCK_EX finds out whether somebody does that.
func (k *Kernel) hold(how int) (func(), error) {
	f, err := os.Open(k.Image())
	if err != nil {
		return nil, fmt.Errorf("kernel image: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("kernel in use: %w", err)
	}
	return func() { f.Close() }, nil
}

// debLine is a line of sources.list.
func debLine(mirror, suite string) string {
	return fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, mirror, suite)
}

// fetch finds the newest kernel of a suite, and downloads it if the cache has it not.
func (c *Cache) fetch(ctx context.Context, s Series, mirror, suite string) (*Kernel, error) {
	tmp, err := c.temp()
	if err != nil {
		return nil, err
	}
	a, err := newApt(filepath.Join(tmp, "apt"), debLine(mirror, suite))
	if err != nil {
		return nil, err
	}
	c.logf("kernel %s: looking it up in %s of %s", s.Name, suite, mirror)
	// Without Error-Mode a mirror that has not the suite is a warning only.
	if _, err := a.run(ctx, nil, tmp, "apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any"); err != nil {
		return nil, err
	}
	release, packages, err := resolve(func(name string) ([]pkg, error) {
		out, err := a.run(ctx, nil, tmp, "apt-cache", "show", "--no-all-versions", name)
		return parseShow(out), err
	})
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(release, s.Name+".") {
		return nil, fmt.Errorf("newest kernel is %s: %w", release, os.ErrNotExist)
	}
	k := c.at(s, release)
	if k.whole() {
		return k, nil
	}
	c.logf("kernel %s: downloading %s", s.Name, release)
	deb := filepath.Join(tmp, "deb")
	if err := os.Mkdir(deb, 0o755); err != nil {
		return nil, err
	}
	if _, err := a.run(ctx, nil, deb, "apt-get", append([]string{"download", "-qq"}, packages...)...); err != nil {
		return nil, err
	}
	return k, c.unpack(ctx, k, tmp)
}

// resolve follows the meta package's dependencies to the packages of the kernel itself. An image is one
// package up to 7.1 and split into linux-binary, linux-modules and linux-base from 7.2 on.
func resolve(show func(name string) ([]pkg, error)) (release string, packages []string, err error) {
	part := regexp.MustCompile(`^linux-(image|binary|modules|base)-([0-9].*)$`)
	for next := []string{metaPackage}; len(next) > 0; next = next[1:] {
		pkgs, err := show(next[0])
		if err != nil {
			return "", nil, err
		}
		if len(pkgs) == 0 {
			return "", nil, fmt.Errorf("package %s: %w", next[0], os.ErrNotExist)
		}
		for _, dep := range pkgs[0].Depends {
			m := part.FindStringSubmatch(dep)
			if m == nil || slices.Contains(packages, dep) {
				continue
			}
			if m[1] == "image" {
				release = m[2]
			}
			packages, next = append(packages, dep), append(next, dep)
		}
	}
	if release == "" {
		return "", nil, fmt.Errorf("package %s: depends on no linux-image", metaPackage)
	}
	return release, packages, nil
}
