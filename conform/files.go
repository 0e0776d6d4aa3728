package conform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// FileMethod is a way in which a file system copies.
type FileMethod string

// The methods of files.
const (
	CopyFileRange FileMethod = "copy_file_range"
	CloneRange    FileMethod = "FICLONERANGE"
)

// Files is a Target of two files of one folder, made for it: the region's first half is one of them, its second half the
// other, so that copies go between the files and inside each. They are read and written through the page cache.
type Files struct {
	geometry Geometry
	method   FileMethod
	file     [2]*os.File
}

// filesBytes is the length of each file.
const filesBytes = 1 << 20

// NewFiles makes the files in dir, under names that nobody has; Close removes them. Where the file system does not have the
// method, the error is EOPNOTSUPP and says so.
func NewFiles(dir string, m FileMethod) (_ *Files, err error) {
	f := &Files{method: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for i := range f.file {
		if f.file[i], err = os.CreateTemp(dir, ".ublk-linear-conform-*"); err != nil {
			return nil, err
		}
		if err := f.file[i].Truncate(filesBytes); err != nil {
			return nil, err
		}
	}
	block := uint64(512)
	if m == CloneRange { // the file system's block
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.file[0].Fd()), &st); err != nil {
			return nil, fmt.Errorf("%s: statfs: %w", dir, err)
		}
		block = uint64(max(st.Bsize, 512))
	}
	f.geometry = Geometry{Name: fmt.Sprintf("%s in %s", m, filepath.Clean(dir)), Method: limits.FileCopy, Block: block, Length: 2 * filesBytes, Ranges: 1, Seam: filesBytes}
	// Written first: a hole may be shared where data cannot.
	if err := f.WriteAt(make([]byte, 2*filesBytes), 0); err != nil {
		return nil, err
	}
	a := f.Copy([]target.Range{{Len: f.geometry.sectors(1)}}, filesBytes/512, false)
	if errors.Is(a.Err, unix.ENOTTY) || errors.Is(a.Err, unix.ENOSYS) || errors.Is(a.Err, unix.EOPNOTSUPP) || errors.Is(a.Err, unix.EINVAL) {
		return nil, fmt.Errorf("the file system of %s does not have %s: %w: %w", dir, m, unix.EOPNOTSUPP, a.Err)
	}
	return f, a.Err
}

// Geometry is a Target's.
func (f *Files) Geometry() Geometry { return f.geometry }

// ReadAt is a Target's.
func (f *Files) ReadAt(p []byte, at uint64) error {
	return halves(uint64(len(p)), at, func(i int, at, from, n uint64) error {
		_, err := f.file[i].ReadAt(p[from:from+n], int64(at))
		return err
	})
}

// WriteAt is a Target's.
func (f *Files) WriteAt(p []byte, at uint64) error {
	return halves(uint64(len(p)), at, func(i int, at, from, n uint64) error {
		_, err := f.file[i].WriteAt(p[from:from+n], int64(at))
		return err
	})
}

// Flush is a Target's.
func (f *Files) Flush() error { return errors.Join(f.file[0].Sync(), f.file[1].Sync()) }

// Copy is a Target's. It has one source. What crosses from one file to the other is cut there, so that a source that fails
// behind the cut has been copied before it.
func (f *Files) Copy(sources []target.Range, dst uint64, fua bool) Answer {
	if len(sources) != 1 || sources[0].Len == 0 {
		return Answer{Err: fmt.Errorf("%w: a call has one source, which is not empty", ErrNotSent)}
	}
	s := sources[0]
	if end := uint64(2 * filesBytes / 512); s.Start > end || s.Len > end-s.Start || dst > end || s.Len > end-dst {
		return Answer{Err: fmt.Errorf("%w: past the end", ErrNotSent)}
	}
	err := halves(s.Len*512, s.Start*512, func(i int, at, from, n uint64) error {
		return halves(n, dst*512+from, func(j int, to, skip, n uint64) error { return f.call(i, j, at+skip, to, n) })
	})
	if err == nil && fua {
		err = f.Flush()
	}
	return Answer{Err: err}
}

// call is one system call, and as many more as a short copy takes.
func (f *Files) call(i, j int, at, to, n uint64) error {
	src, dst := int(f.file[i].Fd()), int(f.file[j].Fd())
	if f.method == CloneRange {
		return unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{Src_fd: int64(src), Src_offset: at, Src_length: n, Dest_offset: to})
	}
	for n > 0 {
		from, into := int64(at), int64(to)
		got, err := unix.CopyFileRange(src, &from, dst, &into, int(n), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case got == 0:
			return fmt.Errorf("copy_file_range ended early: %w", unix.EIO)
		default:
			at, to, n = at+uint64(got), to+uint64(got), n-uint64(got)
		}
	}
	return nil
}

// halves cuts n bytes at at where one file ends and the other begins; from is what was before of the n.
func halves(n, at uint64, do func(file int, at, from, n uint64) error) error {
	for from := uint64(0); from < n; {
		i := (at + from) / filesBytes
		if i > 1 {
			return fmt.Errorf("byte %d: past the end", at+from)
		}
		part := min(n-from, (i+1)*filesBytes-at-from)
		if err := do(int(i), at+from-i*filesBytes, from, part); err != nil {
			return err
		}
		from += part
	}
	return nil
}

// Close removes the files.
func (f *Files) Close() error {
	var errs []error
	for _, file := range f.file {
		if file != nil {
			errs = append(errs, os.Remove(file.Name()), file.Close())
		}
	}
	return errors.Join(errs...)
}
