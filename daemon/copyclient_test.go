package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
)

// copyServer is a server with devices a and b, whose nodes are files.
func copyServer(t *testing.T) (*Client, *fake) {
	t.Helper()
	inst, dir := instance(t, "v.toml", runDir(t)), t.TempDir()
	f := &fake{}
	for i, name := range []string{"a", "b"} {
		node := filepath.Join(dir, name)
		writeFile(t, node, strings.Repeat(name, 8192))
		f.devices = append(f.devices, DeviceInfo{Name: name, Node: node, ID: i, Bytes: 8192})
	}
	start(t, inst, routes(f))
	return NewClient(inst), f
}

func TestClientCopy(t *testing.T) {
	c, f := copyServer(t)
	f.total = 4096
	f.run = func(_ context.Context, progress func(blkcopy.Progress)) *CopyResult {
		l, err := c.Copies(context.Background())
		if err != nil || len(l.Copies) != 1 || l.Copies[0].Source != "a" {
			t.Error(l, err)
		}
		return copied(4096)
	}
	r := ask("a", []CopySegment{{100, 4096}, {8191, 1}}, "b", CopySegment{0, 4097})
	var told []CopyProgress
	res, err := c.Copy(t.Context(), r, &CopyOptions{Progress: func(p CopyProgress) { told = append(told, p) }})
	if d := cmp.Diff(copied(4096), res); err != nil || d != "" {
		t.Error(err, d)
	}
	if len(told) == 0 || told[0].ID == 0 || told[0].Total != 4096 {
		t.Errorf("told %+v", told)
	}
	if d := cmp.Diff(*r, f.fakeCopies.asked[0]); d != "" {
		t.Error("asked", d)
	}
}

// TestClientCopyRefused: a refusal is the error that it was in the server.
func TestClientCopyRefused(t *testing.T) {
	c, f := copyServer(t)
	good := ask("a", one(0, 8), "b", CopySegment{0, 4096})
	for _, kind := range []error{blkcopy.ErrBoundary, blkcopy.ErrNoOffload, blkcopy.ErrOverlap, blkcopy.ErrRequest} {
		f.fakeCopies.refuse = refused{errors.New("because"), kind}
		res, err := c.Copy(t.Context(), good, &CopyOptions{})
		if res != nil || !errors.Is(err, kind) || err.Error() != "because" {
			t.Errorf("%v: %v", kind, err)
		}
	}
	f.fakeCopies.refuse = errStopping
	if _, err := c.Copy(t.Context(), good, &CopyOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	f.fakeCopies.refuse = nil
	for _, r := range []*CopyRequest{ask("x", one(0, 8), "b"), ask("a", one(0, 8), "x")} {
		if _, err := c.Copy(t.Context(), r, &CopyOptions{}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	f.devices[1].Node += ".gone"
	if _, err := c.Copy(t.Context(), good, &CopyOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Error("no node:", err)
	}
	none := NewClient(instance(t, "n.toml", runDir(t)))
	if _, err := none.Copy(t.Context(), good, &CopyOptions{}); !errors.Is(err, ErrNotServed) {
		t.Error(err)
	}
}

// TestClientCopyCancelled: who cancels still learns how far it came.
func TestClientCopyCancelled(t *testing.T) {
	c, f := copyServer(t)
	f.run = untilCancelled
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := c.Copy(ctx, ask("a", one(0, 8), "b", CopySegment{0, 4096}), &CopyOptions{Progress: func(CopyProgress) { cancel() }})
	if err != nil || res.Complete || res.Bytes != 512 {
		t.Errorf("%+v %v", res, err)
	}
	if l := f.copyList(""); len(l) != 0 {
		t.Error("it goes on:", l)
	}
}

// TestClientCopyLost: a server that dies, or says nothing sensible, is no result.
func TestClientCopyLost(t *testing.T) {
	for name, say := range map[string]string{
		"nothing": "", "progress only": `{"progress":{"id":1}}` + "\n", "half a line": `{"result":{"by`, "no JSON": "hello\n",
	} {
		t.Run(name, func(t *testing.T) {
			inst := instance(t, "v.toml", runDir(t))
			node := filepath.Join(t.TempDir(), "a")
			writeFile(t, node, "x")
			m := routes(&fake{devices: []DeviceInfo{{Name: "a", Node: node}}})
			start(t, inst, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/copy" {
					m.ServeHTTP(w, r)
					return
				}
				fmt.Fprint(w, say)
			}))
			res, err := NewClient(inst).Copy(t.Context(), ask("a", one(0, 1), "a", CopySegment{512, 512}), &CopyOptions{})
			if res != nil || !errors.Is(err, ErrCopyLost) {
				t.Error(res, err)
			}
		})
	}
}

// TestCopyNodesBusy: a destination that somebody keeps open is refused with who it is, and copied to by force.
func TestCopyNodesBusy(t *testing.T) {
	n := nodes{dst: loopNode(t)}
	if n.dst == "" {
		t.Skip("no block device here that is in use and can be looked at")
	}
	err := n.free(t.Context())
	if err == nil || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), n.dst+" is in use: ") {
		t.Error(err)
	}
}

// loopNode is a block device of this host that is mounted, "" if there is none.
func loopNode(t *testing.T) string {
	t.Helper()
	b, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "/dev/") {
			if st, err := os.Stat(f[0]); err == nil && st.Mode()&os.ModeDevice != 0 {
				return f[0]
			}
		}
	}
	return ""
}
