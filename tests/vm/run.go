package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrKernel is returned when the guest's kernel reported a problem.
	ErrKernel = errors.New("kernel problem")
	// ErrGuest is returned when the guest ended, or never came up, without the job having ended.
	ErrGuest = errors.New("guest died")
)

// Run boots the machine, runs the job and waits for the machine to be off. The steps:
//
//  1. the folder is filled, init built, the initramfs written;
//  2. QEMU starts, with the console on its stdout and two sockets as serial ports;
//  3. the job is written to the control port, from where the guest takes it when it is up;
//  4. console lines go to the log and past the scanner, output goes to the job's writer;
//  5. the guest reports boot and exit; then QEMU ends.
//
// A job's exit code other than zero is not an error of Run's. That of a dead guest is -1.
func (m *Machine) Run(ctx context.Context, j Job) (res *Result, err error) {
	begin := time.Now()
	d := m.withDefaults()
	res = &Result{ExitCode: -1}
	defer func() { res.Took = time.Since(begin) }()
	release, err := d.Kernel.hold(unix.LOCK_SH)
	if err != nil {
		return res, err
	}
	defer release()
	tmp, err := os.MkdirTemp("", "ublk-linear-vm-")
	if err != nil {
		return res, fmt.Errorf("temp folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	folder := j.Folder
	if folder == "" {
		folder = filepath.Join(tmp, "results")
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return res, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return res, fmt.Errorf("job folder: %w", err)
	}
	job, err := d.job(j, folder)
	if err != nil {
		return res, err
	}
	initBin, initramfs := filepath.Join(tmp, "init"), filepath.Join(tmp, "initramfs")
	if err := buildInit(ctx, initBin); err != nil {
		return res, err
	}
	if err := writeInitramfs(initramfs, initBin, d.Kernel); err != nil {
		return res, err
	}
	args, err := d.args(initramfs, folder, tmp)
	if err != nil {
		return res, err
	}
	res.Console = d.Console
	if res.Console == "" {
		res.Console = filepath.Join(folder, "console.log")
	}
	s := newSession(&d, res)
	return res, s.run(ctx, args, job, j.Output)
}
