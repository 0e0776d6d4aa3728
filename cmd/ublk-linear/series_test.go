package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/draw"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// What docs/cli.md promises of the designs, written down a second time.
type (
	compareDoc struct {
		Schema  int         `json:"schema"`
		Bytes   uint64      `json:"bytes"`
		Designs []designDoc `json:"designs"`
	}
	planDesignDoc struct {
		planDoc
		Designs []designDoc `json:"designs"`
	}
	designDoc struct {
		Model    string `json:"model"`
		Accepted bool   `json:"accepted"`
		Errno    int    `json:"errno"`
		Error    string `json:"error"`
		Why      string `json:"why"`
		Limits   []struct {
			Name  string `json:"name"`
			Value uint64 `json:"value"`
			Unit  string `json:"unit"`
		} `json:"limits"`
		Bios *[]struct {
			Op      string `json:"op"`
			Device  string `json:"device"`
			Sector  uint64 `json:"sector"`
			Sectors uint64 `json:"sectors"`
			Note    string `json:"note,omitempty"`
		} `json:"bios,omitempty"`
		Commands *[]struct {
			Method  string `json:"method"`
			Format  int    `json:"format"`
			Sources []struct {
				placeDoc
				Sectors uint64 `json:"sectors"`
			} `json:"sources"`
			Dst     placeDoc `json:"dst"`
			Sectors uint64   `json:"sectors"`
			Status  int      `json:"status"`
			Ranges  int      `json:"ranges"`
			Buffer  int      `json:"buffer,omitempty"`
		} `json:"commands,omitempty"`
		BioCount     int      `json:"bio_count"`
		CommandCount int      `json:"command_count"`
		Bytes        uint64   `json:"bytes"`
		CompLen      []uint64 `json:"comp_len,omitempty"`
		Never        bool     `json:"never"`
		Offloaded    uint64   `json:"offloaded_bytes"`
		Emulated     uint64   `json:"emulated_bytes"`
		Host         uint64   `json:"host_bytes"`
		Wrong        []struct {
			Defect string `json:"defect,omitempty"`
			Text   string `json:"text"`
		} `json:"wrong"`
	}
	seriesDoc struct {
		Schema int `json:"schema"`
		Series []struct {
			Name    string `json:"name"`
			Title   string `json:"title"`
			Author  string `json:"author"`
			Posted  string `json:"posted"`
			Message string `json:"message"`
			Defects []struct {
				Name string `json:"name"`
				What string `json:"what"`
				Ref  string `json:"ref"`
			} `json:"defects"`
		} `json:"series"`
	}
)

// made are designs of the test's own, by which the printing is judged.
func made() []draw.Design {
	at := func(d target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: d, Range: target.Range{Start: start, Len: n}}
	}
	return []draw.Design{
		{Model: &series.Model{Name: "first-2020"}, Outcome: &series.Outcome{Model: "first-2020", Errno: unix.EOPNOTSUPP, Why: "a request of two segments is not one that it knows"}},
		{Model: &series.Model{Name: "second-2021"}, Outcome: &series.Outcome{Model: "second-2021", Accepted: true, Errno: unix.EIO, Bytes: 4096, CompLen: []uint64{4096}, Offloaded: 4096, Emulated: 1536, Host: 3072,
			Limits: []series.Value{{Name: "max_copy_sectors", Value: 128, Unit: "sectors"}}, Bios: []series.Bio{{Op: "REQ_OP_COPY_SRC", Device: "d", Sector: 8, Sectors: 8, Note: "token"}},
			Commands: []series.Command{{Method: limits.NVMeCopy, Format: 2, Sources: []target.Extent{at(0, 8, 8), at(0, 32, 2)}, Dst: at(1, 64, 10), Status: 0x281, Ranges: 1},
				{Method: blkcopy.Emulated, Sources: []target.Extent{at(1, 8, 3)}, Dst: at(0, 64, 3), Ranges: 1, Buffer: 1}},
			Wrong: []series.Finding{{Defect: "lost-error", Text: strings.Repeat("The device's error is lost on the way to the caller. ", 4)}, {Text: "It is slow."}}}},
		{Model: &series.Model{Name: "third-2022"}, Outcome: &series.Outcome{Model: "third-2022", Accepted: true, Never: true}},
	}
}

func TestPrintDesigns(t *testing.T) {
	name := func(d target.Disk) string { return string(rune('A' + d)) }
	var text bytes.Buffer
	if err := printDesigns(&text, made(), "as described"); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if len(line) > wide+1 {
			t.Errorf("a line of %d letters: %s", len(line), line)
		}
	}
	var j bytes.Buffer
	e := json.NewEncoder(&j)
	e.SetIndent("", "  ")
	for _, summary := range []bool{false, true} {
		doc := struct {
			Schema  int          `json:"schema"`
			Bytes   uint64       `json:"bytes"`
			Designs []designJSON `json:"designs"`
		}{1, 5632, designsJSON(made(), name, summary)}
		var one bytes.Buffer
		if err := json.NewEncoder(&one).Encode(doc); err != nil {
			t.Fatal(err)
		}
		oneObject(t, one.String(), &compareDoc{})
		if err := e.Encode(doc); err != nil {
			t.Fatal(err)
		}
	}
	for file, got := range map[string]string{"designs.txt": text.String(), "designs.json": j.String()} {
		file = filepath.Join("testdata", "plan", file)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
}

// TestSeries: every design is asked, in the order of the models, about the cuts of the vectors and a request of many.
func TestSeries(t *testing.T) {
	var names []string
	for _, m := range series.Models() {
		names = append(names, m.Name)
	}
	for _, c := range [][]string{
		{"l.toml", "d:980s+40s", "d:990s", "20480"},
		{"s.toml", "d:0s+192s", "d:64s", "98304"},
		{"m.toml", "d:90s+30s", "d:200s", "15360"},
		{"s.toml", "d:0s+32s,d:200s+16s,d:640s+48s", "d:1000s", "49152"},
	} {
		for _, how := range [][]string{nil, {"--as-posted"}, {"--summary"}} {
			args := append([]string{"plan", c[1], c[2], "-c", "testdata/plan/" + c[0], "--json"}, how...)
			code, out, errs := cli(t, append(args, "--series", "all")...)
			if code != exitOK || errs != "" {
				t.Fatalf("%q: exit code %d: %s", args, code, errs)
			}
			var doc compareDoc
			oneObject(t, out, &doc)
			var got []string
			for _, d := range doc.Designs {
				got = append(got, d.Model)
				if (d.Bios == nil) != (len(how) > 0 && how[0] == "--summary") || d.Bios != nil && (len(*d.Bios) != d.BioCount || len(*d.Commands) != d.CommandCount) {
					t.Errorf("%q: %s has %d bios, %d commands and lists of others", args, d.Model, d.BioCount, d.CommandCount)
				}
			}
			if d := cmp.Diff(names, got); d != "" || json.Number(c[3]).String() != jsonNumber(doc.Bytes) {
				t.Errorf("%q: %d bytes, %s", args, doc.Bytes, d)
			}
		}
		for _, name := range names {
			code, out, errs := cli(t, "plan", c[1], c[2], "-c", "testdata/plan/"+c[0], "--json", "--series", name)
			if code != exitOK || errs != "" {
				t.Fatalf("%s: exit code %d: %s", name, code, errs)
			}
			var doc planDesignDoc
			oneObject(t, out, &doc)
			if len(doc.Designs) != 1 || doc.Designs[0].Model != name || len(doc.Pieces) == 0 {
				t.Errorf("%s: %s", name, out)
			}
			if _, out, _ = cli(t, "plan", c[1], c[2], "-c", "testdata/plan/"+c[0], "--series", name); !strings.Contains(out, "SOURCE ") || !strings.Contains(out, "\n"+name+" ") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}

func jsonNumber(n uint64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestSeriesList(t *testing.T) {
	code, out, errs := cli(t, "plan", "--series", "list", "--json")
	var doc seriesDoc
	if oneObject(t, out, &doc); code != exitOK || errs != "" || len(doc.Series) != len(series.Models()) {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	code, out, errs = cli(t, "plan", "--series", "list")
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for i, m := range series.Models() {
		if got := doc.Series[i]; got.Name != m.Name || got.Message != m.Message || len(got.Defects) != len(m.Defects) {
			t.Errorf("%+v of %s", got, m.Name)
		}
		for _, want := range append([]string{m.Name + ": ", m.Message}, defectNames([]*series.Model{m})...) {
			if !strings.Contains(out, want) {
				t.Errorf("the list has no %s", want)
			}
		}
	}
}

// TestSeriesArgs: what cannot be meant is usage, which names what can, and writes nothing.
func TestSeriesArgs(t *testing.T) {
	dir := t.TempDir()
	svg, html := filepath.Join(dir, "x.svg"), filepath.Join(dir, "x.html")
	big := write(t, "version = 1\n[disk.a]\nsize = \"64GiB\"\n[device.d]\ntable = \"0 134217728 linear a 0\"\n")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, `no series "2027": ` + strings.Join(seriesNames(), ", ") + ", all, or list", []string{"--series", "2027"}},
		{exitUsage, `no defect "x" of --series all: `, []string{"--series", "all", "--defect", "x"}},
		{exitUsage, "--as-posted and --defect need --series", []string{"--as-posted"}},
		{exitUsage, "--as-posted and --defect need --series", []string{"--defect", "x"}},
		{exitUsage, "--series list takes no other flags", []string{"--series", "list", "--html", html}},
		{exitFailure, "--svg: cannot write: ", []string{"--svg", filepath.Join(dir, "none", "x.svg")}},
		{exitFailure, "--html: cannot write: ", []string{"--html", dir}},
		{exitUsage, "more than 16 GiB", []string{"-c", big, "--svg", svg, "d:0s+17GiB", "d:32GiB"}},
		{exitUsage, "more than 16 GiB", []string{"-c", big, "--series", "all", "d:0s+17GiB", "d:32GiB"}},
		{exitNotFound, `no device "e"`, []string{"--svg", svg, "e:0s+1s", "d:8s"}},
	} {
		args := append([]string{"plan", "--json"}, c.args...)
		if !strings.Contains(strings.Join(c.args, " "), ":0s") {
			args = append(args, "d:0s+8s", "d:100s")
		}
		if c.args[0] != "-c" {
			args = append(args, "-c", "testdata/plan/l.toml")
		}
		code, out, errs := cli(t, args...)
		if code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
	// A request that is not valid is a plan that says so, and no picture.
	for _, name := range []string{"", "all", series.Models()[0].Name} {
		args := []string{"plan", "d:1990s+20s", "d:0s", "-c", "testdata/plan/l.toml", "--svg", svg, "--html", html}
		if name != "" {
			args = append(args, "--series", name)
		}
		code, out, errs := cli(t, args...)
		if code != exitOK || !strings.Contains(errs, "nothing is drawn") || name != "all" && !strings.Contains(out, "refused: ") {
			t.Errorf("%q: exit code %d\n%s%s", name, code, out, errs)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("written: %v %v", left, err)
	}
}

// TestDraw: the files are what they are named, and the command line prints what it does without them.
func TestDraw(t *testing.T) {
	dir := t.TempDir()
	svg, html := filepath.Join(dir, "x.svg"), filepath.Join(dir, "x.html")
	args := []string{"plan", "d:980s+40s", "d:990s", "-c", "testdata/plan/l.toml"}
	_, want, _ := cli(t, args...)
	code, out, errs := cli(t, append(args, "--svg", svg, "--html", html)...)
	if code != exitOK || errs != "" || out != want {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	text, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(text)); err == nil; _, err = d.Token() {
	}
	if err != io.EOF || !bytes.Contains(text, []byte("A:3028 to A:3038, 10 sectors; command 1, emulate")) {
		t.Errorf("%v in %s", err, text)
	}
	if text, err = os.ReadFile(html); err != nil || bytes.Contains(text, []byte("<section")) || !bytes.Contains(text, []byte("A:3028 to A:3038")) {
		t.Errorf("%v in %s", err, text)
	}
	// With all designs there is a section for each; what a policy refuses is drawn, as pieces that nothing copies.
	code, _, errs = cli(t, append(args, "--overlap", "refuse", "--html", html, "--series", "all", "--as-posted")...)
	if text, err = os.ReadFile(html); code != exitOK || errs != "" || err != nil {
		t.Fatalf("exit code %d: %s%v", code, errs, err)
	}
	for _, m := range series.Models() {
		if !bytes.Contains(text, []byte(`<section id="`+m.Name+`">`)) {
			t.Errorf("no section of %s", m.Name)
		}
	}
	for _, want := range []string{"refused: ", "dashed: no command copies it", "the code as it was posted"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the page has no %q", want)
		}
	}
}
