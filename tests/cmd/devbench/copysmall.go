package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/tests/bench"
)

// small is a way to copy a few KiB, durably, and its latency.
type small struct {
	name string
	copy func(from, to, n uint64) error
}

// smallCopies is how long one copy of 4 to 64 KiB takes, from this process: by the server, as the command line asks it; by
// the server, as a program that speaks to its socket may; and by a read, a write and a flush of the disks.
func smallCopies(b *bencher, quick bool) error {
	const mib, sectors = 64, 64 << 11
	for _, bed := range []struct {
		name  string
		disks func() ([]string, error)
		disk  int // of the destination, and its first MiB there
		at    int
	}{
		{"in memory", func() ([]string, error) { return b.disks(2, mib, true) }, 1, 0},
		{"NVMe Copy", func() ([]string, error) { return nvme(copySerials[0]), nil }, 0, mib},
	} {
		d, err := bed.disks()
		if err != nil {
			return err
		}
		if d == nil {
			fmt.Printf("copysmall: no NVMe disk %s, left out\n", copySerials[0])
			continue
		}
		s, err := b.copyServer(d, fmt.Sprintf("0 %d linear d0 0", sectors), fmt.Sprintf("0 %d linear d%d %d", sectors, bed.disk, bed.at<<11))
		if err != nil {
			return err
		}
		all, end, err := smallWays(s, place{node: d[0]}, place{d[bed.disk], int64(bed.at) << 20})
		if err != nil {
			return err
		}
		err = b.smallRounds(bed.name, all, quick)
		if err = errors.Join(err, end(), b.clear()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bencher) smallRounds(bed string, all []small, quick bool) error {
	count := 100
	if quick {
		count = 50
	}
	for _, w := range all { // a first time
		for range 20 {
			if err := w.copy(0, 1<<20, 4096); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, kib := range []uint64{4, 16, 64} {
		for r := range b.rounds {
			for _, w := range slices.Concat(all[r%len(all):], all[:r%len(all)]) {
				took := make([]time.Duration, count)
				for i := range took {
					at := uint64(i) * kib << 10
					begin := time.Now()
					if err := w.copy(at, at, kib<<10); err != nil {
						return fmt.Errorf("%s: %w", w.name, err)
					}
					took[i] = time.Since(begin)
				}
				slices.Sort(took)
				s := bench.Sample{Set: "copysmall", Job: fmt.Sprintf("%d KiB, %s", kib, bed), Contender: w.name, Round: r, Requests: float64(count),
					P50: micro(took[count/2]), P99: micro(took[count*99/100])}
				b.add(s)
				fmt.Printf("copysmall, %s, %s, round %d: p50 %.0f us, p99 %.0f us\n", s.Job, s.Contender, r, s.P50, s.P99)
			}
		}
	}
	return nil
}

func micro(d time.Duration) float64 { return float64(d) / 1e3 }

// smallWays are those of a server of v0 and v1, which lie at src and dst.
func smallWays(s *contender, src, dst place) (all []small, end func() error, err error) {
	inst, err := daemon.NewInstance(s.file, "")
	if err != nil {
		return nil, nil, err
	}
	request := func(from, to, n uint64) *daemon.CopyRequest {
		return &daemon.CopyRequest{Source: daemon.CopySide{Device: "v0", Segments: []daemon.CopySegment{{Pos: from, Len: n}}},
			Destination: daemon.CopySide{Device: "v1", Segments: []daemon.CopySegment{{Pos: to, Len: n}}}, Policy: daemon.CopyPolicy{Flush: true}}
	}
	client := daemon.NewClient(inst)
	asCLI := func(from, to, n uint64) error {
		r, err := client.Copy(context.Background(), request(from, to, n), &daemon.CopyOptions{})
		return complete(r, err)
	}
	posted := poster(inst.Socket())
	asAPI := func(from, to, n uint64) error { return complete(posted(request(from, to, n))) }
	direct, end, err := pair(src, dst)
	return []small{{"ublk-linear copy, without the process", asCLI}, {"POST /v1/copy", asAPI}, {"pread, pwrite, fdatasync of the disks", direct}}, end, err
}

func complete(r *daemon.CopyResult, err error) error {
	if err == nil && !r.Complete {
		err = errors.New(r.Error)
	}
	return err
}

// poster posts copies to a control socket, over one connection.
func poster(socket string) func(*daemon.CopyRequest) (*daemon.CopyResult, error) {
	var d net.Dialer
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) }}}
	return func(r *daemon.CopyRequest) (*daemon.CopyResult, error) {
		body, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		resp, err := c.Post("http://server/v1/copy", "application/json", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, errors.New(resp.Status)
		}
		var last *daemon.CopyResult
		for dec := json.NewDecoder(resp.Body); dec.More(); {
			var l struct{ Result *daemon.CopyResult }
			if err := dec.Decode(&l); err != nil {
				return nil, err
			}
			last = l.Result
		}
		if last == nil {
			return nil, errors.New("no result")
		}
		return last, nil
	}
}

// pair copies by a read, a write and a flush.
func pair(src, dst place) (do func(from, to, n uint64) error, end func() error, err error) {
	from, err := os.OpenFile(src.node, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, nil, err
	}
	to, err := os.OpenFile(dst.node, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, from.Close, err
	}
	buf, err := aligned(64 << 10)
	end = func() error { return errors.Join(from.Close(), to.Close(), unix.Munmap(buf)) }
	rfd, wfd := int(from.Fd()), int(to.Fd())
	return func(a, b, n uint64) error {
		if _, err := unix.Pread(rfd, buf[:n], src.at+int64(a)); err != nil {
			return err
		}
		if _, err := unix.Pwrite(wfd, buf[:n], dst.at+int64(b)); err != nil {
			return err
		}
		return unix.Fdatasync(wfd)
	}, end, err
}
