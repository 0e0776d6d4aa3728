package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxRequest bounds a request's body.
const maxRequest = 1 << 20

// Bounds of a connection: until its headers are there, until its body is, until its answer is taken, and between two
// calls. A route that takes longer moves its own.
const (
	headerWait = 5 * time.Second
	bodyWait   = 10 * time.Second
	answerWait = 60 * time.Second
	idleWait   = 10 * time.Second
)

// listener is the control socket: HTTP and JSON on a unix socket (access.go says for whom).
type listener struct {
	srv *http.Server
}

func listen(s *Server) (*listener, error) {
	path := s.inst.Socket()
	_ = os.Remove(path) // we hold the lock: whoever made it is gone
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err == nil {
		if err = s.access.set(path, s.inst.dir); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	log := s.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := controlServer(routes(s), log)
	go func() { _ = h.Serve(&gate{UnixListener: l, rightOf: s.access.of, log: log}) }()
	return &listener{h}, nil
}

// controlServer serves the routes to peers that a gate has let in.
func controlServer(routes http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: guard(routes, log), ConnContext: connContext, ReadHeaderTimeout: headerWait, ReadTimeout: bodyWait, WriteTimeout: answerWait,
		IdleTimeout: idleWait, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
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
	changer
	upgrader
	eventRing() *events
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
		if !decodeFirst(w, r, &q) {
			return
		}
		out, err := s.requestDown(q)
		reply(w, out, err)
	})
	copyRoutes(m, s)
	changeRoutes(m, s)
	upgradeRoutes(m, s)
	eventRoutes(m, s.eventRing())
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
