// Package uapi holds the kernel's structs and numbers that a ublk server needs: include/uapi/linux/ublk_cmd.h,
// the used part of io_uring.h, and the one block command of blkdev.h. Constants keep the kernel's spelling so that
// a search works both ways. Sizes and offsets are asserted when the package is compiled (layout_unsafe.go).
//
// There is no logic here, and every struct that crosses into the kernel starts with structs.HostLayout.
package uapi
