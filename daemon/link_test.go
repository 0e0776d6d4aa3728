package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/config"
)

// dev is a folder with the nodes 7 and 8 and room for links.
func dev(t *testing.T) links {
	t.Helper()
	dir := t.TempDir()
	for _, n := range []string{"ublkb7", "ublkb8"} {
		writeFile(t, filepath.Join(dir, n), "")
	}
	return links(filepath.Join(dir, "ublk-linear"))
}

func (l links) is(t *testing.T, name, want string) {
	t.Helper()
	if got, _ := os.Readlink(l.path(name)); got != want {
		t.Errorf("%s leads to %q, want %q", name, got, want)
	}
}

func (l links) names(t *testing.T) string {
	t.Helper()
	es, _ := os.ReadDir(string(l))
	var out []string
	for _, e := range es {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestLink(t *testing.T) {
	l := dev(t)
	for range 2 { // the second time it replaces
		if err := l.add("data", "/dev/ublkb7"); err != nil {
			t.Fatal(err)
		}
	}
	l.is(t, "data", "../ublkb7")
	if _, err := os.Stat(l.path("data")); err != nil {
		t.Error(err)
	}
	if err := l.add("more", "/dev/ublkb8"); err != nil {
		t.Fatal(err)
	}
	if got := l.names(t); got != "data more" {
		t.Errorf("links %s: a temporary one is left", got)
	}
	l.remove("data", "/dev/ublkb8") // not that device's
	l.is(t, "data", "../ublkb7")
	l.remove("nosuch", "/dev/ublkb8")
	l.remove("data", "/dev/ublkb7")
	l.is(t, "data", "")
	l.is(t, "more", "../ublkb8")
	l.remove("more", "/dev/ublkb8")
	if _, err := os.Stat(string(l)); !os.IsNotExist(err) {
		t.Error("the folder outlives the last link:", err)
	}
}

// TestLinkUnfinished: what a killed server was about to rename goes when its device gets its name, or loses it; another
// device's stays.
func TestLinkUnfinished(t *testing.T) {
	l := dev(t)
	if err := os.Mkdir(string(l), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{".data.1": "../ublkb7", ".data.2": "../ublkb8", ".more.1": "../ublkb8"} {
		if err := os.Symlink(to, l.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.add("data", "/dev/ublkb7"); err != nil {
		t.Fatal(err)
	}
	if got := l.names(t); got != ".data.2 .more.1 data" {
		t.Errorf("links %s", got)
	}
	l.remove("more", "/dev/ublkb8") // killed before it had its name
	if got := l.names(t); got != "data" {
		t.Errorf("links %s", got)
	}
}

func TestLinkFails(t *testing.T) {
	l := dev(t)
	if err := os.MkdirAll(l.path("data/child"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.add("data", "/dev/ublkb7"); err == nil || !strings.HasPrefix(err.Error(), "link: ") {
		t.Error(err)
	}
	if got := l.names(t); got != "data" {
		t.Errorf("left %s", got)
	}
	file := links(filepath.Join(filepath.Dir(string(l)), "ublkb7"))
	if err := file.add("data", "/dev/ublkb7"); err == nil || !strings.HasPrefix(err.Error(), "link folder: ") {
		t.Error(err)
	}
}

// TestLinkSweep: names that lead nowhere go, with what a killed server was about to rename; the others stay.
func TestLinkSweep(t *testing.T) {
	l := dev(t)
	l.sweep() // nothing there
	for name, node := range map[string]string{"live": "ublkb7", "dead": "ublkb9"} {
		if err := l.add(name, node); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../ublkb9", l.path(".dead.1")); err != nil {
		t.Fatal(err)
	}
	l.sweep()
	if got := l.names(t); got != "live" {
		t.Errorf("left %s", got)
	}
	l.remove("live", "ublkb7")
	if err := l.add("dead", "ublkb9"); err != nil {
		t.Fatal(err)
	}
	l.sweep()
	if _, err := os.Stat(string(l)); !os.IsNotExist(err) {
		t.Error("the folder outlives the last link:", err)
	}
}

func TestLinkCheck(t *testing.T) {
	l := dev(t)
	f := &config.File{Path: "v.toml"}
	for i, n := range []string{"free", "dead", "one", "two"} {
		f.Devices = append(f.Devices, &config.Device{Name: n, Pos: config.Pos{Line: i + 1, Col: 9}})
	}
	if err := l.check(f, nil); err != nil {
		t.Error("without the folder:", err)
	}
	for name, node := range map[string]string{"dead": "ublkb9", "one": "ublkb7", "two": "ublkb8"} {
		if err := l.add(name, node); err != nil {
			t.Fatal(err)
		}
	}
	err := l.check(f, nil)
	if err == nil {
		t.Fatal("names of living devices are not refused")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "v.toml:3:9: device one: ") || !strings.Contains(lines[0], "../ublkb7") || !strings.HasPrefix(lines[1], "v.toml:4:9: device two: ") {
		t.Errorf("%q", lines)
	}
	// A name that leads to the node that the device is to have is its own; any other stays refused.
	if err := l.check(f, map[string]string{"one": "/dev/ublkb7", "two": "/dev/ublkb8"}); err != nil {
		t.Error("its own:", err)
	}
	if err := l.check(f, map[string]string{"one": "/dev/ublkb7", "two": "/dev/ublkb7"}); err == nil || strings.Contains(err.Error(), "device one") {
		t.Error("another's:", err)
	}
}

// Other servers' last names go meanwhile, and the folder with them.
func TestLinkFolderGoes(t *testing.T) {
	l := dev(t)
	quit, gone := make(chan bool), make(chan bool)
	go func() {
		defer close(gone)
		for {
			select {
			case <-quit:
				return
			default:
				l.sweep()
			}
		}
	}()
	for range 500 {
		if err := l.add("data", "/dev/ublkb7"); err != nil {
			t.Error(err)
			break
		}
		l.remove("data", "/dev/ublkb7")
	}
	close(quit)
	<-gone
}
