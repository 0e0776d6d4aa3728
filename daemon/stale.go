package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk"
)

// state is what a server writes down for whoever comes after its death.
type state struct {
	Schema  int          `json:"schema"`
	Config  string       `json:"config"`
	PID     int          `json:"pid"`
	Devices []DeviceInfo `json:"devices"`
}

func (s *Server) saveState() error {
	b, err := json.MarshalIndent(state{Schema, s.inst.Config, os.Getpid(), s.List()}, "", "  ")
	if err != nil {
		return err
	}
	tmp := s.inst.statePath() + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return os.Rename(tmp, s.inst.statePath())
}

// deviceIDs is every ublk device of the host.
func deviceIDs() []int {
	var ids []int
	names, _ := filepath.Glob("/sys/class/ublk-char/ublkc*")
	for _, n := range names {
		if id, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(n), "ublkc")); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// removeStale deletes every device of an instance, and its links. The caller holds the instance's lock: no living server
// has them. Their disks are not touched.
func removeStale(ctx context.Context, c *ublk.Control, inst *Instance) (removed []int, err error) {
	var errs []error
	for _, id := range deviceIDs() {
		i, err := c.Info(ctx, id)
		if errors.Is(err, unix.ENODEV) || i.Mark != inst.Mark() {
			continue
		}
		if err := c.Delete(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("a device that a dead server left: %w", err))
			continue
		}
		removed = append(removed, id)
	}
	devLinks.sweep()
	return removed, errors.Join(errs...)
}

// servedBy names the device and file behind a ublk node that any ublk-linear server here has, from the states they wrote.
func servedBy(runDir string) func(node string) string {
	if runDir == "" {
		runDir = RunDir
	}
	return func(node string) string {
		for _, st := range states(runDir) {
			for _, d := range st.Devices {
				if filepath.Base(d.Node) == filepath.Base(node) {
					return fmt.Sprintf("device %s of %s", d.Name, st.Config)
				}
			}
		}
		return ""
	}
}

// states are those of all servers, dead ones among them.
func states(runDir string) []state {
	var out []state
	names, _ := filepath.Glob(filepath.Join(runDir, "*.json"))
	for _, n := range names {
		var st state
		if b, err := os.ReadFile(n); err == nil && json.Unmarshal(b, &st) == nil {
			out = append(out, st)
		}
	}
	return out
}
