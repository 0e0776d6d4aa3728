package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/copy"
)

// maxCopyRequest bounds the body of a copy request: both sides may have blkcopy.MaxSegs segments.
const maxCopyRequest = 16 << 20

// copier is what the control socket asks of a Server for copies.
type copier interface {
	startCopy(ctx context.Context, r *CopyRequest) (context.Context, *copyJob, error)
	doCopy(ctx context.Context, j *copyJob) *CopyResult
	copyList(device string) []CopyInfo
	cancelCopy(id uint64) error
}

func copyRoutes(m *http.ServeMux, s copier) {
	m.HandleFunc("POST /v1/copy", func(w http.ResponseWriter, r *http.Request) { serveCopy(w, r, s) })
	m.HandleFunc("GET /v1/copies", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, CopyList{Schema, s.copyList("")}, nil)
	})
	m.HandleFunc("DELETE /v1/copies/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			err = fmt.Errorf("no copy %q: %w", r.PathValue("id"), os.ErrNotExist)
		} else {
			err = s.cancelCopy(id)
		}
		reply(w, struct{}{}, err)
	})
}

// serveCopy does a copy while its client waits: a line of progress every now and then, and the result as the last. A
// client that goes away cancels it. A refusal comes before anything is sent, as any failed call.
func serveCopy(w http.ResponseWriter, r *http.Request, s copier) {
	rc := http.NewResponseController(w) // the server's bounds are for calls, a copy may take days
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
	var q CopyRequest
	if err := decodeCopy(http.MaxBytesReader(w, r.Body, maxCopyRequest), &q); err != nil {
		refuse(w, err)
		return
	}
	ctx, j, err := s.startCopy(r.Context(), &q)
	if refusal(err) != "" {
		refuse(w, err)
		return
	}
	if err != nil {
		reply(w, nil, err)
		return
	}
	done := make(chan *CopyResult, 1)
	go func() { done <- s.doCopy(ctx, j) }()
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	say := func(l copyLine) {
		if lines.Encode(l) == nil {
			_ = rc.Flush()
		}
	}
	t := time.NewTicker(progressEvery)
	defer t.Stop()
	for {
		p := j.look().CopyProgress
		say(copyLine{Progress: &p})
		select {
		case <-t.C:
		case res := <-done:
			say(copyLine{Result: res})
			return
		}
	}
}

// decodeCopy reads a request; where a field of it is not one, those that are are said.
func decodeCopy(body io.Reader, q *CopyRequest) error {
	err := decodeWhole(body, q)
	if err != nil && strings.Contains(err.Error(), "unknown field") {
		return fmt.Errorf("%w: %s", err, copyFields)
	}
	return err
}

const copyFields = "a request has source, destination and policy; a side device and segments of pos and len; a policy at_boundary, fallback, on_failure, overlap, fua, flush, share_extents, zeroes, window, in_flight and rate"

// refusals are the words for what a copy can be refused for. The first that holds is said.
var refusals = []struct {
	word string
	err  error
}{{"boundary", blkcopy.ErrBoundary}, {"offload", blkcopy.ErrNoOffload}, {"overlap", blkcopy.ErrOverlap}, {"request", blkcopy.ErrRequest}}

// refusal is the word for an error, "" for one that is none.
func refusal(err error) string {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return ""
}

// Refused says whether an error is the refusal of a copy for what it asks for.
func Refused(err error) bool { return refusal(err) != "" }

// refuse answers that a request cannot be done as it is, with all that is wrong with it.
func refuse(w http.ResponseWriter, err error) {
	e := apiError{Error: err.Error(), Refused: refusal(err)}
	if p := (*blkcopy.RequestError)(nil); errors.As(err, &p) {
		for _, x := range p.Problems {
			e.Problems = append(e.Problems, x.Error())
		}
	} else {
		e.Problems = []string{err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(e)
}
