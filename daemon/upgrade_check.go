package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/ublk"
)

// tryWait bounds a run of the new program.
const tryWait = 20 * time.Second

// mayUpgrade finds all that is in the way of an upgrade, while everything runs, and returns the new version.
func (s *Server) mayUpgrade(ctx context.Context, r *UpgradeRequest) (to string, err error) {
	s.mu.Lock()
	served, file := slices.Clone(s.devices), s.file
	s.mu.Unlock()
	errs := []error{policies(file, served, r.Force), s.sameFile(ctx, file, served)}
	errs = append(errs, s.anyGone(served))
	for _, p := range []string{r.Binary, s.inst.Config} {
		if on := onDevices(p, served); on != "" {
			errs = append(errs, fmt.Errorf("%s lies on %s, which stands still while it would be read", p, on))
		}
	}
	to, err = tryProgram(ctx, r.Binary, s.inst.Config)
	errs = append(errs, err)
	return to, errors.Join(errs...)
}

// policies refuses what could not be had back, or whose users would see errors.
func policies(file *config.File, served []*device, force bool) error {
	var errs []error
	for _, e := range served {
		if err := mayLetGo(file.Crash(e.conf), file.OnMemory(e.conf), e.dev.Flags().Has(ublk.CanQuiesce), force); err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", e.conf.Name, err))
		}
	}
	return errors.Join(errs...)
}

// mayLetGo judges one device. Behind UBLK_F_QUIESCE requests wait in the driver, but for fail; without it those that have
// reached a queue are treated as after a crash.
func mayLetGo(p config.OnCrash, onMemory, quiesce, force bool) error {
	switch {
	case onMemory:
		return errors.New("it lies on memory, which goes with this program: only down and up")
	case p == config.CrashRemove:
		return errors.New(`on_crash = "remove": nothing is left to take over: only down and up`)
	case force:
		return nil
	case p == config.CrashFail:
		return errors.New(`on_crash = "fail": requests would fail until the new program serves it (--force does it all the same)`)
	case p == config.CrashQueue && !quiesce:
		return errors.New(`on_crash = "queue", and this kernel's ublk has no QUIESCE (6.16): requests of the moment would fail (--force does it all the same)`)
	}
	return nil
}

// sameFile refuses a file that is no longer what is served: the new program would refuse the devices, which then wait.
func (s *Server) sameFile(ctx context.Context, file *config.File, served []*device) error {
	f, ps, err := config.Load(s.inst.Config)
	if err != nil {
		return err
	}
	if bad := ps.Errors(); len(bad) > 0 {
		return bad
	}
	tables, err := Tables(f)
	if err != nil {
		return err
	}
	c := &claims{file: f, tables: tables, state: s.snapshot(), look: diskLook(f)}
	mine := map[string]bool{}
	for _, e := range served {
		i, err := s.control.Info(ctx, e.dev.ID())
		if err != nil {
			return err
		}
		c.orphans = append(c.orphans, orphan{i, c.state.device(e.dev.ID())})
		mine[e.conf.Name] = true
	}
	_, bad := c.plan()
	for _, d := range f.Devices {
		if !mine[d.Name] && file.Device(d.Name) == nil {
			bad = append(bad, problem(f, d, "", fmt.Sprintf("device %q is not served yet", d.Name), ""))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("the file has changed since it was read (reload it first, or bring it back):\n%s", strings.Join(messages(bad), "\n"))
}

// tryProgram runs the new program on the file.
func tryProgram(ctx context.Context, binary, file string) (version string, err error) {
	if !filepath.IsAbs(binary) {
		return "", fmt.Errorf("%s: an absolute path is needed", binary)
	}
	out, err := runProgram(ctx, binary, "version", "--json")
	if err != nil {
		return "", err
	}
	var v struct {
		Schema  int    `json:"schema"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(out, &v); err != nil || v.Schema != Schema || v.Version == "" {
		return "", fmt.Errorf("%s: its version is not an answer of ublk-linear: %q", binary, clip(string(out)))
	}
	_, err = runProgram(ctx, binary, "check", "-c", file)
	return v.Version, err
}

func runProgram(ctx context.Context, binary string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryWait)
	defer cancel()
	var out, errw bytes.Buffer
	c := exec.CommandContext(ctx, binary, args...)
	c.Stdout, c.Stderr, c.WaitDelay = &out, &errw, time.Second
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", binary, strings.Join(args, " "), err, clip(strings.TrimSpace(out.String()+errw.String())))
	}
	return out.Bytes(), nil
}

func clip(s string) string {
	if len(s) > 1000 {
		return s[:1000] + "…"
	}
	return s
}

// onDevices names the served device that a path's file system lies on, at whatever depth; "" when none does.
func onDevices(path string, served []*device) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	names := map[string]bool{}
	below(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), names)
	for _, e := range served {
		if names[filepath.Base(e.dev.Node())] {
			return "device " + e.conf.Name
		}
	}
	return ""
}

// below collects a block device, the disk that it is part of, and what it is stacked on.
func below(dir string, names map[string]bool) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || names[filepath.Base(real)] {
		return
	}
	names[filepath.Base(real)] = true
	if _, err := os.Stat(filepath.Join(real, "partition")); err == nil {
		below(filepath.Dir(real), names)
	}
	slaves, _ := filepath.Glob(filepath.Join(real, "slaves", "*"))
	for _, s := range slaves {
		below(s, names)
	}
}
