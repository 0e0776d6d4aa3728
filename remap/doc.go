// Package remap is dm's core without the I/O: a Table is a device's targets in order, and maps a request to the segments
// of disks that serve it.
//
// A Table is immutable: whoever has one may map with it from any number of threads. It does not open, read or write
// anything, and does not know what a disk is beyond its index.
package remap
