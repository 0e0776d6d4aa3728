package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// unpack turns the packages in tmp/deb into a kernel of the cache. It becomes visible, by a rename,
// when it is whole.
func (c *Cache) unpack(ctx context.Context, k *Kernel, tmp string) error {
	debs, err := filepath.Glob(filepath.Join(tmp, "deb", "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	for _, d := range debs {
		// dpkg -x only unpacks; no script of the package runs.
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", d, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(d), err, out)
		}
	}
	out := filepath.Join(tmp, "kernel")
	if err := os.MkdirAll(filepath.Join(out, "lib", "modules"), 0o755); err != nil {
		return err
	}
	made := &Kernel{Series: k.Series, Release: k.Release, Dir: out}
	// Debian moved both from / to /usr in the years between the two kernels.
	err = renameFirst(made.Modules(), filepath.Join(root, "usr/lib/modules", k.Release), filepath.Join(root, "lib/modules", k.Release))
	if err != nil {
		return fmt.Errorf("modules of %s: %w", k.Release, err)
	}
	err = renameFirst(made.Image(), filepath.Join(root, "boot", "vmlinuz-"+k.Release), filepath.Join(made.Modules(), "vmlinuz"))
	if err != nil {
		return fmt.Errorf("image of %s: %w", k.Release, err)
	}
	if err := depmod(ctx, made); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.Dir), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(k.Dir); err != nil { // one that is not whole
		return err
	}
	return os.Rename(out, k.Dir)
}

// depmod writes the module indexes, in the format of the kmod that will read them in the guest.
func depmod(ctx context.Context, k *Kernel) error {
	path, err := lookPath("depmod")
	if err != nil {
		return fmt.Errorf("module indexes: %w", err)
	}
	// Newer kmods look below usr.
	if err := os.Symlink(".", filepath.Join(k.Dir, "usr")); err != nil {
		return fmt.Errorf("module indexes: %w", err)
	}
	if out, err := exec.CommandContext(ctx, path, "-b", k.Dir, k.Release).CombinedOutput(); err != nil {
		return fmt.Errorf("module indexes: %w: %s", err, out)
	}
	return nil
}

// renameFirst renames the first of the paths that exists.
func renameFirst(to string, from ...string) error {
	for _, f := range from {
		err := os.Rename(f, to)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.ErrNotExist
}
