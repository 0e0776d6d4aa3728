package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Drive is a disk of the guest, kept in a sparse file for the time of the run.
type Drive struct {
	Kind       string // "nvme" or "virtio"
	Size       int64  // bytes
	Rate       int64  // bytes a second that QEMU lets through, reads and writes together; 0: all
	Serial     string // empty: "d" and the drive's index
	Controller string // nvme: drives with the same name are namespaces of one controller; empty: one of its own
	// Properties of QEMU's device: of nvme-ns, or of virtio-blk-pci. Copy limits are mssrl, mcl, msrc.
	Props []string // KEY=VALUE
	// ControllerProps are properties of QEMU's nvme device, such as mdts.
	ControllerProps []string
}

// shortProps are names for the properties that are asked for most.
func shortProps() map[string]string {
	return map[string]string{"lbs": "logical_block_size", "pbs": "physical_block_size"}
}

// ParseDrive reads KIND:KEY=VALUE,…: size, bps, serial, ctrl, lbs, pbs, ctrl.KEY for a property of the
// controller, and any other KEY for a property of the namespace. As in nvme:size=1G,lbs=4096,mssrl=16.
func ParseDrive(s string) (Drive, error) {
	kind, rest, _ := strings.Cut(s, ":")
	d := Drive{Kind: kind, Size: 1 << 30}
	if kind != "nvme" && kind != "virtio" {
		return d, fmt.Errorf("drive %q: kind is not nvme or virtio", s)
	}
	for opt := range strings.SplitSeq(rest, ",") {
		if opt == "" {
			continue
		}
		k, v, ok := strings.Cut(opt, "=")
		if !ok || k == "" || v == "" {
			return d, fmt.Errorf("drive %q: %q is not KEY=VALUE", s, opt)
		}
		short, isShort := shortProps()[k]
		prop, isCtrl := strings.CutPrefix(k, "ctrl.")
		switch {
		case k == "size":
			n, err := parseSize(v)
			if err != nil {
				return d, fmt.Errorf("drive %q: %w", s, err)
			}
			d.Size = n
		case k == "bps":
			n, err := parseSize(v)
			if err != nil {
				return d, fmt.Errorf("drive %q: %w", s, err)
			}
			d.Rate = n
		case k == "serial":
			d.Serial = v
		case kind != "nvme" && (k == "ctrl" || isCtrl):
			return d, fmt.Errorf("drive %q: %s is for nvme", s, k)
		case k == "ctrl":
			d.Controller = v
		case isCtrl:
			d.ControllerProps = append(d.ControllerProps, prop+"="+v)
		case isShort:
			d.Props = append(d.Props, short+"="+v)
		default:
			d.Props = append(d.Props, k+"="+v)
		}
	}
	d.Props = physical(d.Props)
	return d, nil
}

// physical adds a physical block size to a logical one that stands alone: QEMU's default for it is 512.
func physical(props []string) []string {
	lbs := ""
	for _, p := range props {
		if strings.HasPrefix(p, "physical_block_size=") {
			return props
		}
		if v, ok := strings.CutPrefix(p, "logical_block_size="); ok {
			lbs = v
		}
	}
	if lbs != "" {
		props = append(props, "physical_block_size="+lbs)
	}
	return props
}

// parseSize reads a number of bytes with an optional K, M, G or T.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
		digits, shift = s[:len(s)-1], 10*(i+1)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q: not a number of bytes with K, M, G or T", s)
	}
	return n << shift, nil
}

// driveArgs creates the drives' files in dir and returns QEMU's options for them.
func driveArgs(drives []Drive, dir string) ([]string, error) {
	var args []string
	nsids := map[string]int{} // controller → namespaces so far
	for i, d := range drives {
		file := filepath.Join(dir, fmt.Sprintf("drive%d.img", i))
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("drive %d: %w", i, err)
		}
		err = f.Truncate(d.Size)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("drive %d: %w", i, err)
		}
		id, serial := fmt.Sprintf("drive%d", i), d.Serial
		if serial == "" {
			serial = fmt.Sprintf("d%d", i)
		}
		// The files are thrown away with the guest: cache=unsafe spares the host the flushes.
		throttle := ""
		if d.Rate > 0 {
			throttle = fmt.Sprintf(",throttling.bps-total=%d", d.Rate)
		}
		args = append(args, "-drive", "file="+strings.ReplaceAll(file, ",", ",,")+",if=none,format=raw,discard=unmap,cache=unsafe,id="+id+throttle)
		if d.Kind == "virtio" {
			args = append(args, "-device", join("virtio-blk-pci,drive="+id+",serial="+serial, d.Props))
			continue
		}
		ctrl := "nvme-" + d.Controller
		if d.Controller == "" {
			ctrl = "nvme" + strconv.Itoa(i)
		}
		if nsids[ctrl]++; nsids[ctrl] == 1 {
			args = append(args, "-device", join("nvme,id="+ctrl+",serial="+serial, d.ControllerProps))
		}
		args = append(args, "-device", join(fmt.Sprintf("nvme-ns,drive=%s,bus=%s,nsid=%d", id, ctrl, nsids[ctrl]), d.Props))
	}
	return args, nil
}

func join(first string, rest []string) string {
	return strings.Join(append([]string{first}, rest...), ",")
}
