package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// newRoot is where the guest's root folder is put together.
const newRoot = "/root"

// mount is one line of a mount table.
type mount struct {
	dev, dir, fs string
	flags        uintptr
	data         string
	optional     bool // not every kernel has it
}

func (m mount) do() error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil && !m.optional {
		return fmt.Errorf("mount point %s: %w", m.dir, err)
	}
	if err := unix.Mount(m.dev, m.dir, m.fs, m.flags, m.data); err != nil && !m.optional {
		return fmt.Errorf("mount %s on %s: %w", m.fs, m.dir, err)
	}
	return nil
}

func mountAll(table []mount) error {
	for _, m := range table {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountKernel mounts what the kernel shows of itself.
func mountKernel() error {
	return mountAll([]mount{
		{dev: "proc", dir: "/proc", fs: "proc"},
		{dev: "sys", dir: "/sys", fs: "sysfs"},
		{dev: "dev", dir: "/dev", fs: "devtmpfs"},
	})
}

const share = "trans=virtio,version=9p2000.L,msize=1048576,"

// enterRoot puts the guest's root folder together and makes it the root of this process. It is done
// here and not in a child: kernel threads share the first process's root, and the kernel's own calls
// of /sbin/modprobe must find the host's.
func enterRoot(job guest.Job) error {
	err := mountAll([]mount{
		// Nobody writes to the host's files while we run, so the guest may cache them at will.
		{dev: guest.Host, dir: "/host", fs: "9p", flags: unix.MS_RDONLY, data: share + "cache=loose"},
		{dev: "overlay", dir: "/rw", fs: "tmpfs"},
	})
	if err != nil {
		return err
	}
	for _, d := range []string{"/rw/upper", "/rw/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("overlay folder: %w", err)
		}
	}
	in := func(d string) string { return newRoot + d }
	mods, err := filepath.EvalSymlinks("/host" + job.Modules)
	if err != nil {
		return fmt.Errorf("module folder: %w", err)
	}
	err = mountAll([]mount{
		{dev: "overlay", dir: newRoot, fs: "overlay", data: "lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work"},
		{dev: mods, dir: in("/lib/modules/" + job.Release), flags: unix.MS_BIND},
		{dev: "/proc", dir: in("/proc"), flags: unix.MS_MOVE},
		{dev: "/sys", dir: in("/sys"), flags: unix.MS_MOVE},
		{dev: "/dev", dir: in("/dev"), flags: unix.MS_MOVE},
		{dev: "devpts", dir: in("/dev/pts"), fs: "devpts", data: "ptmxmode=0666,mode=0620", optional: true},
		// What the host keeps in these is not ours to see, and O_DIRECT on an overlay is not a test of anything.
		{dev: "tmp", dir: in("/dev/shm"), fs: "tmpfs", data: "mode=1777"},
		{dev: "tmp", dir: in("/tmp"), fs: "tmpfs", data: "mode=1777"},
		{dev: "tmp", dir: in("/var/tmp"), fs: "tmpfs", data: "mode=1777"},
		{dev: "tmp", dir: in("/run"), fs: "tmpfs", data: "mode=0755"},
		{dev: "tmp", dir: in("/mnt"), fs: "tmpfs", data: "mode=0755"},
		{dev: "debugfs", dir: in("/sys/kernel/debug"), fs: "debugfs", optional: true},
		{dev: "tracefs", dir: in("/sys/kernel/tracing"), fs: "tracefs", optional: true},
		{dev: "cgroup2", dir: in("/sys/fs/cgroup"), fs: "cgroup2", optional: true},
		// The guest's writes must be on the host even if the guest dies: no write-back cache.
		{dev: guest.Results, dir: in(guest.ResultsDir), fs: "9p", data: share + "cache=mmap"},
	})
	if err != nil {
		return err
	}
	for _, d := range []string{"/run/lock", "/run/user", "/dev/mapper"} {
		if err := os.MkdirAll(in(d), 0o755); err != nil {
			return fmt.Errorf("folder %s: %w", d, err)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join(in("/dev"), name)); err != nil && !os.IsExist(err) {
			return fmt.Errorf("link /dev/%s: %w", name, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// mountLate mounts what comes with a module, and is optional like it.
func mountLate() {
	_ = mount{dev: "configfs", dir: "/sys/kernel/config", fs: "configfs"}.do()
}

// leaveResults lets go of the job's folder, so that nothing of it is left in the guest. A job that
// keeps it busy loses nothing but this step.
func leaveResults() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = os.Chdir("/")
		_ = unix.Unmount(guest.ResultsDir, unix.MNT_DETACH)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}
