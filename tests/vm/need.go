package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Need is a program the tests call, and Debian's package of it.
type Need struct {
	Program, Package string
}

// ParseNeed reads PROGRAM=PACKAGE, or one word that is both.
func ParseNeed(s string) (Need, error) {
	prog, pack, ok := strings.Cut(s, "=")
	if !ok {
		pack = prog
	}
	if prog == "" || pack == "" {
		return Need{}, fmt.Errorf("need %q: not PROGRAM=PACKAGE", s)
	}
	return Need{Program: prog, Package: pack}, nil
}

const qemu = "qemu-system-x86_64"

// qemuMajor is the first QEMU with the NVMe Copy command as the tests use it: descriptor formats 2 and
// 3, with limits that can be set.
const qemuMajor = 9

// Needs returns the programs the runner itself uses and those the tests use in the guest.
func Needs() []Need {
	return []Need{
		{qemu, "qemu-system-x86"},
		{"depmod", "kmod"},
		{"modprobe", "kmod"},
		{"fio", "fio"},
		{"mkfs.ext4", "e2fsprogs"},
		{"mkfs.xfs", "xfsprogs"},
		{"dmsetup", "dmsetup"},
		{"losetup", "mount"},
		{"blkdiscard", "util-linux"},
		{"systemctl", "systemd"},
	}
}

// lookPath finds a program, also where an ordinary user's PATH does not look.
func lookPath(program string) (string, error) {
	p, err := exec.LookPath(program)
	for _, d := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if err == nil {
			return p, nil
		}
		p, err = exec.LookPath(filepath.Join(d, program))
	}
	return p, err
}

// Missing returns those of the needs that are not there. A QEMU that is too old is not there.
func Missing(ctx context.Context, needs []Need) []Need {
	var out []Need
	for _, n := range needs {
		p, err := lookPath(n.Program)
		if err == nil && n.Program == qemu {
			err = qemuRecent(ctx, p)
		}
		if err != nil {
			out = append(out, n)
		}
	}
	return out
}

// qemuRecent asks QEMU for its version.
func qemuRecent(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Errorf("qemu version: %w", err)
	}
	if v := parseQEMUVersion(string(out)); v < qemuMajor {
		return fmt.Errorf("qemu version %d: older than %d", v, qemuMajor)
	}
	return nil
}

// parseQEMUVersion returns the major number in "QEMU emulator version 10.0.2 (Debian …)", or 0.
func parseQEMUVersion(s string) int {
	_, v, _ := strings.Cut(s, "version ")
	major, _, _ := strings.Cut(v, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	return n
}

// Install gets what is missing with apt-get. When nothing is, it does nothing. The machine's sources
// stay as they are: those of the run are the machine's own and, on Debian 12, backports.
func Install(ctx context.Context, needs []Need, log io.Writer) error {
	missing := Missing(ctx, needs)
	if len(missing) == 0 {
		return nil
	}
	var packages []string
	for _, n := range missing {
		if !slices.Contains(packages, n.Package) {
			packages = append(packages, n.Package)
		}
	}
	prefix, err := asRoot(ctx)
	if err != nil {
		return fmt.Errorf("missing programs: install %s: %w", strings.Join(packages, " "), err)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing programs: install %s: %w", strings.Join(packages, " "), err)
	}
	fmt.Fprintf(log, "installing %s\n", strings.Join(packages, " "))
	if err := aptInstall(ctx, prefix, packages); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, " "), err)
	}
	for _, n := range Missing(ctx, needs) {
		err = errors.Join(err, fmt.Errorf("%s: still missing after the install of %s", n.Program, n.Package))
	}
	return err
}

// asRoot returns the words to put before a command for it to run as root.
func asRoot(ctx context.Context) ([]string, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	if out, err := exec.CommandContext(ctx, "sudo", "-n", "true").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("not root, and no sudo without a password: %w: %s", err, bytes.TrimSpace(out))
	}
	return []string{"sudo", "-n", "--preserve-env=DEBIAN_FRONTEND,LC_ALL"}, nil
}

// aptInstall installs packages from the machine's own sources and, on Debian 12, backports.
func aptInstall(ctx context.Context, prefix, packages []string) (err error) {
	dir, err := os.MkdirTemp("", "ublk-linear-apt-")
	if err != nil {
		return err
	}
	defer func() {
		// Some of it is root's.
		argv := append(append([]string{}, prefix...), "rm", "-rf", "--one-file-system", dir)
		err = errors.Join(err, exec.Command(argv[0], argv[1:]...).Run())
	}()
	a, err := newApt(dir, "")
	if err != nil {
		return err
	}
	if err := copySources("/etc/apt", dir); err != nil {
		return fmt.Errorf("apt sources: %w", err)
	}
	a.set("Dir::State::status", "/var/lib/dpkg/status")
	// Another apt may be at work, as on a machine just started.
	a.set("DPkg::Lock::Timeout", "300")
	install := []string{"install", "-qq", "-y", "--no-install-recommends"}
	var fromBackports []string
	sources := machineSources("/etc/apt")
	if rel := readOSRelease(); rel.Codename == "bookworm" {
		// Debian 12's own QEMU has neither all of the NVMe Copy command nor its limits.
		suite := rel.Codename + "-backports"
		if !slices.ContainsFunc(sources, func(s source) bool { return slices.Contains(s.Suites, suite) }) {
			m := mirrors(sources, rel.Codename)[0]
			if err := os.WriteFile(filepath.Join(dir, "parts", "ublk-linear-backports.list"), []byte(debLine(m, suite)), 0o644); err != nil {
				return err
			}
		}
		if i := slices.Index(packages, "qemu-system-x86"); i >= 0 {
			fromBackports = append(slices.Clone(install), "-t", suite, packages[i])
			packages = slices.Delete(slices.Clone(packages), i, i+1)
		}
	}
	// An update fails as a whole for one source that is gone, though the others would do.
	_, updateErr := a.run(ctx, prefix, "/", "apt-get", "update", "-qq")
	if fromBackports != nil {
		if _, err := a.run(ctx, prefix, "/", "apt-get", fromBackports...); err != nil {
			return errors.Join(err, updateErr)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	if _, err := a.run(ctx, prefix, "/", "apt-get", append(install, packages...)...); err != nil {
		return errors.Join(err, updateErr)
	}
	return nil
}

// copySources copies the sources of an apt folder into a private one.
func copySources(etc, dir string) error {
	parts, err := os.ReadDir(filepath.Join(etc, "sources.list.d"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	from := map[string]string{filepath.Join(etc, "sources.list"): filepath.Join(dir, "sources.list")}
	for _, p := range parts {
		from[filepath.Join(etc, "sources.list.d", p.Name())] = filepath.Join(dir, "parts", p.Name())
	}
	for src, dst := range from {
		b, err := os.ReadFile(src)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
