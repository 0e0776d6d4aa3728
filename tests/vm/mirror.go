package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	defaultMirror = "http://deb.debian.org/debian"
	keyring       = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// source is one entry of apt's sources.
type source struct {
	URIs, Suites []string
}

// parseSources reads a file of the deb822 format (*.sources).
func parseSources(text string) []source {
	var out []source
	for para := range strings.SplitSeq(strings.ReplaceAll(text, "\r", "")+"\n", "\n\n") {
		f := map[string][]string{}
		key := ""
		for line := range strings.SplitSeq(para, "\n") {
			if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
				continue
			}
			if line[0] != ' ' && line[0] != '\t' {
				var value string
				key, value, _ = strings.Cut(line, ":")
				key, line = strings.ToLower(key), value
			}
			f[key] = append(f[key], strings.Fields(line)...)
		}
		if !slices.Contains(f["types"], "deb") || slices.Contains([]string{"no", "false", "0", "off", "disable"}, strings.ToLower(strings.Join(f["enabled"], ""))) {
			continue
		}
		out = append(out, source{URIs: f["uris"], Suites: f["suites"]})
	}
	return out
}

// parseList reads a file of the one-line format (*.list): deb [options] URI suite components.
func parseList(text string) []source {
	var out []source
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || (rest[0] != ' ' && rest[0] != '\t') {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			out = append(out, source{URIs: f[:1], Suites: f[1:2]})
		}
	}
	return out
}

// machineSources reads the sources of the machine whose apt folder is etc.
func machineSources(etc string) []source {
	var out []source
	if b, err := os.ReadFile(filepath.Join(etc, "sources.list")); err == nil {
		out = append(out, parseList(string(b))...)
	}
	// What cannot be read there gives no mirror; there is a default.
	parts, _ := os.ReadDir(filepath.Join(etc, "sources.list.d"))
	for _, p := range parts {
		b, err := os.ReadFile(filepath.Join(etc, "sources.list.d", p.Name()))
		if err != nil {
			continue
		}
		switch filepath.Ext(p.Name()) {
		case ".sources":
			out = append(out, parseSources(string(b))...)
		case ".list":
			out = append(out, parseList(string(b))...)
		}
	}
	return out
}

// mirrors returns the Debian mirrors to try: the one the machine has its own suite from, if there is
// one, and the default.
func mirrors(sources []source, codename string) []string {
	var out []string
	for _, s := range sources {
		if !slices.Contains(s.Suites, codename) && !slices.Contains(s.Suites, "stable") {
			continue
		}
		for _, u := range s.URIs {
			u = strings.TrimRight(u, "/")
			if strings.HasPrefix(u, "http") && strings.HasSuffix(u, "/debian") && !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
	}
	if len(out) > 1 {
		out = out[:1]
	}
	if !slices.Contains(out, defaultMirror) {
		out = append(out, defaultMirror)
	}
	return out
}

// osRelease is what /etc/os-release says of the system.
type osRelease struct {
	ID, Codename, Version string
}

func parseOSRelease(text string) osRelease {
	f := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			f[k] = strings.Trim(v, `"'`)
		}
	}
	return osRelease{ID: f["ID"], Codename: f["VERSION_CODENAME"], Version: f["VERSION_ID"]}
}

func readOSRelease() osRelease {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return osRelease{}
	}
	return parseOSRelease(string(b))
}
