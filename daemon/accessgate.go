package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of connections. Whoever may only look can take half of them: root's commands always find room.
const (
	maxConns = 64
	maxLooks = 32
)

// Who is turned away is told so, when the request has come: a client that is answered before it asked takes that for a
// fault. So long, and so many of them at a time; the others find their connection closed.
const (
	refuseWait = time.Second
	maxRefused = 16
)

// refuseLog is between two lines on peers that are turned away.
const refuseLog = 10 * time.Second

// gate is a listener that lets in who may, as many as there is room for, and turns all others away at once: nobody waits
// in a queue for others that never end.
type gate struct {
	*net.UnixListener
	rightOf func(peer) right
	log     *slog.Logger
	said    time.Time // when a peer was last told of

	mu      sync.Mutex
	conns   map[right]int // guarded by mu
	refused int           // guarded by mu; that are being told so
}

// conn is a connection of a known peer.
type conn struct {
	net.Conn
	right right
	gate  *gate
	once  sync.Once
}

// Accept returns the next connection that is let in.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err != nil { // it may be gone
			_ = c.Close()
			continue
		}
		r := g.rightOf(p)
		switch {
		case r == nothing:
			if time.Since(g.said) > refuseLog {
				g.said = time.Now()
				g.log.Warn("control socket: refused", "uid", p.uid, "pid", p.pid)
			}
			g.turnAway(c, http.StatusForbidden, fmt.Sprintf("user %d may not use the control socket", p.uid))
		case !g.enter(r):
			g.turnAway(c, http.StatusServiceUnavailable, "too many connections")
		default:
			return &conn{Conn: c, right: r, gate: g}, nil
		}
	}
}

func (g *gate) enter(r right) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = map[right]int{}
	}
	if g.conns[look]+g.conns[everything] >= maxConns || r == look && g.conns[look] >= maxLooks {
		return false
	}
	g.conns[r]++
	return true
}

// Close makes room.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.gate.mu.Lock()
		c.gate.conns[c.right]--
		c.gate.mu.Unlock()
	})
	return c.Conn.Close()
}

// turnAway tells a client why it is not let in, and waits for nobody.
func (g *gate) turnAway(c *net.UnixConn, code int, why string) {
	g.mu.Lock()
	room := g.refused < maxRefused
	if room {
		g.refused++
	}
	g.mu.Unlock()
	if !room {
		_ = c.Close()
		return
	}
	go func() {
		refuseConn(c, code, why)
		g.mu.Lock()
		g.refused--
		g.mu.Unlock()
	}()
}

// refuseConn answers the first request of a connection, whatever it is, and ends it when the client does.
func refuseConn(c *net.UnixConn, code int, why string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(refuseWait))
	buf := make([]byte, 4096)
	if n, _ := c.Read(buf); n == 0 {
		return
	}
	body, _ := json.Marshal(apiError{Error: why})
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n", code, http.StatusText(code), len(body)+1, body)
	_ = c.CloseWrite()
	for { // what is closed with something unread is reset, and the answer lost
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}
