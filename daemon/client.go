package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotServed is returned when no server runs for a file.
var ErrNotServed = errors.New("no server is running for this file")

// RemoteError is a server's refusal.
type RemoteError struct {
	Message string
	cause   error
}

func (e *RemoteError) Error() string { return e.Message }

// Unwrap is EBUSY, os.ErrNotExist, ErrReload or the blkcopy error of a refused copy, where the server said so, or nil.
func (e *RemoteError) Unwrap() error { return e.cause }

// Client talks to the server of one instance.
type Client struct {
	inst *Instance
	http *http.Client
}

// NewClient is a client of the instance's server, which need not run.
func NewClient(inst *Instance) *Client { return newClient(inst, inst.Socket()) }

func newClient(inst *Instance, socket string) *Client {
	var d net.Dialer
	return &Client{inst: inst, http: &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) }}}}
}

// List is the devices of the server. Errors: ErrNotServed, EACCES.
func (c *Client) List(ctx context.Context) (l List, err error) {
	return l, c.call(ctx, http.MethodGet, "/v1/devices", nil, &l)
}

// Status is one device. Errors: ErrNotServed, os.ErrNotExist.
func (c *Client) Status(ctx context.Context, name string) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, devicePath(name), nil, &s)
}

func devicePath(name string) string { return "/v1/devices/" + url.PathEscape(name) }

// Down asks the server to stop and waits until it has let its instance go. Errors: ErrNotServed; EBUSY, with who uses a
// device.
func (c *Client) Down(ctx context.Context, r DownRequest) (d DownResult, err error) {
	if err := c.call(ctx, http.MethodPost, "/v1/down", r, &d); err != nil {
		return d, err
	}
	for c.inst.Served() {
		select {
		case <-ctx.Done():
			return d, fmt.Errorf("the server is still stopping: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return d, nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://server"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return callError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(resp.Body).Decode(out)
	}
	return remoteError(resp)
}

// callError is that of a call that had no answer.
func callError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return ErrNotServed
	}
	return fmt.Errorf("control socket: %w", err)
}

// remoteError is that of an answer that is a refusal.
func remoteError(resp *http.Response) error {
	var e apiError
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&e); err != nil {
		e.Error = "control socket: " + resp.Status
	}
	r := &RemoteError{Message: e.Error}
	switch {
	case e.Busy:
		r.cause = unix.EBUSY
	case resp.StatusCode == http.StatusNotFound:
		r.cause = os.ErrNotExist
	}
	if e.Refused == refusedFile {
		r.cause = ErrReload
	}
	for _, x := range refusals {
		if x.word == e.Refused {
			r.cause = x.err
		}
	}
	return r
}
