package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSources(t *testing.T) {
	const text = `# a comment
Types: deb deb-src
# http://snapshot.example/
URIs: http://ftp.example.org/debian/
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm

types: deb-src
URIs: http://src.example.org/debian
Suites: bookworm
`
	want := []source{{URIs: []string{"http://ftp.example.org/debian/"}, Suites: []string{"bookworm", "bookworm-updates"}}}
	if diff := cmp.Diff(want, parseSources(text)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestParseList(t *testing.T) {
	const text = `# deb http://no.example.org/debian bookworm main
deb http://ftp.example.org/debian bookworm main contrib # yes
deb-src http://ftp.example.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://b.example.org/debian bookworm-backports main
debris
`
	want := []source{
		{URIs: []string{"http://ftp.example.org/debian"}, Suites: []string{"bookworm"}},
		{URIs: []string{"https://b.example.org/debian"}, Suites: []string{"bookworm-backports"}},
	}
	if diff := cmp.Diff(want, parseList(text)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestMirrors(t *testing.T) {
	own := source{URIs: []string{"http://ftp.example.org/debian/"}, Suites: []string{"bookworm"}}
	for _, tt := range []struct {
		name    string
		sources []source
		want    []string
	}{
		{"none", nil, []string{defaultMirror}},
		{"own first", []source{own}, []string{"http://ftp.example.org/debian", defaultMirror}},
		{"another suite", []source{{URIs: own.URIs, Suites: []string{"nodistro"}}}, []string{defaultMirror}},
		{"security", []source{{URIs: []string{"http://ftp.example.org/debian-security"}, Suites: []string{"bookworm"}}}, []string{defaultMirror}},
		{"not http", []source{{URIs: []string{"cdrom:[x]/debian"}, Suites: []string{"bookworm"}}}, []string{defaultMirror}},
		{"the default", []source{{URIs: []string{defaultMirror}, Suites: []string{"bookworm"}}}, []string{defaultMirror}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mirrors(tt.sources, "bookworm")); diff != "" {
				t.Errorf("mirrors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMachineSources(t *testing.T) {
	etc := t.TempDir()
	parts := filepath.Join(etc, "sources.list.d")
	if err := os.Mkdir(parts, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(etc, "sources.list"):  "deb http://a/debian bookworm main\n",
		filepath.Join(parts, "b.list"):      "deb http://b/debian bookworm main\n",
		filepath.Join(parts, "c.sources"):   "Types: deb\nURIs: http://c/debian\nSuites: bookworm\n",
		filepath.Join(parts, "d.list.save"): "deb http://d/debian bookworm main\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, s := range machineSources(etc) {
		got = append(got, s.URIs...)
	}
	if diff := cmp.Diff([]string{"http://a/debian", "http://b/debian", "http://c/debian"}, got); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestParseOSRelease(t *testing.T) {
	got := parseOSRelease("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n")
	if want := (osRelease{ID: "debian", Codename: "bookworm", Version: "12"}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
