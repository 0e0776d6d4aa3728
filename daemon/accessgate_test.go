package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gated serves h behind a gate whose peers all have a right, and returns the socket's path.
func gated(t *testing.T, h http.Handler, r right, tune ...func(*http.Server)) string {
	t.Helper()
	path := filepath.Join(runDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	srv := controlServer(h, log)
	for _, f := range tune {
		f(srv)
	}
	g := &gate{UnixListener: l, log: log, rightOf: func(peer) right { return r }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(g) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return path
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// askRaw sends a request and returns the answer; "" when the connection is closed without one.
func askRaw(t *testing.T, path, request string) string {
	t.Helper()
	c := dial(t, path)
	_, _ = io.WriteString(c, request)
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("no answer")
	}
	return string(b)
}

const getList = "GET /v1/devices HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n"

// TestGateRefuses: who has no right is told so and reaches no route.
func TestGateRefuses(t *testing.T) {
	path := gated(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a route was reached") }), nothing)
	if got := askRaw(t, path, getList); !strings.HasPrefix(got, "HTTP/1.1 403 Forbidden\r\n") || !strings.Contains(got, "may not use the control socket") {
		t.Errorf("%q", got)
	}
	c := dial(t, path)
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who has asked nothing is answered: %d %v", n, err) // an HTTP client takes that for a fault
	}
	_, err := newClient(nil, path).List(t.Context())
	if err == nil || !strings.Contains(err.Error(), "may not use the control socket") {
		t.Errorf("a client sees %v", err)
	}
}

// TestGateFull: so many and no more; whoever comes then is told at once, and there is room again when one goes. Who may only
// look leaves room for root.
func TestGateFull(t *testing.T) {
	for _, c := range []struct {
		right right
		most  int
	}{{everything, maxConns}, {look, maxLooks}} {
		path := gated(t, routes(&fake{devices: []DeviceInfo{data}}), c.right)
		all := make([]net.Conn, c.most)
		for i := range all {
			all[i] = dial(t, path)
		}
		if got := askRaw(t, path, getList); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "too many connections") {
			t.Errorf("one more than %d: %q", c.most, got)
		}
		all[3].Close()
		got := ""
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && !strings.HasPrefix(got, "HTTP/1.1 200 "); {
			got = askRaw(t, path, getList)
		}
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("with room for one: %q", got)
		}
	}
}

// TestGateRoom: the counts, without sockets.
func TestGateRoom(t *testing.T) {
	g := &gate{}
	for range maxLooks {
		if !g.enter(look) {
			t.Fatal("no room to look")
		}
	}
	if g.enter(look) {
		t.Error("one more may look")
	}
	for range maxConns - maxLooks {
		if !g.enter(everything) {
			t.Fatal("no room for root")
		}
	}
	if g.enter(everything) || g.enter(look) {
		t.Error("more than there is room for")
	}
	a, b := net.Pipe()
	defer b.Close()
	c := &conn{Conn: a, right: look, gate: g}
	_, _ = c.Close(), c.Close() // twice closed makes room once
	if !g.enter(look) || g.enter(look) || g.enter(everything) {
		t.Error("room for one, and only one")
	}
}

// TestSlow: connections that say nothing, half a header, or half a body are ended by the server.
func TestSlow(t *testing.T) {
	f := &fake{}
	path := gated(t, routes(f), everything, func(s *http.Server) { // the server's own bounds, a fiftieth of them
		for _, d := range []*time.Duration{&s.ReadHeaderTimeout, &s.ReadTimeout, &s.IdleTimeout, &s.WriteTimeout} {
			if *d <= 0 || *d > time.Minute {
				t.Errorf("a bound of %v", *d)
			}
			*d /= 50
		}
	})
	var conns []net.Conn
	for _, part := range []string{"", "GET /v1/devices HTTP/1.1\r\nHost: server\r\n\r\n", "GET /v1/dev", "POST /v1/down HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\n{", "POST /v1/copy HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\n{"} {
		c := dial(t, path)
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		b, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still there", i)
		}
		t.Logf("%q", b)
	}
	if len(f.asked) > 0 || len(f.fakeCopies.asked) > 0 {
		t.Error("half a request was taken for one")
	}
}
