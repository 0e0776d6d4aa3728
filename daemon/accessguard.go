package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

type rightKey struct{}

// connContext notes what the peer of a connection may do.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, rightKey{}, c.right)
	}
	return ctx
}

// guard stands before the routes:
//
//  1. who may only look gets GET and nothing else;
//  2. a request's body is read to its end, in bounded time and memory, before its route is called; then the deadline for
//     reading is off, so that a call which takes long sees its client go away and nothing else;
//  3. a route that panics is answered 500, and logged, and the server lives on.
func guard(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch right, _ := r.Context().Value(rightKey{}).(right); {
		case right == everything:
		case right == look && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		default:
			answer(w, http.StatusForbidden, "only root may "+r.Method)
			return
		}
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCopyRequest+1)) // routes have smaller bounds
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				answer(w, http.StatusRequestTimeout, "the body did not come in time")
			} else {
				answer(w, http.StatusBadRequest, err.Error())
			}
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		t := &tracker{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { // net/http cuts the connection
				panic(p)
			}
			log.Error("control socket: a call failed badly", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if t.begun {
				panic(http.ErrAbortHandler) // an answer that is cut off is none
			}
			answer(w, http.StatusInternalServerError, "the server has a bug: its log has more")
		}()
		next.ServeHTTP(t, r)
	})
}

// tracker knows whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	begun bool
}

func (t *tracker) WriteHeader(code int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(code)
}

func (t *tracker) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the deadlines and Flush.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func answer(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(apiError{Error: why})
}
