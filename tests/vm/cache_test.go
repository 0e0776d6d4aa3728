package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel puts into the cache what counts as a kernel.
func fakeKernel(t *testing.T, c *Cache, release string) *Kernel {
	t.Helper()
	k := c.at(Series{Name: "6.12"}, release)
	if err := os.MkdirAll(k.Modules(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{k.Image(), filepath.Join(k.Modules(), "modules.dep")} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestCached(t *testing.T) {
	c, s := &Cache{Dir: t.TempDir()}, Series{Name: "6.12"}
	if k := c.Cached(s); k != nil {
		t.Fatalf("kernel %v in an empty cache", k)
	}
	k := fakeKernel(t, c, "6.12.1")
	if c.Cached(s) != nil {
		t.Fatal("a kernel without a stamp")
	}
	if _, err := c.temp(); err != nil {
		t.Fatal(err)
	}
	if err := c.stamp(k); err != nil {
		t.Fatal(err)
	}
	// No suite to ask: this answer is the stamp's.
	got, err := c.Kernel(context.Background(), s, false)
	if err != nil || got.Release != "6.12.1" {
		t.Fatalf("kernel %v, %v", got, err)
	}
	if err := os.Remove(k.Image()); err != nil {
		t.Fatal(err)
	}
	if c.Cached(s) != nil {
		t.Fatal("a kernel without an image")
	}
}

func TestPrune(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	old, used, current := fakeKernel(t, c, "6.12.1"), fakeKernel(t, c, "6.12.2"), fakeKernel(t, c, "6.12.3")
	release, err := used.hold(unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := c.temp(); err != nil {
		t.Fatal(err)
	}
	if err := c.stamp(current); err != nil {
		t.Fatal(err)
	}
	if old.whole() || !used.whole() || !current.whole() {
		t.Errorf("old %v, used %v, current %v; want only the old one gone", old.whole(), used.whole(), current.whole())
	}
}

func TestCacheLock(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	unlock, err := c.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want a timeout", err)
	}
	unlock()
	unlock, err = c.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
