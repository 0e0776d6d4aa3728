package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Sample is one measurement: one contender, one job, one round.
type Sample struct {
	Set       string             `json:"set"`         // what is compared: "null disks", "legs" and so on
	X         int                `json:"x,omitempty"` // the point of a set that scales: legs, segments, devices, queue depth
	Job       string             `json:"job"`         // of fio, as a person says it
	Contender string             `json:"contender"`
	Round     int                `json:"round"`
	IOPS      float64            `json:"iops,omitempty"`
	MiBs      float64            `json:"mib_s,omitempty"`
	P50       float64            `json:"p50_us,omitempty"`        // of the completion latency, microseconds
	P99       float64            `json:"p99_us,omitempty"`        // likewise
	CPU       float64            `json:"server_us_io,omitempty"`  // CPU time of the server's threads per I/O, microseconds; 0: no server
	Switches  float64            `json:"switches_io,omitempty"`   // times per I/O that a thread of the server blocked
	Seconds   float64            `json:"seconds,omitempty"`       // of what is timed as a whole
	CorePct   float64            `json:"core_percent,omitempty"`  // CPU time of an idle server, of one core
	RSS       int                `json:"rss_kib,omitempty"`       // VmRSS of the server
	Anon      int                `json:"rss_anon_kib,omitempty"`  // RssAnon of the server: heap, stacks, buffers in use
	GrownKiB  int                `json:"grown_kib,omitempty"`     // of RssAnon over a run, from its first quarter to its end
	Requests  float64            `json:"requests,omitempty"`      // of that run
	Calls     map[string]float64 `json:"calls_io,omitempty"`      // system calls of the server per I/O, by name
	SetupSecs float64            `json:"setup_seconds,omitempty"` // from start until the devices can be opened

	// Of copies.
	CPUMiB   float64 `json:"cpu_us_mib,omitempty"` // CPU time of the process that copies, and of its server, per MiB, microseconds
	Commands float64 `json:"commands,omitempty"`   // sent to disks, as the copy says
	Fewest   float64 `json:"fewest,omitempty"`     // commands with which it could be done: legs × limit units
	HostMiB  float64 `json:"host_mib,omitempty"`   // through the host's memory, read and written, as the copy says

	// What went on beside the job.
	BesideMiBs  float64 `json:"beside_mib_s,omitempty"` // a copy, at so many MiB/s
	Asked       int     `json:"asked,omitempty"`        // the server for its status, so many times
	Collections int     `json:"collections,omitempty"`  // of the server's garbage
}

// Result is a run of the benchmark.
type Result struct {
	Kernel   string   `json:"kernel"`
	Emulated bool     `json:"emulated"` // the CPU is QEMU's TCG: only ratios mean something
	Counted  bool     `json:"counted"`  // and its time is the number of instructions, 1 ns each
	CPUs     int      `json:"cpus"`
	Go       string   `json:"go"`
	Samples  []Sample `json:"samples"`
}

// Load reads results and puts them together; later files replace the sets that they have. Errors: of reading, of JSON, and
// of results from different kernels or machines, which are no pairs.
func Load(files ...string) (*Result, error) {
	var all *Result
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		r := new(Result)
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if all == nil {
			all = r
			continue
		}
		if r.Kernel != all.Kernel || r.Emulated != all.Emulated || r.Counted != all.Counted || r.CPUs != all.CPUs {
			return nil, fmt.Errorf("%s: kernel %s, emulated %v, counted %v, %d CPUs; the first has %s, %v, %v, %d", f, r.Kernel, r.Emulated, r.Counted, r.CPUs, all.Kernel, all.Emulated, all.Counted, all.CPUs)
		}
		all.Samples = slices.DeleteFunc(all.Samples, func(s Sample) bool {
			return slices.ContainsFunc(r.Samples, func(n Sample) bool { return n.Set == s.Set })
		})
		all.Samples = append(all.Samples, r.Samples...)
	}
	if all == nil {
		return nil, fmt.Errorf("no results: %w", os.ErrNotExist)
	}
	return all, nil
}

// Of is the samples of a set, a job and a point, in the order of the run.
func (r *Result) Of(set, job string, x int) []Sample {
	var out []Sample
	for _, s := range r.Samples {
		if s.Set == set && s.Job == job && s.X == x {
			out = append(out, s)
		}
	}
	return out
}

// Sets, Jobs and Points are what there is, in the order of the run.
func (r *Result) Sets() []string {
	return distinct(r.Samples, func(s Sample) (string, bool) { return s.Set, true })
}

// Jobs is the jobs of a set.
func (r *Result) Jobs(set string) []string {
	return distinct(r.Samples, func(s Sample) (string, bool) { return s.Job, s.Set == set })
}

// Points is the points of a set's job, in the order of the run.
func (r *Result) Points(set, job string) []int {
	return distinct(r.Samples, func(s Sample) (int, bool) { return s.X, s.Set == set && s.Job == job })
}

// Contenders is who took part.
func Contenders(samples []Sample) []string {
	return distinct(samples, func(s Sample) (string, bool) { return s.Contender, true })
}

func distinct[T comparable](samples []Sample, of func(Sample) (T, bool)) []T {
	var out []T
	for _, s := range samples {
		if v, ok := of(s); ok && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
