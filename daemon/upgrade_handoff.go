package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// HandoffEnv is set for a program that takes a server's place in its process: the number of the open file that has the
// instance's lock.
const HandoffEnv = "UBLK_LINEAR_UPGRADE"

const (
	handoffSchema   = 1
	maxHandoffBytes = 64 << 20
)

// handoff is what the old program tells the new one, in a file beside the state.
type handoff struct {
	Schema int              `json:"schema"`
	Token  string           `json:"token"`
	From   string           `json:"from"`
	To     string           `json:"to"`
	Binary string           `json:"binary"`
	PID    int              `json:"pid"`
	Began  map[string]int64 `json:"began"` // by device: when it was let go, CLOCK_MONOTONIC in nanoseconds
}

func (i *Instance) handoffPath() string { return filepath.Join(i.dir, i.name+".upgrade") }

// become executes the new program. It returns only when that fails, and then nothing has changed.
func (s *Server) become(h *handoff) (err error) {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	path := s.inst.handoffPath()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("handoff: %w", err)
	}
	defer os.Remove(path)
	fd := int(s.lock.Fd())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("handoff: %w", err)
	}
	defer unix.CloseOnExec(fd)
	if err := s.upgrade.exec(h.Binary, []string{HandoffEnv + "=" + strconv.Itoa(fd)}); err != nil {
		return fmt.Errorf("execute %s: %w", h.Binary, err)
	}
	return errors.New("the program was not executed")
}

// take reads and removes what an old program of this process has left; nil where there is nothing that can be used: then
// devices are taken over as after a crash, and nothing is measured.
func (i *Instance) takeHandoff() *handoff {
	path := i.handoffPath()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer os.Remove(path)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHandoffBytes))
	h := &handoff{}
	if err != nil || json.Unmarshal(b, h) != nil || h.Schema != handoffSchema || h.PID != os.Getpid() {
		return nil
	}
	return h
}

// inherit takes the instance's lock from the program that was here before, by the number of its open file. Errors: it is
// not that file, or does not have the lock.
func (i *Instance) inherit(number string) (*os.File, error) {
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("handoff: open file %q", number)
	}
	var have, want unix.Stat_t
	if err := unix.Fstat(fd, &have); err != nil {
		return nil, fmt.Errorf("handoff: open file %d: %w", fd, err)
	}
	if err := unix.Stat(i.lockPath(), &want); err != nil {
		return nil, fmt.Errorf("handoff: %w", err)
	}
	if have.Dev != want.Dev || have.Ino != want.Ino {
		return nil, fmt.Errorf("handoff: open file %d is not %s", fd, i.lockPath())
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("handoff: %s: %w", i.lockPath(), err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), i.lockPath()), nil
}

// upgraded is the result of an upgrade, by the new program: live is when each device came back.
func (h *handoff) upgraded(devices []DeviceInfo, live map[string]int64, version string) *UpgradeResult {
	out := &UpgradeResult{Schema: Schema, Token: h.Token, Done: true, From: h.From, To: version, Binary: h.Binary, PID: os.Getpid(), Devices: []UpgradeStall{}}
	var first, last int64
	for _, d := range devices {
		began, ok := h.Began[d.Name]
		at, lives := live[d.Name]
		if !ok || !lives {
			continue
		}
		if first == 0 || began < first {
			first = began
		}
		last = max(last, at)
		out.Devices = append(out.Devices, UpgradeStall{d.Name, d.Node, milliseconds(at - began)})
	}
	out.Stall = milliseconds(last - first)
	return out
}

func milliseconds(ns int64) float64 { return float64(ns/1e3) / 1e3 }
