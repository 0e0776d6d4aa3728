package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// changer is what the control socket asks of a Server that is to be changed.
type changer interface {
	Reload(ctx context.Context, r ReloadRequest) (*ReloadResult, error)
	Suspend(ctx context.Context, name string, r SuspendRequest) (*SuspendResult, error)
	Resume(name string) (*SuspendResult, error)
}

func changeRoutes(m *http.ServeMux, s changer) {
	m.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		var q ReloadRequest
		if !decodeChange(w, r, &q) {
			return
		}
		// It may wait for copies; and a disk that is opened, or a device that ends, takes its time besides.
		rc := http.NewResponseController(w)
		_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(MaxReloadWait+10*time.Minute))
		out, err := s.Reload(r.Context(), q)
		replyChange(w, out, err)
	})
	m.HandleFunc("POST /v1/devices/{name}/suspend", func(w http.ResponseWriter, r *http.Request) {
		var q SuspendRequest
		if !decodeChange(w, r, &q) {
			return
		}
		out, err := s.Suspend(r.Context(), r.PathValue("name"), q)
		replyChange(w, out, err)
	})
	m.HandleFunc("POST /v1/devices/{name}/resume", func(w http.ResponseWriter, r *http.Request) {
		if !decodeChange(w, r, &struct{}{}) {
			return
		}
		out, err := s.Resume(r.PathValue("name"))
		replyChange(w, out, err)
	})
}

// decodeChange reads a request, and answers when it is none.
func decodeChange(w http.ResponseWriter, r *http.Request, q any) bool {
	err := decodeWhole(http.MaxBytesReader(w, r.Body, maxRequest), q)
	if err == nil {
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(apiError{Error: err.Error()})
	return false
}

// refusedFile is the word for a ReloadError.
const refusedFile = "file"

// replyChange answers; a refusal has everything that is wrong.
func replyChange[T any](w http.ResponseWriter, v *T, err error) {
	e := (*ReloadError)(nil)
	if !errors.As(err, &e) {
		reply(w, v, err)
		return
	}
	a, code := apiError{Error: e.Error(), Busy: true}, http.StatusConflict
	if len(e.Invalid) > 0 {
		a.Busy, a.Refused, code = false, refusedFile, http.StatusBadRequest
	}
	for _, x := range e.all() {
		a.Problems = append(a.Problems, x.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a)
}

// Reload has the server serve what its file says now. It takes as long as copies are waited for. Errors: ErrNotServed; a
// RemoteError that is ErrReload, EBUSY or os.ErrNotExist.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (out ReloadResult, err error) {
	wait, err := r.wait()
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrReload, err)
	}
	slow := *c
	h := *c.http
	h.Timeout = wait + 10*time.Minute
	slow.http = &h
	return out, slow.call(ctx, http.MethodPost, "/v1/reload", r, &out)
}

// Suspend suspends a device, or lets it stay suspended. Errors: ErrNotServed; a RemoteError that is os.ErrNotExist, EBUSY, or
// ErrReload for a time that cannot be.
func (c *Client) Suspend(ctx context.Context, name string, r SuspendRequest) (out SuspendResult, err error) {
	return out, c.call(ctx, http.MethodPost, devicePath(name)+"/suspend", r, &out)
}

// Resume resumes a device. Errors: ErrNotServed, os.ErrNotExist.
func (c *Client) Resume(ctx context.Context, name string) (out SuspendResult, err error) {
	return out, c.call(ctx, http.MethodPost, devicePath(name)+"/resume", struct{}{}, &out)
}
