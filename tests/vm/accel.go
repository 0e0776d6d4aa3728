package vm

import "os"

// Accel returns how QEMU can run a guest here: "kvm" or "tcg". That /dev/kvm opens is not enough: there
// are hypervisors that offer it but cannot run a stock kernel, and QEMU then dies early in the boot.
// Hardware virtualisation shows as one of the two modules.
func Accel() string {
	for _, m := range []string{"/sys/module/kvm_intel", "/sys/module/kvm_amd"} {
		if _, err := os.Stat(m); err != nil {
			continue
		}
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			continue
		}
		f.Close()
		return "kvm"
	}
	return "tcg"
}

// accelArgs returns QEMU's options for an accelerator. An idle guest whose time is counted jumps to its next timer, but not
// where it has disks of QEMU's: they work in the machine's time, and each command would time out.
func accelArgs(accel string, counted, drives bool) []string {
	icount := "shift=0,sleep=off"
	if drives {
		icount = "shift=0"
	}
	switch {
	case counted:
		return []string{"-accel", "tcg,thread=single", "-icount", icount, "-cpu", "max"}
	case accel == "kvm":
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
}
