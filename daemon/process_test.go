package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProcessAt(t *testing.T) {
	dir := t.TempDir()
	task := func(id, stat string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "task", id), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "task", id, "stat"), stat)
	}
	if p := processAt(dir); p.IOFlusher || p.Threads != 0 {
		t.Errorf("of nothing: %+v", p)
	}
	writeFile(t, filepath.Join(dir, "status"), "Name:\tx\nVmLck:\t  8192 kB\nVmRSS:\t     3 kB\n")
	writeFile(t, filepath.Join(dir, "oom_score_adj"), "-1000\n")
	task("1", "1 (a) ) b) S 0 1 1 0 -1 1573120 1 2 3") // 0x180100
	task("2", "2 (iou-wrk-1) S 0 1 1 0 -1 1573136 1 2 3")
	if p := processAt(dir); !p.IOFlusher || p.Threads != 2 || p.LockedBytes != 8<<20 || p.ResidentBytes != 3<<10 || p.OOMScoreAdj != -1000 || p.MemoryLimit <= 0 {
		t.Errorf("%+v", p)
	}
	for _, flags := range []string{"256", "524544", "1048832", "x", ""} { // none, one, the other
		task("2", "2 (y) S 0 1 1 0 -1 "+flags)
		if p := processAt(dir); p.IOFlusher {
			t.Errorf("one thread has flags %s: %+v", flags, p)
		}
	}
	if p := Process(); p.Threads == 0 || p.ResidentBytes == 0 {
		t.Errorf("of ourselves: %+v", p)
	}
}
