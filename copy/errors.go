package blkcopy

import (
	"errors"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// What a request can be refused for, before anything is sent. They wrap the errno that a kernel design gives, or would.
var (
	// ErrRequest is in every refusal of what a request says: EINVAL.
	ErrRequest = errors.New("copy request")
	// ErrBoundary is the refusal of a request that crosses an edge, under RefuseBoundary: EIO, as v20 of 2024 has it.
	ErrBoundary = errors.New("the range crosses an edge")
	// ErrNoOffload is the refusal of a request that the disks cannot do by themselves, under Fail: EOPNOTSUPP.
	ErrNoOffload = errors.New("no offload")
	// ErrOverlap is the refusal of source and destination that share blocks: EINVAL.
	ErrOverlap = errors.New("source and destination overlap")
)

// RequestError is everything that is wrong with a request.
type RequestError struct {
	Problems []error
}

// Error lists the problems.
func (e *RequestError) Error() string {
	var s []string
	for _, p := range e.Problems {
		s = append(s, p.Error())
	}
	return strings.Join(s, "\n")
}

// Unwrap is ErrRequest, EINVAL, and the problems.
func (e *RequestError) Unwrap() []error {
	return append([]error{ErrRequest, unix.EINVAL}, e.Problems...)
}

// errShort is of a transfer that ended early without saying why.
var errShort = &refusal{"short transfer", io.ErrUnexpectedEOF, unix.EIO}

// refusal is a problem with a sentinel and an errno.
type refusal struct {
	text  string
	kind  error
	errno unix.Errno
}

func (r *refusal) Error() string   { return r.text }
func (r *refusal) Unwrap() []error { return []error{r.kind, r.errno} }
