package ublk

// Zero copy: the driver puts the pages of each request into the ring's table of buffers, at the tag's number, before the
// queue sees the request, and takes them out when it is committed (UBLK_F_AUTO_BUF_REG). Commands name the buffer by that
// number and say positions inside the request instead of addresses. The server never has the data.
//
// A request whose pages could not be registered comes with NEED_REG_BUF; then the queue registers them by a command of its
// own, and takes them out before the commit, which the driver does only for those that it registered itself.

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// DataPath is how data goes between the driver and the disks.
type DataPath uint8

const (
	AutoPath     DataPath = iota // ZeroCopyPath where driver and disks allow it, else BufferPath
	BufferPath                   // through a buffer per tag, to and from which the driver copies
	ZeroCopyPath                 // the disks are given the requests' own pages; Linux 6.16
)

// String is the word of the file and of status.
func (p DataPath) String() string {
	switch p {
	case BufferPath:
		return "buffer"
	case ZeroCopyPath:
		return "zero-copy"
	}
	return "auto"
}

// zeroCopyFlags are what zero copy needs of the driver: pages that are registered with each request, and by a command where
// that fails.
const zeroCopyFlags = uapi.UBLK_F_AUTO_BUF_REG | uapi.UBLK_F_SUPPORT_ZERO_COPY

// path is the device's on a driver with these features. Errors: a FeatureError.
//
// AutoPath is zero copy wherever it is possible: it was never measured to be the slower one beyond the noise, and at 1 MiB it
// is several times as fast, since nothing is copied (docs/performance.md). It needs no memory for buffers either. It is not
// possible on a driver that lacks it, nor over disks that want an alignment of memory that the driver cannot be told to ask
// of requests: buffers are aligned to pages, a request's own memory as the device says.
func (s *Spec) path(f Features) (DataPath, error) {
	switch s.DataPath {
	case AutoPath:
		if _, ok := s.dmaMask(); ok && f.Has(zeroCopyFlags) {
			return ZeroCopyPath, nil
		}
	case ZeroCopyPath:
		if missing := f.Missing(zeroCopyFlags); missing != nil {
			return ZeroCopyPath, &FeatureError{missing}
		}
		return ZeroCopyPath, nil
	}
	return BufferPath, nil
}

// Flags is what the path asks of the driver; Features.Missing says what a driver lacks of it.
func (p DataPath) Flags() Features {
	if p == ZeroCopyPath {
		return zeroCopyFlags
	}
	return 0
}

// DataPath is the path of a device that has these flags.
func (f Features) DataPath() DataPath {
	if f.Has(uapi.UBLK_F_AUTO_BUF_REG) {
		return ZeroCopyPath
	}
	return BufferPath
}

// user_data of a tag's registration; with pagesOut, of the end of it.
const (
	pagesBit = 1 << 61
	pagesOut = 1 << 60
)

// autoPages is struct ublk_auto_buf_reg in the entry of a fetch or commit: the tag's place in the table.
func autoPages(t uint16) uint64 { return uint64(t) | uapi.UBLK_AUTO_BUF_REG_FALLBACK<<16 }

// register asks for the pages of a request that came without.
func (q *queue) register(t uint16) {
	q.tags[t].bare = false
	q.pages(uapi.UBLK_U_IO_REGISTER_IO_BUF, t, pagesBit|uint64(t))
}

// registered goes on with a request whose pages are in the table now, or answers it.
func (q *queue) registered(data uint64, res int32) {
	t := uint16(data)
	tg := &q.tags[t]
	if data&pagesOut != 0 {
		return
	}
	if res < 0 {
		tg.errno = unix.Errno(-res)
		q.commit(t)
		return
	}
	tg.manual = true
	q.advance(t)
}

// unregister takes the pages out again. It stands before the commit in the ring, and the driver does both at once.
func (q *queue) unregister(t uint16) {
	q.pages(uapi.UBLK_U_IO_UNREGISTER_IO_BUF, t, pagesBit|pagesOut|uint64(t))
}

func (q *queue) pages(cmd uint32, t uint16, data uint64) {
	e := q.sqe()
	e.Opcode, e.FD, e.Off, e.UserData = uapi.IORING_OP_URING_CMD, q.charFD, uint64(cmd), data
	putIOCmd(e, uapi.IOCmd{QID: uint16(q.id), Tag: t, Addr: uint64(t)})
}
