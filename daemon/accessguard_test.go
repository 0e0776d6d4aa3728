package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/copy"
)

// asPeer is a request of a peer with a right.
func asPeer(r right, method, path string, body io.Reader) *http.Request {
	q := httptest.NewRequest(method, path, body)
	return q.WithContext(context.WithValue(q.Context(), rightKey{}, r))
}

// TestGuardRights: who may only look looks; everything that changes something is a method that GET is not.
func TestGuardRights(t *testing.T) {
	for _, c := range []struct {
		right  right
		method string
		path   string
		code   int
	}{
		{everything, "GET", "/v1/devices", 200},
		{everything, "POST", "/v1/down", 200},
		{everything, "DELETE", "/v1/copies/1", 404},
		{look, "GET", "/v1/devices", 200},
		{look, "GET", "/v1/devices/data", 200},
		{look, "HEAD", "/v1/devices", 200},
		{look, "GET", "/v1/copies", 200},
		{look, "POST", "/v1/down", 403},
		{look, "POST", "/v1/copy", 403},
		{look, "DELETE", "/v1/copies/1", 403},
		{look, "PUT", "/v1/devices", 403},
		{look, "get", "/v1/devices", 403},
		{nothing, "GET", "/v1/devices", 403},
	} {
		f := &fake{devices: []DeviceInfo{data}}
		w := httptest.NewRecorder()
		guard(routes(f), slog.New(slog.DiscardHandler)).ServeHTTP(w, asPeer(c.right, c.method, c.path, strings.NewReader("{}")))
		if w.Code != c.code || c.code == 403 && (len(f.asked) > 0 || len(f.fakeCopies.asked) > 0) {
			t.Errorf("right %d, %s %s: %d, want %d", c.right, c.method, c.path, w.Code, c.code)
		}
	}
	w := httptest.NewRecorder() // nobody knows who
	guard(routes(&fake{}), slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/v1/devices", nil))
	if w.Code != 403 {
		t.Error(w.Code)
	}
}

// TestGuardBody: a body is bounded whatever its route, and whole when the route sees it.
func TestGuardBody(t *testing.T) {
	var got int
	h := guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if got = len(b); err != nil {
			t.Error(err)
		}
	}), slog.New(slog.DiscardHandler))
	for _, c := range []struct{ n, code, got int }{{0, 200, 0}, {100, 200, 100}, {maxCopyRequest, 200, maxCopyRequest}, {maxCopyRequest + 2, 400, -1}} {
		got = -1
		w := httptest.NewRecorder()
		h.ServeHTTP(w, asPeer(everything, "POST", "/x", bytes.NewReader(make([]byte, c.n))))
		if w.Code != c.code || got != c.got {
			t.Errorf("%d bytes: %d, %d bytes", c.n, w.Code, got)
		}
	}
}

// TestGuardPanic: a route that panics is answered 500, or cut off when its answer had begun; it is logged; and the server
// lives on.
func TestGuardPanic(t *testing.T) {
	var log lockedLog
	h := controlServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/begun":
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			panic("in the middle")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/fine":
			reply(w, struct{}{}, nil)
		default:
			panic(errors.New("a bug"))
		}
	}), slog.New(slog.NewTextHandler(&log, nil)))
	get := func(path string) (code int, body string, err error) {
		t.Helper()
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return pipeTo(t, h, everything), nil
		}}}).Get("http://server" + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	if code, body, err := get("/bug"); code != 500 || !strings.HasPrefix(body, `{"error":"`) || err != nil {
		t.Error(code, body, err)
	}
	if l := log.String(); !strings.Contains(l, "a bug") || !strings.Contains(l, "/bug") || !strings.Contains(l, "accessguard_test.go") {
		t.Errorf("the log says\n%s", l)
	}
	if code, _, err := get("/begun"); code != 200 || err == nil {
		t.Error("half an answer looks whole:", code, err)
	}
	if !strings.Contains(log.String(), "in the middle") {
		t.Errorf("the log says\n%s", log.String())
	}
	if _, _, err := get("/abort"); err == nil {
		t.Error("an answer that was given up")
	}
	if code, _, err := get("/fine"); code != 200 || err != nil {
		t.Error(code, err)
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pipeTo is a connection, without a socket, to a server of its own.
func pipeTo(t testing.TB, srv *http.Server, r right) net.Conn {
	ours, theirs := net.Pipe()
	g := &gate{}
	g.enter(r)
	l := &oneConn{c: &conn{Conn: theirs, right: r, gate: g}, end: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		_ = srv.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		ours.Close()
		l.Close()
		<-done
	})
	return ours
}

// oneConn is a listener of one connection.
type oneConn struct {
	mu   sync.Mutex
	c    net.Conn
	end  chan struct{}
	once sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.c
	l.c = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-l.end
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.end) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }

// rawConn is a client that says something and is silent then, but takes all answers.
type rawConn struct {
	net.Conn // nil: nothing else is called
	mu       sync.Mutex
	in       *bytes.Reader
	out      bytes.Buffer
	end      chan struct{}
	once     sync.Once
}

func (c *rawConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.Read(b)
}

func (c *rawConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *rawConn) written() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.out.Bytes())
}

func (c *rawConn) Close() error {
	c.once.Do(func() { close(c.end) })
	return nil
}

func (c *rawConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *rawConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c *rawConn) SetDeadline(time.Time) error      { return nil }
func (c *rawConn) SetReadDeadline(time.Time) error  { return nil }
func (c *rawConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzControl: whatever comes on the control socket, the server answers what can be answered in HTTP, reaches a route only
// with a whole request of somebody who may, and answers the next one.
func FuzzControl(f *testing.F) {
	for _, s := range []string{
		getList,
		"GET /v1/devices/data HTTP/1.1\r\nHost: s\r\n\r\n" + getList,
		"POST /v1/down HTTP/1.1\r\nHost: s\r\nContent-Length: 14\r\n\r\n{\"force\":true}",
		"POST /v1/down HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/copy HTTP/1.1\r\nHost: s\r\nContent-Length: 113\r\n\r\n{\"source\":{\"device\":\"a\",\"segments\":[{\"pos\":0,\"len\":4096}]},\"destination\":{\"device\":\"b\",\"segments\":[{\"pos\":0,\"len\":1}]}}",
		"DELETE /v1/copies/18446744073709551616 HTTP/1.1\r\nHost: s\r\n\r\n",
		"CONNECT /v1/down HTTP/1.1\r\nHost: s\r\nContent-Length: -1\r\n\r\n",
		"POST /v1/down HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01", "", "\r\n\r\n", "GET /v1/devices/%00%ff HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, root bool) {
		r := look
		if root {
			r = everything
		}
		var log lockedLog
		s := &fake{devices: []DeviceInfo{data}}
		s.run = func(context.Context, func(blkcopy.Progress)) *CopyResult { return copied(s.total) }
		srv := controlServer(routes(s), slog.New(slog.NewTextHandler(&log, nil)))
		g := &gate{}
		g.enter(r)
		c := &rawConn{in: bytes.NewReader(raw), end: make(chan struct{})}
		l := &oneConn{c: &conn{Conn: c, right: r, gate: g}, end: make(chan struct{})}
		served := make(chan struct{})
		go func() {
			_ = srv.Serve(l)
			close(served)
		}()
		select {
		case <-c.end:
		case <-time.After(time.Minute):
			t.Fatalf("%q is never done with", raw)
		}
		l.Close()
		<-served
		got := c.written()
		for in := bufio.NewReader(bytes.NewReader(got)); len(got) > 0; {
			if _, err := in.Peek(1); err != nil {
				break
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil && bytes.Contains(raw, []byte("HEAD")) { // its answer has no body, whatever its header says
				break
			}
			if err != nil {
				t.Fatalf("not HTTP: %v\n%q\n%q", err, raw, got)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode == http.StatusInternalServerError {
				t.Errorf("%q: %d", raw, resp.StatusCode)
			}
		}
		next := pipeTo(t, srv, everything)
		_ = next.SetDeadline(time.Now().Add(time.Minute))
		go func() { _, _ = io.WriteString(next, getList) }()
		if b, err := io.ReadAll(next); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) {
			t.Fatalf("after %q: %v %q", raw, err, b)
		}
		_ = srv.Close()
		if !root && (len(s.asked) > 0 || len(s.fakeCopies.asked) > 0) {
			t.Fatalf("%q changed something for who may look", raw)
		}
		if strings.Contains(log.String(), "panic") {
			t.Fatalf("%q\n%s", raw, log.String())
		}
	})
}
