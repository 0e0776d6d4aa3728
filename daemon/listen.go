package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxRequest bounds a request's body.
const maxRequest = 1 << 20

// listener is the control socket: HTTP and JSON on a unix socket that only root can reach.
type listener struct {
	srv *http.Server
}

func listen(s *Server) (*listener, error) {
	path := s.inst.Socket()
	_ = os.Remove(path) // we hold the lock: whoever made it is gone
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	h := &http.Server{Handler: routes(s), ReadTimeout: 10 * time.Second, WriteTimeout: 60 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = h.Serve(l) }()
	return &listener{h}, nil
}

// close lets the calls under way finish: one of them may be what stops the server.
func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if l.srv.Shutdown(ctx) != nil {
		_ = l.srv.Close()
	}
}

// served is what the control socket asks of a Server.
type served interface {
	List() []DeviceInfo
	Status(name string) (Status, bool)
	requestDown(DownRequest) (DownResult, error)
	copier
}

var _ served = (*Server)(nil)

func routes(s served) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/devices", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, List{Schema, s.List()}, nil)
	})
	m.HandleFunc("GET /v1/devices/{name}", func(w http.ResponseWriter, r *http.Request) {
		st, ok := s.Status(r.PathValue("name"))
		if !ok {
			reply(w, nil, fmt.Errorf("no device %q: %w", r.PathValue("name"), os.ErrNotExist))
			return
		}
		reply(w, st, nil)
	})
	m.HandleFunc("POST /v1/down", func(w http.ResponseWriter, r *http.Request) {
		var q DownRequest
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(apiError{Error: err.Error()})
			return
		}
		out, err := s.requestDown(q)
		reply(w, out, err)
	})
	copyRoutes(m, s)
	return m
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(v)
		return
	}
	e := apiError{Error: err.Error(), Busy: errors.Is(err, unix.EBUSY)}
	switch {
	case e.Busy:
		w.WriteHeader(http.StatusConflict)
	case errors.Is(err, os.ErrNotExist):
		w.WriteHeader(http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
	_ = json.NewEncoder(w).Encode(e)
}
