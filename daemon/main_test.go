package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runDir is a run folder whose path leaves room for a socket's name: sun_path has 108 bytes.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ul")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// instance is that of a file which is there.
func instance(t *testing.T, name, runDir string) *Instance {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, "")
	inst, err := NewInstance(path, runDir)
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
