package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Margin is how far a count may be above the committed one, as a factor. Two releases of the compiler differ by less. A count
// of zero has no margin.
const Margin = 1.1

// Counts are what the code does, however fast the machine is: instructions, allocations, bytes allocated, commands. The
// unit is the first word of a name.
type Counts struct {
	Go     string         `json:"go"`   // the compiler that they are of
	Arch   string         `json:"arch"` // instructions are compared on the same only
	Counts map[string]int `json:"counts"`
}

// LoadCounts reads what Save wrote.
func LoadCounts(file string) (*Counts, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := new(Counts)
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// Save writes them to a file.
func (c *Counts) Save(file string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Check compares what is counted now with what was committed. Worse is what is past Margin, what is not counted any more
// and what was never committed; better is what is below by as much.
func (c *Counts) Check(now *Counts) (worse, better []string) {
	names := slices.Sorted(maps.Keys(c.Counts))
	for name := range now.Counts {
		if _, ok := c.Counts[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		was, committed := c.Counts[name]
		is, counted := now.Counts[name]
		switch {
		case !committed:
			worse = append(worse, fmt.Sprintf("%s: %d, and nothing is committed", name, is))
		case strings.HasPrefix(name, "instructions") && c.Arch != now.Arch:
		case !counted:
			worse = append(worse, fmt.Sprintf("%s: not counted, and %d is committed", name, was))
		case float64(is) > float64(was)*Margin:
			worse = append(worse, fmt.Sprintf("%s: %d, committed is %d", name, is, was))
		case float64(was) > float64(is)*Margin:
			better = append(better, fmt.Sprintf("%s: %d, committed is %d", name, is, was))
		}
	}
	return worse, better
}

// units are those of a Go benchmark's that are counts.
var units = map[string]string{"allocs/op": "allocations", "B/op": "bytes", "commands": "commands"}

// AddGo adds the counts of what "go test -bench -benchmem" prints; of what is named commands, bytes and allocations are not
// taken, since a plan allocates as it goes.
func (c *Counts) AddGo(r io.Reader) error {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of processors
		}
		plan := slices.Contains(f, "commands")
		for i := 2; i+1 < len(f); i += 2 {
			unit, ok := units[f[i+1]]
			if !ok || plan != (unit == "commands") {
				continue
			}
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return fmt.Errorf("%q: %w", sc.Text(), err)
			}
			n := int(v)
			if unit == "bytes" {
				n = n / 16 * 16 // what is left of one-time costs, over all iterations, is less than the smallest object
			}
			c.Counts[unit+" "+name] = n
		}
	}
	return sc.Err()
}

// Pure says whether a symbol is of the packages that map requests.
func Pure(symbol string) bool {
	const module = "github.com/ublk-go/ublk-linear/"
	return strings.HasPrefix(symbol, module+"remap.") || strings.HasPrefix(symbol, module+"target")
}
