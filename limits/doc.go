// Package limits holds the queue limits of a block device and the block layer's rules for stacking them:
// a device composed of others may advertise only what each of them can honour.
//
// It reads limits from sysfs through an fs.FS and does no other I/O. It does not know how ublk is told
// of limits; that is package ublk's.
package limits
