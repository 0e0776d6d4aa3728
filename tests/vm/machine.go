package vm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// Machine is a guest to be: what it is made of. The zero value of all but Kernel is useful.
type Machine struct {
	Kernel  *Kernel
	Memory  string // as QEMU's -m has it; empty: 4G
	CPUs    int    // 0: 2
	Counted bool   // the guest's time is the number of its instructions, 1 ns each; it is slow, and no other load disturbs it
	Drives  []Drive
	Modules []string         // to load before the job, besides DefaultModules
	Append  []string         // words for the kernel's command line
	QEMU    []string         // further arguments
	Expect  []*regexp.Regexp // kernel messages that are no problem
	Console string           // file for the console's log; empty: console.log in the job's folder
	Timeout time.Duration    // of the whole run; 0: 20 minutes
	Log     io.Writer        // a word on what the runner does; nil: silent
}

// DefaultModules are loaded before every job. What it needs beyond them the kernel fetches by itself
// (file systems, dm targets), or the job says modprobe.
func DefaultModules() []string {
	return []string{"configfs", "ublk_drv", "dm_mod", "null_blk", "brd", "loop", "nvme", "virtio_blk"}
}

// Job is a program to run in a guest.
type Job struct {
	Program string // file on the host, copied into the folder
	Args    []string
	Env     []string // KEY=VALUE, added to the guest's own
	Files   []string // more files and folders on the host to copy into the folder
	Dir     string   // working directory in the guest; empty: the job's folder
	// Folder is the host's folder shared with the guest, as guest.ResultsDir and writable. It is made
	// when it does not exist. Empty: a temporary one.
	Folder string
	Output io.Writer // the job's stdout and stderr as they come; nil: dropped
}

// Result is what came of a job.
type Result struct {
	ExitCode int           // of the job; 128 + signal if it was killed
	Boot     float64       // seconds from the kernel's start to the job's
	Took     time.Duration // of everything
	Problems []Problem     // reports by the kernel; any one makes Run return an error
	Console  string        // the console's log, if it was kept
}

func (m *Machine) withDefaults() Machine {
	d := *m
	if d.Memory == "" {
		d.Memory = "4G"
	}
	if d.CPUs == 0 {
		d.CPUs = 2
	}
	if d.Timeout == 0 {
		d.Timeout = 20 * time.Minute
	}
	if d.Log == nil {
		d.Log = io.Discard
	}
	return d
}

// args returns QEMU's command line. File descriptors 3 and 4 are the control and output ports.
func (m *Machine) args(initramfs, folder, drives string) ([]string, error) {
	escape := func(s string) string { return strings.ReplaceAll(s, ",", ",,") }
	accel := Accel()
	if m.Counted {
		accel = "tcg"
	}
	args := append([]string{"-machine", "q35"}, accelArgs(accel, m.Counted, len(m.Drives) > 0)...)
	args = append(args,
		"-m", m.Memory, "-smp", fmt.Sprint(m.CPUs),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none",
		"-serial", "stdio",
		"-kernel", m.Kernel.Image(), "-initrd", initramfs, "-append", strings.Join(m.commandLine(accel), " "),
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=control,fd=3", "-device", "virtserialport,chardev=control,name="+guest.Control,
		"-chardev", "socket,id=output,fd=4", "-device", "virtserialport,chardev=output,name="+guest.Output,
		"-device", "virtio-rng-pci",
		// Without remap, files of two of the host's file systems may share an inode number.
		"-virtfs", "local,path=/,mount_tag="+guest.Host+",security_model=none,readonly=on,multidevs=remap",
		"-virtfs", "local,path="+escape(folder)+",mount_tag="+guest.Results+",security_model=none,multidevs=remap",
	)
	d, err := driveArgs(m.Drives, drives)
	if err != nil {
		return nil, err
	}
	return slices.Concat(args, d, m.QEMU), nil
}

func (m *Machine) commandLine(accel string) []string {
	words := []string{
		"console=ttyS0", "loglevel=7", "printk.devkmsg=on",
		// A guest that panics ends at once, by the reset that -no-reboot turns into an exit.
		"panic=-1", "oops=panic",
		"mitigations=off", "apparmor=0", "audit=0", "random.trust_cpu=on",
		// A guest without KVM on a busy host stands still for many seconds; that is no lockup.
		"watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=120",
		// Devices are made by those who want them.
		"null_blk.nr_devices=0", "brd.rd_nr=0", "scsi_debug.add_host=0",
	}
	if accel == "tcg" {
		// The processors' counters agree, being one; only a slow host makes the kernel doubt it.
		words = append(words, "tsc=reliable")
	}
	return append(words, m.Append...)
}

// job translates a job into the guest's words, and fills the folder it will see.
func (m *Machine) job(j Job, folder string) (*guest.Job, error) {
	for _, f := range append([]string{j.Program}, j.Files...) {
		if err := copyInto(folder, f); err != nil {
			return nil, fmt.Errorf("job folder: %w", err)
		}
	}
	modules, err := filepath.Abs(m.Kernel.Modules())
	if err != nil {
		return nil, err
	}
	if modules, err = filepath.EvalSymlinks(modules); err != nil {
		return nil, err
	}
	g := &guest.Job{
		Release: m.Kernel.Release,
		Modules: modules,
		Load:    append(DefaultModules(), m.Modules...),
		Path:    filepath.Join(guest.ResultsDir, filepath.Base(j.Program)),
		Args:    j.Args,
		Dir:     j.Dir,
		Env: append([]string{
			"PATH=" + guest.ResultsDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "USER=root", "TERM=dumb", "LC_ALL=C.UTF-8", "TMPDIR=/tmp",
			"DM_DISABLE_UDEV=1", // there is no udev to wait for
			"UBLK_LINEAR_GUEST=" + m.Kernel.Release,
			"UBLK_LINEAR_RESULTS=" + guest.ResultsDir,
		}, j.Env...),
	}
	if g.Dir == "" {
		g.Dir = guest.ResultsDir
	}
	return g, nil
}

// copyInto copies a file, or a folder and all in it, into a folder.
func copyInto(folder, name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	to := filepath.Join(folder, filepath.Base(name))
	if from, err := filepath.Abs(name); err != nil || from == to {
		return err // it is there already
	}
	// An older one may be somebody's running program, which cannot be written to.
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(name))
	}
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
