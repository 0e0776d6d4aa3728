package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// upgrader is what the control socket asks of a server that can be upgraded.
type upgrader interface {
	requestUpgrade(ctx context.Context, r UpgradeRequest) (out UpgradeResult, begin func(), err error)
	lastUpgrade() *UpgradeResult
}

func (s *Server) lastUpgrade() *UpgradeResult { return s.upgrade.look() }

func upgradeRoutes(m *http.ServeMux, s upgrader) {
	m.HandleFunc("GET /v1/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		last := s.lastUpgrade()
		if last == nil {
			reply(w, nil, fmt.Errorf("no upgrade since this server was started: %w", os.ErrNotExist))
			return
		}
		reply(w, last, nil)
	})
	m.HandleFunc("POST /v1/upgrade", func(w http.ResponseWriter, r *http.Request) {
		var q UpgradeRequest
		if !decodeFirst(w, r, &q) {
			return
		}
		out, begin, err := s.requestUpgrade(r.Context(), q)
		reply(w, out, err)
		if err == nil {
			_ = http.NewResponseController(w).Flush()
			begin()
		}
	})
}

// ErrNotBack is returned when the new program of an upgrade did not come up: its devices wait for the next server.
var ErrNotBack = errors.New("the new program did not come up: nothing is lost, its devices wait: see its log, and start `up` with a program that works")

// Upgrade has the server go on as another program, and waits for what that says. Errors: ErrNotServed; EBUSY, while copies
// are under way or another upgrade is; ErrNotBack; an error that says why the old program serves on.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (UpgradeResult, error) {
	var out UpgradeResult
	if err := c.call(ctx, http.MethodPost, "/v1/upgrade", r, &out); err != nil {
		return out, err
	}
	token := out.Token
	for {
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("the upgrade still goes on: %w", ctx.Err())
		case <-time.After(upgradePoll):
		}
		var now UpgradeResult
		err := c.call(ctx, http.MethodGet, "/v1/upgrade", nil, &now)
		switch {
		case err == nil && now.Token == token && now.Done && now.Error != "":
			return now, errors.New(now.Error)
		case err == nil && now.Token == token && now.Done:
			return now, nil
		case err == nil && now.Token == token, ctx.Err() != nil:
		case c.inst.Served(): // between two programs, or on its way
		default:
			return out, ErrNotBack
		}
	}
}
