// Package ublk is a server for the ublk driver: it adds block devices to the kernel and serves their I/O from other
// block devices, files or memory, on raw io_uring, without a copy of a descriptor or an allocation per I/O.
//
// It knows nothing of tables: a Mapper says where a request lands. A Device has one goroutine per hardware queue,
// locked to a thread of its own (queue.go tells a request's way in order). Control commands run one at a time on
// another locked thread, each under a deadline, because a driver that does not answer must not stop the rest
// (control.go).
//
// Device.Hold keeps requests out of ranges of a device for a while, and says when those under way have ended (holds.go).
// Suspend is the same for everything. Swap replaces mapper and disks of a live device (world.go), Resize its capacity.
//
// A device with a Recovery policy outlives its server: Control.Recover takes it over when that is gone, killed or detached
// (Device.Detach). Recover and Start replace Add and Start then.
//
//	c, err := ublk.OpenControl(nil)
//	d, err := c.Add(ctx, &ublk.Spec{ID: -1, Sectors: table.Sectors(), Limits: limits})
//	err = d.Start(ctx, table, backings)
//	// /dev/ublkbN can be opened
//	err = d.Stop(ctx)
//
// It needs Linux 6.8, CAP_SYS_ADMIN, and /dev/ublk-control. What the driver can do is asked of it by GET_FEATURES, never
// guessed from a version.
package ublk
