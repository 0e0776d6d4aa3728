package vm

import (
	"fmt"
	"io"
	"io/fs"
	"path"
)

// cpioWriter writes an archive in the format the kernel unpacks its initramfs from: "newc", which is
// documented in Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	w    io.Writer
	ino  int
	dirs map[string]bool
	err  error
}

func newCpioWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// File adds a regular file, and the folders above it.
func (c *cpioWriter) File(name string, perm fs.FileMode, data []byte) {
	c.Dir(path.Dir(name))
	c.entry(name, 0o100000|uint32(perm.Perm()), data, 0, 0)
}

// Dir adds a folder, and those above it, once.
func (c *cpioWriter) Dir(name string) {
	name = path.Clean(name)
	if c.dirs[name] {
		return
	}
	c.dirs[name] = true
	c.Dir(path.Dir(name))
	c.entry(name, 0o40755, nil, 0, 0)
}

// Device adds a character device, and the folders above it.
func (c *cpioWriter) Device(name string, major, minor int) {
	c.Dir(path.Dir(name))
	c.entry(name, 0o20600, nil, major, minor)
}

// Close writes the trailer and returns the first error there was.
func (c *cpioWriter) Close() error {
	c.entry("TRAILER!!!", 0, nil, 0, 0)
	return c.err
}

func (c *cpioWriter) entry(name string, mode uint32, data []byte, major, minor int) {
	if c.err != nil {
		return
	}
	for len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	c.ino++
	// magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	c.padded([]byte(head))
	c.padded(data)
}

// padded writes b and zeroes up to a multiple of four: both the header with the name and the data are so aligned.
func (c *cpioWriter) padded(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
	if n := -len(b) & 3; c.err == nil && n > 0 {
		_, c.err = c.w.Write(make([]byte, n))
	}
}
