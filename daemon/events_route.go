package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// followerWait is how long a follower may take no events before it is let go.
const followerWait = time.Minute

func eventRoutes(m *http.ServeMux, e *events) {
	m.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { serveEvents(w, r, e) })
}

// serveEvents answers with events, one a line: those after a number, and with follow those to come, until the client or
// the server goes.
func serveEvents(w http.ResponseWriter, r *http.Request, e *events) {
	after, follow, err := eventQuery(r.URL.Query())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	if follow {
		right, _ := r.Context().Value(rightKey{}).(right)
		leave, err := e.follow(right)
		if err != nil {
			reply(w, nil, err)
			return
		}
		defer leave()
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for {
		now, more := e.since(after)
		_ = rc.SetWriteDeadline(time.Now().Add(followerWait))
		for i := range now {
			if lines.Encode(&now[i]) != nil {
				return
			}
			after = now[i].Seq
		}
		if rc.Flush() != nil || !follow || more == nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// eventQuery reads after and follow; others are errors.
func eventQuery(q url.Values) (after uint64, follow bool, err error) {
	for key, v := range q {
		if len(v) != 1 {
			return 0, false, fmt.Errorf("%s is there %d times", key, len(v))
		}
		switch key {
		case "after":
			if after, err = strconv.ParseUint(v[0], 10, 64); err != nil {
				return 0, false, fmt.Errorf("after %q is no number of an event", v[0])
			}
		case "follow":
			if follow, err = strconv.ParseBool(v[0]); err != nil {
				return 0, false, fmt.Errorf("follow %q: 0 or 1", v[0])
			}
		default:
			return 0, false, fmt.Errorf("unknown parameter %q: after and follow", key)
		}
	}
	return after, follow, nil
}

// Events calls each with every event after a number, oldest first, and with follow with those to come until ctx ends, which
// is no error. Errors: ErrNotServed, with follow also when the server ends; EBUSY for too many followers; that of each.
func (c *Client) Events(ctx context.Context, after uint64, follow bool, each func(Event) error) error {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}}
	long := *c.http
	if follow {
		q.Set("follow", "1")
		long.Timeout = 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/v1/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := long.Do(req)
	if err != nil {
		return callError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return remoteError(resp)
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var x Event
		err := dec.Decode(&x)
		switch {
		case err == nil:
			if err := each(x); err != nil {
				return err
			}
			continue
		case follow && ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF) && !follow:
			return nil
		case follow:
			return fmt.Errorf("the server has ended, or was replaced: %w", ErrNotServed)
		}
		return fmt.Errorf("control socket: %w", err)
	}
}
