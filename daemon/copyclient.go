package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// CopyOptions of Client.Copy and CopyOffline.
type CopyOptions struct {
	Force    bool               // also onto a device that somebody uses, or, of CopyOffline, on disks of one that waits for its server
	Progress func(CopyProgress) // called by one goroutine at a time; nil: not at all
	Logger   *slog.Logger       // nil: silent
	RunDir   string             // "": RunDir; of CopyOffline

	AllowFaults bool // inject the file's faults; without it a file that has some is refused. Of CopyOffline
}

func (o *CopyOptions) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// cancelWait is how long a cancelled copy may take to end its windows before its result is given up.
const cancelWait = 30 * time.Second

// ErrCopyLost is returned for a copy whose server was lost before it said what was done.
var ErrCopyLost = errors.New("the server was lost during the copy: how far it came is not known")

// Copy has the server do a copy. Before, what of both devices is in the page cache of this host is written, since the
// server sees only what has been; and what was read there before of the destination is forgotten, before and behind it.
// The result is nil if nothing was begun. When ctx ends, so does the copy, and the result says how far it came. Errors:
// ErrNotServed, os.ErrNotExist, EBUSY with who uses the destination, a RemoteError that is the blkcopy error, ErrCopyLost.
func (c *Client) Copy(ctx context.Context, r *CopyRequest, o *CopyOptions) (*CopyResult, error) {
	l, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := copyNodes(l, r)
	if err != nil {
		return nil, err
	}
	if !o.Force {
		if err := nodes.free(ctx); err != nil {
			return nil, fmt.Errorf("destination %s: %w", r.Destination.Device, err)
		}
	}
	if err := nodes.clean(); err != nil {
		return nil, err
	}
	res, err := c.stream(ctx, r, o)
	if err := nodes.forget(); err != nil {
		o.logger().Warn("what was read of the destination before may still be in the page cache", "node", nodes.dst, "err", err)
	}
	return res, err
}

// stream posts a copy and reads its lines.
func (c *Client) stream(ctx context.Context, r *CopyRequest, o *CopyOptions) (*CopyResult, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	whole, hangUp := context.WithCancel(context.WithoutCancel(ctx)) // ctx asks the server first
	defer hangUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cancelWait, hangUp) })()
	req, err := http.NewRequestWithContext(whole, http.MethodPost, "http://server/v1/copy", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	long := *c.http
	long.Timeout = 0
	resp, err := long.Do(req)
	if err != nil {
		return nil, callError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, remoteError(resp)
	}
	cancelled := false
	for dec := json.NewDecoder(resp.Body); ; {
		var l copyLine
		if err := dec.Decode(&l); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("%w: %w", ErrCopyLost, err)
		}
		if l.Result != nil {
			return l.Result, nil
		}
		if l.Progress == nil {
			continue
		}
		if o.Progress != nil {
			o.Progress(*l.Progress)
		}
		if !cancelled { // the first line has the id
			cancelled = true
			id := l.Progress.ID
			defer context.AfterFunc(ctx, func() {
				if c.cancelCopy(whole, id) != nil {
					hangUp()
				}
			})()
		}
	}
}

// cancelCopy asks the server to end a copy. One that has ended is no error.
func (c *Client) cancelCopy(ctx context.Context, id uint64) error {
	err := c.call(ctx, http.MethodDelete, fmt.Sprintf("/v1/copies/%d", id), nil, &struct{}{})
	if e := (*RemoteError)(nil); errors.As(err, &e) {
		return nil
	}
	return err
}

// Copies is the copies under way. Errors: ErrNotServed.
func (c *Client) Copies(ctx context.Context) (l CopyList, err error) {
	return l, c.call(ctx, http.MethodGet, "/v1/copies", nil, &l)
}
