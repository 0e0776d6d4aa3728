package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// job is what fio does.
type job struct {
	name, rw, bs string
	depth, jobs  int
}

var (
	read1   = job{"4K random read, QD1", "randread", "4k", 1, 1}
	read32  = job{"4K random read, QD32", "randread", "4k", 32, 1}
	write1  = job{"4K random write, QD1", "randwrite", "4k", 1, 1}
	write32 = job{"4K random write, QD32", "randwrite", "4k", 32, 1}
	mid     = job{"64K random read, QD8", "randread", "64k", 8, 1}
	big     = job{"1M sequential read, QD4", "read", "1m", 4, 1}
	bigOut  = job{"1M sequential write, QD4", "write", "1m", 4, 1}
	two     = job{"4K random read, 2 × QD32", "randread", "4k", 32, 2}
)

// direction is what fio reports of one.
type direction struct {
	IOPS    float64 `json:"iops"`
	BW      float64 `json:"bw_bytes"`
	Total   float64 `json:"total_ios"`
	Latency struct {
		Percentile map[string]float64 `json:"percentile"`
	} `json:"clat_ns"`
}

// round runs a job against contenders, one after the other, for a while each. One fio does it all: an emulated CPU needs
// longer to start fio than to measure. Each section of its file says on a pipe that it begins, and the servers' usage is
// read then (watch.go).
func (b *bencher) round(j job, d time.Duration, all []*contender) ([]bench.Sample, error) {
	file := filepath.Join(b.dir, b.name("job"))
	w, err := b.newWatch(all)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var text strings.Builder
	fmt.Fprintf(&text, "[global]\nioengine=io_uring\ndirect=1\nrw=%s\nbs=%s\niodepth=%d\nnumjobs=%d\ntime_based\nruntime=%dms\nnorandommap\nrandrepeat=0\nthread\ngroup_reporting\npercentile_list=50:99\ninvalidate=0\nstonewall\n",
		j.rw, j.bs, j.depth, j.jobs, d.Milliseconds())
	for i, c := range all {
		fmt.Fprintf(&text, "[s%d]\nfilename=%s\nexec_prerun=%s\n", i, strings.Join(c.files(), ":"), w.prerun(i))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("fio", "--output-format=json", "--output="+file+".json", file)
	cmd.Dir = b.dir
	go w.run()
	said, err := cmd.CombinedOutput()
	err = errors.Join(err, w.end())
	if err != nil {
		return nil, fmt.Errorf("fio %s: %w\n%s", j.name, err, said)
	}
	out, err := os.ReadFile(file + ".json")
	if err != nil {
		return nil, err
	}
	out = out[max(bytes.Index(out, []byte("{\n")), 0):] // fio tells there of its prerun, too
	var report struct {
		Jobs []struct{ Read, Write direction }
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Jobs) != len(all) {
		return nil, fmt.Errorf("fio %s: %d of %d results: %w", j.name, len(report.Jobs), len(all), errors.Join(err, errors.New("not one a section")))
	}
	var samples []bench.Sample
	for i, c := range all {
		s, err := sample(j, c, report.Jobs[i].Read, report.Jobs[i].Write, w.before[i], w.after[i])
		if err != nil {
			return nil, err
		}
		w.asides[i].into(&s)
		samples = append(samples, s)
	}
	return samples, nil
}

func sample(j job, c *contender, r, w direction, before, after usage) (bench.Sample, error) {
	s := bench.Sample{Job: j.name, Contender: c.name}
	if r.Total == 0 {
		r = w
	}
	if r.Total == 0 {
		return s, fmt.Errorf("fio %s on %s did nothing", j.name, c.name)
	}
	s.IOPS, s.MiBs, s.Requests = r.IOPS, r.BW/(1<<20), r.Total
	s.P50, s.P99 = r.Latency.Percentile["50.000000"]/1000, r.Latency.Percentile["99.000000"]/1000
	if len(c.pids) > 0 {
		s.CPU = (after.cpu - before.cpu).Seconds() * 1e6 / r.Total
		s.Switches = float64(after.switches-before.switches) / r.Total
	}
	s.RSS, s.Anon = after.rss, after.anon
	return s, nil
}
