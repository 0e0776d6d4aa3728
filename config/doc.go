// Package config reads the TOML file that describes disks and the devices laid over them, and
// finds everything that is wrong with it without opening a device.
//
// Steps, in order:
//
//  1. [Load] reads the file, [Parse] takes its text.
//  2. scan.go walks the text once and keeps where every key and every value stands (index.go).
//  3. The TOML library decodes the text into plain maps; a syntax error ends the work here (syntax.go).
//  4. The maps are walked by hand, disk by disk and device by device. A value of the wrong type or
//     out of range is one [Problem] with its place, and the walk goes on.
//  5. [File.Check] applies the geometry rules of device-mapper, with what the file says of its
//     disks. Who has opened the disks calls it again with the [Facts] it found.
//
// All problems are reported at once, sorted by place. A [File] may be used only if
// [Problems.Errors] is empty.
//
// Sizes in the file are bytes; Start, Sectors, Chunk and Offset of a [Segment] are 512-byte sectors,
// as in a device-mapper table.
//
// What this package is not: it does not look for disks, resolve links or read limits. The only file
// it opens is the one it was asked to load.
package config
