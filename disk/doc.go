// Package disk is what a table stands on: a block device, a file or memory. It finds the disk that a
// configuration names, refuses names that can move to another disk, holds the disk exclusively for as
// long as it is open, and says who holds a disk that it cannot have.
//
// Whoever serves the disk uses its file descriptor. For copying there are synchronous calls: Readv, Writev, Zero, NextData
// and Sync, and the offloads CopyNVMe, CopySCSI and CopyRange. It knows nothing of tables.
//
// A disk is held by one open file: O_EXCL on a block device, flock on a file. Both last until the last
// reference to the open file is gone, which includes I/O in flight: the hold of a server that was killed
// ends when its last write has landed. Open waits for that, and so it is also the fence behind which a
// server may take over the devices of its predecessor.
//
//	d, err := disk.Open(ctx, disk.Spec{Name: "a", Path: "/dev/disk/by-id/nvme-eui.0025385b21404a30"},
//		&disk.Options{Wait: 30 * time.Second})
//	if err != nil {
//		return err
//	}
//	defer d.Close()
package disk
