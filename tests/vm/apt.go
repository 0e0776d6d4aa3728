package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt runs apt's programs on state of its own: the machine's sources and lists are neither read nor
// changed, and nobody needs to be root to look packages up and download them.
type apt struct {
	dir string   // lists, cache, sources
	opt []string // options every call gets
}

// newApt makes the private folders in dir. The sources are one file, whose text is given; status is
// dpkg's list of what is installed, or empty for nothing.
func newApt(dir, sources string) (*apt, error) {
	a := &apt{dir: dir}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("apt folder: %w", err)
		}
	}
	for name, text := range map[string]string{"sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("apt folder: %w", err)
		}
	}
	a.set("Dir::Etc::sourcelist", filepath.Join(dir, "sources.list"))
	a.set("Dir::Etc::sourceparts", filepath.Join(dir, "parts"))
	a.set("Dir::State::lists", filepath.Join(dir, "lists"))
	a.set("Dir::State::status", filepath.Join(dir, "status"))
	a.set("Dir::Cache", filepath.Join(dir, "cache"))
	a.set("Acquire::Languages", "none")
	a.set("Acquire::Retries", "3")
	a.set("APT::Architecture", "amd64")
	// The sandbox user _apt cannot write into a folder of somebody's home.
	a.set("APT::Sandbox::User", "root")
	return a, nil
}

func (a *apt) set(key, value string) { a.opt = append(a.opt, "-o", key+"="+value) }

// run runs one of apt's programs in dir with prefix, which is empty or that of sudo, before it.
func (a *apt) run(ctx context.Context, prefix []string, dir, program string, args ...string) ([]byte, error) {
	argv := append(append(append([]string{}, prefix...), program), append(a.opt, args...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	// Not killed: dpkg may be half through a package.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	// Its words are parsed; and a package's question would wait for ever.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", program, args[0], err, lastLines(errOut.String(), 8))
	}
	return out, nil
}

// pkg is what we need to know of a package.
type pkg struct {
	Name, Version string
	Depends       []string // names only; of alternatives the first
}

// parseShow reads the output of apt-cache show.
func parseShow(out []byte) []pkg {
	var pkgs []pkg
	for para := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		var p pkg
		for line := range strings.SplitSeq(para, "\n") {
			key, value, ok := strings.Cut(line, ":")
			if !ok || strings.HasPrefix(line, " ") {
				continue
			}
			value = strings.TrimSpace(value)
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Depends", "Pre-Depends":
				for dep := range strings.SplitSeq(value, ",") {
					if f := strings.Fields(dep); len(f) > 0 {
						p.Depends = append(p.Depends, f[0])
					}
				}
			}
		}
		if p.Name != "" {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

// lastLines returns the last n lines of s, trimmed.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
