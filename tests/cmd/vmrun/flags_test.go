package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/tests/vm"
)

func TestParseFlags(t *testing.T) {
	o, err := parseFlags(strings.Fields("-kernel 7 -drive nvme:size=1G,mssrl=16 -drive virtio -env A=b=c -file x -file y -timeout 3m -mem 2G -cpus 4 -need mkfs.btrfs=btrfs-progs -cache /c -- prog -v a"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.series) != 1 || o.series[0].Name != "7" {
		t.Errorf("series %v", o.series)
	}
	want := vm.Job{Program: "prog", Args: []string{"-v", "a"}, Env: []string{"A=b=c"}, Files: []string{"x", "y"}}
	if diff := cmp.Diff(want, o.job); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	m := o.machine
	if m.Timeout != 3*time.Minute || m.Memory != "2G" || m.CPUs != 4 || len(m.Drives) != 2 || m.Drives[0].Props[0] != "mssrl=16" {
		t.Errorf("machine %+v", m)
	}
	if last := o.needs[len(o.needs)-1]; last.Package != "btrfs-progs" {
		t.Errorf("last need %v", last)
	}
}

func TestParseFlagsAll(t *testing.T) {
	o, err := parseFlags([]string{"-prepare", "-cache", "/c"}, new(bytes.Buffer))
	if err != nil || len(o.series) != len(vm.AllSeries()) || !o.prepare {
		t.Errorf("options %+v, %v", o, err)
	}
}

func TestParseFlagsErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "no program",
		"-kernel 5.4 -- x":         `kernel "5.4"`,
		"-kernel 7,nine -- x":      `kernel "nine"`,
		"-prepare -- x":            "nothing is to be run",
		"-drive sata -- x":         "kind is not nvme or virtio",
		"-env nonsense -- x":       "not KEY=VALUE",
		"-expect ( -- x":           "missing closing",
		"-need = -- x":             "not PROGRAM=PACKAGE",
		"-timeout sometimes -- x":  "invalid value",
		"-no-such-flag -- program": "not defined",
	} {
		var stderr bytes.Buffer
		if _, err := parseFlags(strings.Fields(args), &stderr); err == nil || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: error %v, said %q; want %q", args, err, stderr.String(), want)
		}
	}
}
