// Command benchreport makes tables and pictures of what devbench measured: on stdout, or, with -write, in docs/performance.md and
// docs/img. With results named, those replace the sets that they have in the committed file.
//
//	benchreport [-write] [bench.json …]
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

const (
	results = "tests/bench/results.json"
	page    = "docs/performance.md"
	images  = "docs/img"
)

func main() {
	write := flag.Bool("write", false, "commit the results: "+results+", "+page+" and "+images)
	fresh := flag.Bool("fresh", false, "leave the committed results out")
	flag.Parse()
	if err := run(*write, *fresh, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "benchreport:", err)
		os.Exit(1)
	}
}

func run(write, fresh bool, files []string) error {
	if _, err := os.Stat(results); err == nil && !fresh {
		files = append([]string{results}, files...)
	}
	r, err := bench.Load(files...)
	if err != nil {
		return err
	}
	counts, err := bench.LoadCounts("tests/bench/counts.json")
	if err != nil {
		return err
	}
	parts, pictures := r.Report(counts)
	if !write {
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			fmt.Printf("## %s\n\n%s\n", name, parts[name])
		}
		return nil
	}
	if err := save(r); err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	filled, err := bench.Fill(string(text), parts)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.WriteFile(page, []byte(filled), 0o644); err != nil {
		return err
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(images, "performance-"+name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// save writes the results, a sample a line.
func save(r *bench.Result) error {
	var b bytes.Buffer
	head := *r
	head.Samples = nil
	h, err := json.Marshal(head)
	if err != nil {
		return err
	}
	b.Write(bytes.TrimSuffix(h, []byte("null}")))
	b.WriteString("[\n")
	for i, s := range r.Samples {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		b.Write(line)
		if i < len(r.Samples)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]}\n")
	return os.WriteFile(results, b.Bytes(), 0o644)
}
