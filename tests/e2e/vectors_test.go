package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// place is a run of sectors on a disk, by letter.
type place struct {
	disk           byte
	sector, length uint64
}

// vector is a line of dm-vectors.txt: what dm does with a request.
type vector struct {
	name, table   string
	kind          string // rw, rng, flush
	start, length uint64
	places        []place // of a flush: only disks
}

// vectors are the tables of dm-vectors.txt, in its order, and the vectors.
type vectors struct {
	names []string
	table map[string]string
	all   []vector
}

// loadVectors reads dm-vectors.txt, which vmrun was told to put beside the tests (-file remap/testdata/dm-vectors.txt).
func loadVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("dm-vectors.txt")
	if err != nil {
		t.Fatalf("%v: start vmrun with -file remap/testdata/dm-vectors.txt", err)
	}
	num := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	v := vectors{table: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		head, tail, _ := strings.Cut(line, ":")
		f := strings.Fields(head)
		switch {
		case f[0] == "table":
			v.names = append(v.names, f[1])
			v.table[f[1]] = strings.ReplaceAll(strings.Join(f[2:], " "), " | ", "\n")
		case f[0] == "F01":
			x := vector{name: f[0] + f[1], table: f[1], kind: "flush"}
			for d := range strings.FieldsSeq(tail) {
				x.places = append(x.places, place{disk: d[0]})
			}
			v.all = append(v.all, x)
		default:
			x := vector{name: f[0], table: f[1], kind: f[2], start: num(f[3]), length: num(f[4])}
			for p := range strings.FieldsSeq(tail) {
				disk, at, _ := strings.Cut(p, ":")
				sector, length, _ := strings.Cut(at, "+")
				x.places = append(x.places, place{disk[0], num(sector), num(length)})
			}
			v.all = append(v.all, x)
		}
	}
	if len(v.names) != 9 || len(v.all) != 45 {
		t.Fatalf("%d tables and %d vectors, want 9 and 41 with 4 flushes", len(v.names), len(v.all))
	}
	return v
}

// with is a table with disks by other names than their letters.
func with(table string, name func(letter byte) string) string {
	f := strings.Split(table, " ")
	for i, w := range f {
		if len(w) == 1 && w[0] >= 'A' && w[0] <= 'Z' {
			f[i] = name(w[0])
		}
	}
	return strings.Join(f, " ")
}

// rig is a device of some table, its disks by letter, and what they must hold.
type rig struct {
	*raw
	disks  map[byte]*raw
	shadow map[byte][]byte
	buf    []byte
	round  uint64
}

func newRig(t *testing.T, node string, disks map[byte]string) *rig {
	t.Helper()
	r := &rig{raw: openRaw(t, node), disks: map[byte]*raw{}, shadow: map[byte][]byte{}}
	longest := r.sectors
	for letter, node := range disks {
		d := openRaw(t, node)
		r.disks[letter] = d
		r.shadow[letter] = aligned(t, int(d.sectors)*512)
		r.overwrite(t, place{letter, 0, d.sectors})
		longest = max(longest, d.sectors)
	}
	r.buf = aligned(t, int(longest)*512)
	return r
}

// at is what a place must hold.
func (r *rig) at(p place) []byte { return r.shadow[p.disk][p.sector*512:][:p.length*512] }

// pattern fills memory with what was not there before.
func (r *rig) pattern(b []byte) {
	r.round++
	fill(b, r.round<<40)
}

// overwrite puts a new pattern on a disk, past the device.
func (r *rig) overwrite(t *testing.T, p place) {
	t.Helper()
	b := r.at(p)
	r.pattern(b)
	if _, err := r.disks[p.disk].WriteAt(b, int64(p.sector*512)); err != nil {
		t.Fatal(err)
	}
}

// check compares every sector of every disk with what it must hold.
func (r *rig) check(t *testing.T) {
	t.Helper()
	for letter, d := range r.disks {
		want := r.shadow[letter]
		got := r.buf[:len(want)]
		if _, err := d.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if first, n := differ(got, want); n > 0 {
			t.Errorf("disk %c: %d sectors are not what they must be, the first is %d", letter, n, first)
			copy(want, got) // what follows is about the next vector
		}
	}
}

// flushes is how many flushes each disk has completed (Documentation/block/stat.rst, field 16).
func (r *rig) flushes(t *testing.T) map[byte]int {
	t.Helper()
	out := map[byte]int{}
	for letter, d := range r.disks {
		b, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(d.node), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		if out[letter], err = strconv.Atoi(strings.Fields(string(b))[15]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// run sends a vector's requests to the device and checks what became of every disk.
func (r *rig) run(t *testing.T, v vector) {
	buf, off := r.buf[:v.length*512], int64(v.start*512)
	switch v.kind {
	case "rw":
		r.pattern(buf)
		if _, err := r.WriteAt(buf, off); err != nil {
			t.Fatalf("write: %v", err)
		}
		rest := buf
		for _, p := range v.places {
			rest = rest[copy(r.at(p), rest):]
		}
		r.check(t)
		var want []byte
		for _, p := range v.places {
			around := place{p.disk, p.sector - min(p.sector, 8), p.length + 16}
			around.length = min(around.length, r.disks[p.disk].sectors-around.sector)
			r.overwrite(t, around)
		}
		for _, p := range v.places {
			want = append(want, r.at(p)...)
		}
		if _, err := r.ReadAt(buf, off); err != nil {
			t.Fatalf("read: %v", err)
		}
		if first, n := differ(buf, want); n > 0 {
			t.Errorf("read: %d sectors are not those of the disks, the first is %d of the request", n, first)
		}
		r.check(t)
	case "rng":
		for _, op := range []struct {
			name string
			req  uint
		}{{"discard", blkDiscard}, {"zeroout", blkZeroOut}} {
			for _, p := range v.places {
				r.overwrite(t, p)
			}
			if err := rangeIoctl(r.Fd(), op.req, v.start*512, v.length*512); err != nil {
				t.Fatalf("%s: %v", op.name, err)
			}
			for _, p := range v.places {
				clear(r.at(p))
			}
			r.check(t)
			if t.Failed() {
				t.Fatalf("that was %s", op.name)
			}
		}
	case "flush":
		before := r.flushes(t)
		if err := r.Sync(); err != nil {
			t.Fatal(err)
		}
		for letter, n := range r.flushes(t) {
			want := 0
			if slices.ContainsFunc(v.places, func(p place) bool { return p.disk == letter }) {
				want = 1
			}
			if n-before[letter] != want {
				t.Errorf("disk %c was flushed %d times, want %d", letter, n-before[letter], want)
			}
		}
	}
}

// The 41 requests and 4 flushes whose ways through dm are known, on dm itself and on devices with the same tables: what is
// written is where the vector says and nothing else changes on any disk, and so for reads, discards, zeroing.
func TestVectors(t *testing.T) {
	anyKernel(t)
	v := loadVectors(t)
	t.Run("null_blk", func(t *testing.T) {
		v.test(t, func(t *testing.T, n int) []string {
			var nodes []string
			for range n {
				nodes = append(nodes, nullBlk(t, 2, withCache))
			}
			return nodes
		})
	})
	// These take WRITE ZEROES, which null_blk does not; they are slow.
	t.Run("scsi_debug", func(t *testing.T) {
		v.all = slices.DeleteFunc(v.all, func(x vector) bool { return x.kind != "rng" })
		v.test(t, func(t *testing.T, n int) []string {
			nodes := scsiDisks(t, n, 2, 512)
			if queue(t, nodes[0], "write_zeroes_max_bytes") == 0 {
				t.Fatal("scsi_debug does not take WRITE ZEROES")
			}
			return nodes
		})
	})
}

// test runs all vectors on disks that make gives. dm's devices share three, as dm does not mind overlaps; ours have
// their own.
func (v vectors) test(t *testing.T, makeDisks func(*testing.T, int) []string) {
	of := map[string]string{} // table to the letters of its disks
	n := 3
	for _, name := range v.names {
		for _, letter := range "ABC" {
			if slices.Contains(strings.Fields(v.table[name]), string(letter)) {
				of[name] += string(letter)
				n++
			}
		}
	}
	nodes := makeDisks(t, n)
	shared := map[byte]string{'A': nodes[0], 'B': nodes[1], 'C': nodes[2]}
	nodes = nodes[3:]

	var dms []dmTable
	var toml strings.Builder
	toml.WriteString("version = 1\n")
	own := map[string]map[byte]string{}
	for _, name := range v.names {
		dms = append(dms, dmTable{"vector-" + name, with(v.table[name], func(l byte) string { return shared[l] })})
		own[name] = map[byte]string{}
		disk := func(l byte) string { return fmt.Sprintf("%s-%c", name, l) }
		for _, l := range []byte(of[name]) {
			own[name][l], nodes = nodes[0], nodes[1:]
			fmt.Fprintf(&toml, "[disk.%s]\npath = %q\nunstable_path = true\n", disk(l), own[name][l])
		}
		fmt.Fprintf(&toml, "[device.%s]\ntable = \"\"\"\n%s\n\"\"\"\n", name, with(v.table[name], disk))
	}
	dm := dmCreateAll(t, dms)
	s := up(t, toml.String())
	for _, name := range v.names {
		t.Run(name, func(t *testing.T) {
			rigs := map[string]*rig{"dm": newRig(t, dm["vector-"+name], shared), "ublk": newRig(t, s.dev[name], own[name])}
			for _, x := range v.all {
				for _, kind := range []string{"dm", "ublk"} {
					if x.table == name {
						t.Run(x.name+"/"+kind, func(t *testing.T) { rigs[kind].run(t, x) })
					}
				}
			}
		})
	}
}
