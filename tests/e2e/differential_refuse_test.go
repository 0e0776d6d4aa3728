package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// flaw makes a table of disks d0 and d1 (512-byte blocks) and d2 (4096) of the given sectors, often one that dm refuses.
type flaw struct {
	name string
	make func(r *rand.Rand, sectors uint64) string
}

// Not among them, as we refuse and dm does not: a chunk that is no multiple of the logical block (its requests then
// fail), extents that overlap (it does not look), and numbers of 2^64 and more (sscanf, which reads the rest modulo 2^64).
var flaws = []flaw{
	{"past the end", func(r *rand.Rand, n uint64) string {
		length := 8 * (1 + r.Uint64N(100))
		return fmt.Sprintf("0 %d linear d%d %d", length, r.IntN(3), n-length+8*(r.Uint64N(3)-1))
	}},
	{"stripe past the end", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("0 160 striped 2 16 d0 0 d2 %d", n-80+8*(r.Uint64N(3)-1))
	}},
	{"block edges on disk", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("0 %d linear d2 %d", 64+4*r.Uint64N(3), 4*r.Uint64N(4))
	}},
	{"block edges of a leg", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("0 96 striped 2 8 d0 %d d2 %d", r.Uint64N(3)*4, r.Uint64N(3)*4)
	}},
	{"block edges between segments", func(r *rand.Rand, n uint64) string {
		a, b := 60+2*r.Uint64N(9), 60+4*r.Uint64N(5)
		first, second := r.IntN(3), r.IntN(3)
		third := 1000 - a - b + 4*r.Uint64N(3)
		return fmt.Sprintf("0 %d linear d%d 0\n%d %d linear d%d 800\n%d %d linear d%d 4000", a, first, a, b, second, a+b, third, r.IntN(3))
	}},
	{"legs and chunks", func(r *rand.Rand, n uint64) string {
		legs := 1 + r.IntN(4)
		s := fmt.Sprintf("0 %d striped %d %d", 24*(1+r.Uint64N(5))+r.Uint64N(2), legs, 1+r.Uint64N(8))
		for i := range legs {
			s += fmt.Sprintf(" d%d %d", i%2, 1000*i+100)
		}
		return s
	}},
	{"count of legs", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("0 48 striped %d 8 d0 0 d1 0%s", 1+r.IntN(3), []string{"", " 7", " d1 512"}[r.IntN(3)])
	}},
	{"gaps", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("%d 64 linear d0 0\n%d 64 linear d1 0", r.IntN(5)/4, 63+r.IntN(3))
	}},
	{"zeroes", func(r *rand.Rand, n uint64) string {
		return fmt.Sprintf("0 %d linear d0 0\n%d 64 striped 2 %d d0 512 d1 512", 64*r.IntN(3), 64, 8*r.IntN(3))
	}},
	{"words", func(r *rand.Rand, n uint64) string {
		return []string{"0 64 linear d0", "0 64 linear d0 -1", "0 64 linear d0 1 2", "0 64 linears d0 0", "0 64 linear d0 x", "0 64 linear d0 18446744073709551615",
			"0 64 striped", "0 64 striped 0 8", "0 64 striped 2 4294967296 d0 0 d1 0", "0 64 striped -1 8 d0 0", "0 18014398509481984 linear d0 0"}[r.IntN(11)]
	}},
}

// What dm refuses we refuse, and what it takes we take.
func TestDifferentialRefusals(t *testing.T) {
	anyKernel(t)
	const mib = 4
	nRefusals := scaled(20, 50)
	s := seed(t)
	own := []string{nullBlk(t, mib), nullBlk(t, mib), nullBlk(t, mib, "blocksize=4096")}
	dm := []string{nullBlk(t, mib), nullBlk(t, mib), nullBlk(t, mib, "blocksize=4096")}
	var disks strings.Builder
	for i, node := range own {
		fmt.Fprintf(&disks, "[disk.d%d]\npath = %q\nunstable_path = true\n", i, node)
	}
	refused := 0
	for i := range nRefusals {
		f := flaws[i%len(flaws)]
		table := f.make(rand.New(rand.NewPCG(s, 1<<48|uint64(i))), mib*2048)
		names := table
		for i, node := range dm {
			names = strings.ReplaceAll(names, fmt.Sprintf("d%d ", i), node+" ")
		}
		cmd := exec.Command("dmsetup", "create", "refusal", "--noudevsync")
		cmd.Stdin = strings.NewReader(names)
		out, dmErr := cmd.CombinedOutput()
		if dmErr == nil {
			dmRemove(t, "refusal")
		}
		srv, err := tryUp(t, writeConfig(t, fmt.Sprintf("version = 1\n%s[device.refusal]\ntable = \"\"\"\n%s\n\"\"\"\n", &disks, table)))
		if err == nil {
			srv.down()
		} else {
			refused++
		}
		if (dmErr == nil) != (err == nil) {
			t.Errorf("%s (-seed %d, %d):\n%s\ndm says %v %s\nours says %v", f.name, s, i, table, dmErr, out, err)
		}
	}
	t.Logf("%d of %d refused", refused, nRefusals)
	if refused == 0 || refused == nRefusals {
		t.Error("the tables are too much alike")
	}
}

// `ublk-linear table` says of a device what `dmsetup table` says of dm's.
func TestTableAgreesWithDmsetup(t *testing.T) {
	anyKernel(t)
	s := seed(t)
	lbs := [nDisks]uint64{1, 1, 1, 1, 1}
	var disks strings.Builder
	disks.WriteString("version = 1\n")
	var nodes, numbers []string
	for i := range nDisks {
		nodes = append(nodes, nullBlk(t, diskMiB))
		numbers = append(numbers, majMin(t, nodes[i]))
		fmt.Fprintf(&disks, "[disk.d%d]\npath = %q\nunstable_path = true\n", i, nodes[i])
	}
	var dms []dmTable
	for i := range 8 {
		table := newTable(rand.New(rand.NewPCG(s, 1<<49|uint64(i))), lbs, uint64(i)*window)
		name := fmt.Sprintf("t%d", i)
		dms = append(dms, dmTable{name, table.lines(func(d int) string { return nodes[d] })})
		if i%2 == 0 {
			disks.WriteString(table.asTable(name))
		} else {
			disks.WriteString(table.asSegments(name))
		}
	}
	file := writeConfig(t, disks.String())
	dmCreateAll(t, dms)
	for _, d := range dms {
		out, err := exec.Command("ublk-linear", "table", d.name, "-c", file).Output() // not its warnings
		if err != nil {
			t.Fatal(err)
		}
		got := string(out)
		for i, n := range numbers {
			got = strings.ReplaceAll(got, fmt.Sprintf(" d%d ", i), " "+n+" ")
		}
		if want := sh(t, "dmsetup", "table", d.name); got != want {
			t.Errorf("%s (-seed %d): dmsetup says\n%sours says\n%s", d.name, s, want, got)
		}
	}
}
