package e2e

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var gomaxprocs = regexp.MustCompile(`gomaxprocs=(\d+)`)

// A server has twice as many of the runtime's processors as it has queues, and no fewer than it began with.
func TestProcessors(t *testing.T) {
	anyKernel(t)
	t.Setenv("GODEBUG", "schedtrace=100")
	n := runtime.NumCPU() + 2
	var b strings.Builder
	b.WriteString(pathDisks(nullBlk(t, 64)))
	for i := range n {
		fmt.Fprintf(&b, "[device.p%d]\nqueues = 1\ntable = \"0 2048 linear a %d\"\n", i, i*2048)
	}
	s := up(t, b.String())
	want := fmt.Sprint(2 * n)
	within(t, want+" processors", func() bool {
		all := gomaxprocs.FindAllStringSubmatch(s.err.String(), -1)
		return len(all) > 0 && all[len(all)-1][1] == want
	})
	if first := gomaxprocs.FindStringSubmatch(s.err.String()); first[1] == want {
		t.Errorf("it had %s before it had devices", want)
	}
}
