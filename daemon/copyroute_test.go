package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
)

// fakeCopies is the copies of a server without devices. run is what a copy does; nil: refused by start.
type fakeCopies struct {
	copies copies
	total  uint64
	run    func(ctx context.Context, progress func(blkcopy.Progress)) *CopyResult
	refuse error
	asked  []CopyRequest
}

func (f *fakeCopies) startCopy(ctx context.Context, r *CopyRequest) (context.Context, *copyJob, error) {
	f.asked = append(f.asked, *r)
	if f.refuse != nil {
		return nil, nil, f.refuse
	}
	j := newCopyJob(r, f.total)
	j.run = f.run
	ctx, err := f.copies.add(ctx, j)
	return ctx, j, err
}

func (f *fakeCopies) doCopy(ctx context.Context, j *copyJob) *CopyResult { return f.copies.do(ctx, j) }
func (f *fakeCopies) copyList(device string) []CopyInfo                  { return f.copies.list(device) }
func (f *fakeCopies) cancelCopy(id uint64) error                         { return f.copies.cancel(id) }

// copied is what a copy of total bytes that succeeds says.
func copied(total uint64) *CopyResult {
	return &CopyResult{Schema: Schema, Bytes: total, Total: total, Emulated: total, Failed: []CopyFailure{}, CommandsByMethod: map[string]uint64{}, Fallbacks: []CopyFailure{}, Complete: true}
}

const goodCopy = `{"source":{"device":"a","segments":[{"pos":0,"len":512}]},"destination":{"device":"b","segments":[{"pos":0,"len":512}]},"policy":{"flush":true}}`

// refused is what NewPlan says, in one of its kinds.
type refused struct {
	error
	kind error
}

func (r refused) Unwrap() error { return r.kind }

// TestCopyRefused: what is wrong is said before anything is sent, with a code and a word for it.
func TestCopyRefused(t *testing.T) {
	many := &blkcopy.RequestError{Problems: []error{errors.New("one"), errors.New("two")}}
	for _, c := range []struct {
		name, body string
		refuse     error
		code       int
		want       string
	}{
		{"no body", ``, nil, 400, `{"error":"EOF","problems":["EOF"]}`},
		{"not JSON", `copy`, nil, 400, `{"error":"invalid character`},
		{"two objects", goodCopy + goodCopy, nil, 400, `{"error":"more than one object"`},
		{"unknown field", `{"sorce":{}}`, nil, 400, `{"error":"json: unknown field \"sorce\": a request has source, destination and policy;`},
		{"unknown policy", `{"policy":{"flash":true}}`, nil, 400, `{"error":"json: unknown field \"flash\": a request has source,`},
		{"negative", `{"source":{"segments":[{"pos":-1}]}}`, nil, 400, `{"error":"json: cannot unmarshal number -1`},
		{"all problems", goodCopy, many, 400, `{"error":"one\ntwo","refused":"request","problems":["one","two"]}`},
		{"boundary", goodCopy, refused{errors.New("x"), blkcopy.ErrBoundary}, 400, `{"error":"x","refused":"boundary","problems":["x"]}`},
		{"no offload", goodCopy, refused{errors.New("x"), blkcopy.ErrNoOffload}, 400, `{"error":"x","refused":"offload","problems":["x"]}`},
		{"overlap", goodCopy, &blkcopy.RequestError{Problems: []error{refused{errors.New("x"), blkcopy.ErrOverlap}}}, 400, `{"error":"x","refused":"overlap","problems":["x"]}`},
		{"no device", goodCopy, os.ErrNotExist, 404, `{"error":"file does not exist"}`},
		{"busy", goodCopy, errStopping, 409, `{"error":"the server is stopping: device or resource busy","busy":true}`},
		{"broken", goodCopy, errors.New("x"), 500, `{"error":"x"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			f.fakeCopies.refuse = c.refuse
			w := httptest.NewRecorder()
			routes(f).ServeHTTP(w, httptest.NewRequest("POST", "/v1/copy", strings.NewReader(c.body)))
			if w.Code != c.code || !strings.HasPrefix(w.Body.String(), c.want) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, c.code, c.want)
			}
		})
	}
}

// TestCopyStream: lines of progress, then the result; the copy is listed meanwhile, and then no more.
func TestCopyStream(t *testing.T) {
	f := &fake{}
	f.total = 4096
	f.run = func(_ context.Context, progress func(blkcopy.Progress)) *CopyResult {
		progress(blkcopy.Progress{Done: 1024})
		progress(blkcopy.Progress{Done: 512}) // a window that ended before says so later
		w := httptest.NewRecorder()
		routes(f).ServeHTTP(w, httptest.NewRequest("GET", "/v1/copies", nil))
		if !strings.HasPrefix(w.Body.String(), `{"schema":1,"copies":[{"source":"a","destination":"b","id":1,"bytes":1024,"total_bytes":4096,`) {
			t.Errorf("copies %s", w.Body)
		}
		if c := f.copyList("b"); len(c) != 1 {
			t.Error("of the device:", c)
		}
		if c := f.copyList("c"); len(c) != 0 {
			t.Error("of another device:", c)
		}
		return copied(4096)
	}
	w := httptest.NewRecorder()
	routes(f).ServeHTTP(w, httptest.NewRequest("POST", "/v1/copy", strings.NewReader(goodCopy)))
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" || len(lines) < 2 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for i, text := range lines {
		var l copyLine
		if err := json.Unmarshal([]byte(text), &l); err != nil || (l.Result != nil) != (i == len(lines)-1) || (l.Progress != nil) == (l.Result != nil) {
			t.Errorf("line %d: %s %v", i, text, err)
		}
	}
	w = httptest.NewRecorder()
	routes(f).ServeHTTP(w, httptest.NewRequest("GET", "/v1/copies", nil))
	if w.Body.String() != `{"schema":1,"copies":[]}`+"\n" {
		t.Errorf("copies %s", w.Body)
	}
	if d := cmp.Diff(CopySide{Device: "a", Segments: []CopySegment{{0, 512}}}, f.fakeCopies.asked[0].Source); d != "" {
		t.Error(d)
	}
}

// untilCancelled is a copy that ends only so.
func untilCancelled(ctx context.Context, _ func(blkcopy.Progress)) *CopyResult {
	<-ctx.Done()
	r := copied(4096)
	r.Bytes, r.Complete, r.Error = 512, false, "cancelled"
	return r
}

// TestCopyCancel: by its id, by its client going away, and by the server's end.
func TestCopyCancel(t *testing.T) {
	f := &fake{}
	f.run = untilCancelled
	s := httptest.NewServer(routes(f))
	defer s.Close()
	begin := func(ctx context.Context) (*http.Response, *json.Decoder, uint64) {
		req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/v1/copy", strings.NewReader(goodCopy))
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(resp.Body)
		var l copyLine
		if err := dec.Decode(&l); err != nil || l.Progress == nil {
			t.Fatal(err, l)
		}
		return resp, dec, l.Progress.ID
	}
	result := func(dec *json.Decoder) *CopyResult {
		for {
			var l copyLine
			if err := dec.Decode(&l); err != nil {
				t.Fatal(err)
			}
			if l.Result != nil {
				return l.Result
			}
		}
	}
	del := func(path string) int {
		req, _ := http.NewRequest("DELETE", s.URL+path, nil)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}

	resp, dec, id := begin(t.Context())
	if got := del("/v1/copies/999"); got != 404 {
		t.Error("no such copy:", got)
	}
	if got := del("/v1/copies/x"); got != 404 {
		t.Error("no number:", got)
	}
	if got := del(fmt.Sprintf("/v1/copies/%d", id)); got != 200 {
		t.Error(got)
	}
	if r := result(dec); r.Complete || r.Bytes != 512 || r.Error != "cancelled" {
		t.Errorf("%+v", r)
	}
	resp.Body.Close()

	ctx, cancel := context.WithCancel(t.Context())
	resp, _, _ = begin(ctx)
	cancel()
	resp.Body.Close()
	for len(f.copyList("")) > 0 {
		time.Sleep(time.Millisecond) // until the server has noticed
	}

	resp, dec, _ = begin(t.Context())
	f.copies.end()
	if r := result(dec); r.Error != "the server is stopping" {
		t.Errorf("%+v", r)
	}
	resp.Body.Close()
	if _, _, err := f.startCopy(t.Context(), &CopyRequest{}); !errors.Is(err, unix.EBUSY) {
		t.Error("a copy begins behind the end:", err)
	}
}

// TestCopiesMost: more copies than there may be are refused, and one that ends makes room.
func TestCopiesMost(t *testing.T) {
	f := &fakeCopies{}
	var jobs []*copyJob
	for range maxCopies {
		_, j, err := f.startCopy(t.Context(), &CopyRequest{})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	if _, _, err := f.startCopy(t.Context(), &CopyRequest{}); !errors.Is(err, unix.EBUSY) || !strings.HasPrefix(err.Error(), "16 copies are under way") {
		t.Error(err)
	}
	f.copies.remove(jobs[3])
	_, j, err := f.startCopy(t.Context(), &CopyRequest{})
	if err != nil || j.info.ID != maxCopies+1 {
		t.Error(j, err)
	}
	ids := []uint64{}
	for _, c := range f.copyList("") {
		ids = append(ids, c.ID)
	}
	if !slices.IsSorted(ids) || len(ids) != maxCopies {
		t.Error(ids)
	}
	for _, j := range append(slices.Delete(jobs, 3, 4), j) {
		f.copies.remove(j)
	}
	f.copies.end() // nothing is left to wait for
}

// TestCopyNoDeadline: the server's bounds for calls are not a copy's.
func TestCopyNoDeadline(t *testing.T) {
	f := &fake{}
	f.run = func(ctx context.Context, _ func(blkcopy.Progress)) *CopyResult {
		select {
		case <-ctx.Done():
			t.Error("cancelled:", context.Cause(ctx))
		case <-time.After(3 * progressEvery): // so that progress is written behind the bounds
		}
		return copied(0)
	}
	s := httptest.NewUnstartedServer(routes(f))
	s.Config.ReadTimeout, s.Config.WriteTimeout = progressEvery/4, progressEvery/2
	s.Start()
	defer s.Close()
	resp, err := s.Client().Post(s.URL+"/v1/copy", "application/json", strings.NewReader(goodCopy))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var l copyLine
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Result != nil {
			return
		}
	}
}
