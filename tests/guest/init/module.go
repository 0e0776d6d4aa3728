package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

// moduleInitCompressed is MODULE_INIT_COMPRESSED_FILE of linux/module.h: the kernel unpacks the file.
const moduleInitCompressed = 4

// loadBootModules loads the modules of the initramfs in the order given.
func loadBootModules() error {
	list, err := os.ReadFile(guest.BootModules)
	if err != nil {
		return fmt.Errorf("list of boot modules: %w", err)
	}
	sc := bufio.NewScanner(bytes.NewReader(list))
	for sc.Scan() {
		if err := insmod(sc.Text()); err != nil {
			return fmt.Errorf("boot module %s: %w", filepath.Base(sc.Text()), err)
		}
	}
	return sc.Err()
}

func insmod(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = moduleInitCompressed
	}
	err = unix.FinitModule(int(f.Fd()), "", flags)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// modprobe loads modules by name, in order, and returns a line on each that did not load. Parameters
// come from the kernel's command line.
func modprobe(names []string) []string {
	out, err := exec.Command("modprobe", append([]string{"-a"}, names...)...).CombinedOutput()
	if err == nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(fmt.Sprintf("%s\n%v", bytes.TrimSpace(out), err)), "\n")
}

// openPort opens a virtio-serial port by its name. Ports appear some time after their driver is loaded.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil || strings.TrimSpace(string(b)) != name {
				continue
			}
			// A blocking file: its write returns when the host has the bytes, so that none are lost at power off.
			fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(n)), unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				return os.NewFile(uintptr(fd), name), nil
			}
			if !errors.Is(err, unix.ENOENT) { // devtmpfs may be a moment behind sysfs
				return nil, fmt.Errorf("port %s: %w", name, err)
			}
		}
	}
	return nil, fmt.Errorf("port %s: %w", name, unix.ETIMEDOUT)
}
