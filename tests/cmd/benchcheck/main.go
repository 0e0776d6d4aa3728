// Command benchcheck counts what does not depend on how fast the machine is, and compares it with what is committed: machine
// instructions of mapping a request, one by one under ptrace (tests/bench/step), allocations of the paths that must not
// allocate, commands of copies. It fails for counts that are past bench.Margin, and knows no times.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/bench"
	"github.com/ublk-go/ublk-linear/tests/bench/step"
)

// work is what stepwork does, and instructions are counted of.
var work = []string{
	"even 1", "even 2", "even 100", "even 10000", "even 1000000", "uneven 10000", "skewed 10000",
	"striped 4 128 8", "striped 3 24 8", "striped 4 128 1024", "striped 16 128 2048",
}

// benchmarks are the Go benchmarks that are counted: packages, names, and iterations that make one-time costs vanish.
var benchmarks = [][]string{
	{"-bench=^Benchmark(Map|Pieces)$", "-benchtime=2000x", "./remap"},
	{"-bench=^BenchmarkQueue$", "-benchtime=20000x", "./ublk"},
	{"-bench=^BenchmarkCommands$", "-benchtime=1x", "./copy"},
}

func main() {
	file := flag.String("file", "tests/bench/counts.json", "the committed counts")
	update := flag.Bool("update", false, "commit what is counted now")
	flag.Parse()
	if err := run(*file, *update); err != nil {
		fmt.Fprintln(os.Stderr, "benchcheck:", err)
		os.Exit(1)
	}
}

func run(file string, update bool) error {
	now, err := count()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(now.Counts)) {
		fmt.Printf("%8d  %s\n", now.Counts[name], name)
	}
	if update {
		return now.Save(file)
	}
	was, err := bench.LoadCounts(file)
	if err != nil {
		return err
	}
	worse, better := was.Check(now)
	for _, s := range better {
		fmt.Println("better:", s)
	}
	if len(worse) > 0 {
		return fmt.Errorf("past the margin of %.0f %% (-update commits the new counts, of %s and %s):\n%s", 100*(bench.Margin-1), was.Go, now.Go, strings.Join(worse, "\n"))
	}
	fmt.Printf("%d counts, none past the margin of %.0f %%\n", len(now.Counts), 100*(bench.Margin-1))
	return nil
}

func count() (*bench.Counts, error) {
	c := &bench.Counts{Go: runtime.Version(), Arch: runtime.GOARCH, Counts: map[string]int{}}
	dir, err := os.MkdirTemp("", "benchcheck.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "stepwork")
	build := exec.Command("go", "build", "-o", program, "./tests/cmd/stepwork")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, w := range work {
		n, err := step.Count(program, strings.Fields(w), bench.Pure)
		if err != nil {
			return nil, fmt.Errorf("instructions of %s: %w", w, err)
		}
		total := 0
		for _, v := range n {
			total += v
		}
		c.Counts["instructions of 64 × Map, "+w] = total
	}
	for _, args := range benchmarks {
		cmd := exec.Command("go", append([]string{"test", "-run=^$", "-benchmem"}, args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go test %v: %w\n%s", args, err, out)
		}
		if err := c.AddGo(bytes.NewReader(out)); err != nil {
			return nil, err
		}
	}
	return c, nil
}
