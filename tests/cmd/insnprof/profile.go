package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// profile is a window by function. All but Requests are for one I/O.
type profile struct {
	Window    bench.Window       `json:"window"`
	Requests  float64            `json:"requests"`  // that the driver handed to the server in the window
	User      float64            `json:"user"`      // instructions of the server in user mode
	Kernel    float64            `json:"kernel"`    // and in the kernel
	Client    float64            `json:"client"`    // of fio and of its ring's workers
	Others    map[string]float64 `json:"others"`    // of all other tasks, by name
	Switches  float64            `json:"switches"`  // times that a thread of the server was switched to
	Functions map[string]float64 `json:"functions"` // the server's instructions; those in user mode are marked by an asterisk
}

// inUser marks a function that runs in user mode; inKernel are those of the driver that are called once for each request.
const inUser = "*"

var inKernel = []string{"ublk_init_iod", "ublk_setup_iod"}

const client = "fio"

// module is what the names of our own functions begin with; tables are wide enough.
const module = "github.com/ublk-go/ublk-linear/"

// attribute makes a profile of what ran in a window.
func attribute(w bench.Window, c *counted, kernel, server symbols) (*profile, error) {
	p := &profile{Window: w, Others: map[string]float64{}, Functions: map[string]float64{}}
	for _, b := range c.blocks {
		name, ok := kernel.at(b.at)
		ours := slices.Contains(w.Tasks, c.names[b.who])
		n := float64(b.insns * b.times)
		switch {
		case b.at>>63 == 1 && !ok:
			name = "(no symbol)"
		case b.at>>63 == 1:
			if request(name) && kernel.begins(b.at) {
				p.Requests += float64(b.times)
			}
		default:
			if name, ok = server.at(b.at); !ok {
				name = "(no symbol: vdso, libraries)"
			}
			name = inUser + " " + strings.TrimPrefix(name, module)
		}
		switch {
		case ours && b.at>>63 == 0:
			p.User += n
		case ours:
			p.Kernel += n
		case isClient(c.names[b.who]):
			p.Client += n
		default:
			p.Others[family(c.names[b.who])] += n
		}
		if ours {
			p.Functions[name] += n
		}
	}
	if p.Requests == 0 {
		return nil, fmt.Errorf("%s, %s: no request in the window", w.Job, w.Contender)
	}
	for _, t := range w.Tasks {
		p.Switches += c.switches[t] / p.Requests
	}
	p.User /= p.Requests
	p.Kernel /= p.Requests
	p.Client /= p.Requests
	for _, m := range []map[string]float64{p.Others, p.Functions} {
		for k := range m {
			m[k] /= p.Requests
		}
	}
	return p, nil
}

// all is every instruction of the window. The guest's clock counts them too, so that the two agree unless both processors
// had nothing to do.
func (p *profile) all() float64 {
	sum := p.User + p.Kernel + p.Client
	for _, n := range p.Others {
		sum += n
	}
	return sum
}

// request says whether a function is one that the driver calls for each request: [module] and what a compiler appends apart.
func request(name string) bool {
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, ".")
	return slices.Contains(inKernel, name)
}

// begins says whether a function begins at an address.
func (s symbols) begins(va uint64) bool {
	_, ok := slices.BinarySearchFunc(s, va, func(f function, va uint64) int {
		switch {
		case f.start < va:
			return -1
		case f.start > va:
			return 1
		}
		return 0
	})
	return ok
}

// isClient says whether a task that is none of the server's is the load's: nobody else who does anything has a ring.
func isClient(name string) bool { return name == client || strings.HasPrefix(name, "iou-wrk-") }

// family is a task's name without what tells it from others of its kind: kworker/0:1 and kworker/u8:2 are kworker.
func family(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

// profiles reads what a run has left in its folder.
func profiles(o *options) ([]*profile, error) {
	text, err := os.ReadFile(filepath.Join(o.dir, "windows.json"))
	if err != nil {
		return nil, err
	}
	var windows []bench.Window
	if err := json.Unmarshal(text, &windows); err != nil {
		return nil, fmt.Errorf("windows.json: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(o.dir, "kallsyms")); err != nil {
		return nil, err
	}
	kernel, err := kallsyms(string(text))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(o.dir, countsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	counts, err := readCounts(f)
	if err != nil {
		return nil, err
	}
	if len(counts) != len(windows) {
		return nil, fmt.Errorf("%d windows were opened, and %d counted: what the guest calls and what the plugin knows do not agree", len(windows), len(counts))
	}
	known := map[string]symbols{}
	var all []*profile
	for i, w := range windows {
		if _, ok := known[w.Program]; !ok {
			if known[w.Program], err = program(o.server(w.Program)); err != nil {
				return nil, err
			}
		}
		p, err := attribute(w, counts[i], kernel, known[w.Program])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}
