package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// bootModules are needed to reach the host; all others are loaded from the share by the guest's modprobe.
func bootModules() []string {
	return []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}
}

const initPackage = "github.com/ublk-go/ublk-linear/tests/guest/init"

// buildInit builds the guest's first process. The working directory is somewhere in the module.
func buildInit(ctx context.Context, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, initPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build of guest init: %w: %s", err, b)
	}
	return nil
}

// writeInitramfs writes the archive the kernel starts from: the init and the modules it loads first.
// It is neither compressed nor cached: it is small, and made faster than it is unpacked.
func writeInitramfs(out, init string, k *Kernel) (err error) {
	f, err := os.Open(filepath.Join(k.Modules(), "modules.dep"))
	if err != nil {
		return fmt.Errorf("module dependencies: %w", err)
	}
	defer f.Close()
	deps, err := parseModulesDep(f)
	if err != nil {
		return err
	}
	o, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	buf := bufio.NewWriter(o)
	c := newCpioWriter(buf)
	b, err := os.ReadFile(init)
	if err != nil {
		return fmt.Errorf("guest init: %w", err)
	}
	c.File("init", 0o755, b)
	var list strings.Builder
	for _, m := range deps.closure(bootModules()) {
		b, err := os.ReadFile(filepath.Join(k.Modules(), m))
		if err != nil {
			return fmt.Errorf("boot module: %w", err)
		}
		c.File("modules/"+filepath.Base(m), 0o644, b)
		fmt.Fprintf(&list, "/modules/%s\n", filepath.Base(m))
	}
	c.File(guest.BootModules, 0o644, []byte(list.String()))
	// The kernel opens it for its first process before there is a devtmpfs; without, it warns.
	c.Device("dev/console", 5, 1)
	if err := c.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}
