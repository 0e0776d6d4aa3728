package vm

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const showMeta = `Package: linux-image-amd64
Source: linux-signed-amd64 (7.2.13+1)
Version: 7.2.13-1
Depends: linux-base-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)
Description: Linux for 64-bit PCs (meta-package)
 Depends: not a field
`

const showImage = `Package: linux-image-7.2.13+deb14-amd64
Version: 7.2.13-1
Depends: dracut | initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool, linux-base-7.2.13+deb14-amd64 (= 7.2.13-1), linux-binary-7.2.13+deb14-amd64 (= 7.2.13-1), linux-modules-7.2.13+deb14-amd64 (= 7.2.13-1)
`

func TestParseShow(t *testing.T) {
	want := []pkg{
		{Name: "linux-image-amd64", Version: "7.2.13-1", Depends: []string{"linux-base-amd64", "linux-image-7.2.13+deb14-amd64"}},
		{Name: "linux-image-7.2.13+deb14-amd64", Version: "7.2.13-1", Depends: []string{
			"dracut", "linux-base-7.2.13+deb14-amd64", "linux-binary-7.2.13+deb14-amd64", "linux-modules-7.2.13+deb14-amd64",
		}},
	}
	if diff := cmp.Diff(want, parseShow([]byte(showMeta+"\n"+showImage+"\n"))); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if got := parseShow(nil); got != nil {
		t.Errorf("packages in nothing: %v", got)
	}
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		name     string
		packages map[string]pkg
		release  string
		want     []string
		err      error
	}{
		{
			name: "one package",
			packages: map[string]pkg{
				metaPackage:                       {Depends: []string{"linux-image-6.12.95+deb12-amd64"}},
				"linux-image-6.12.95+deb12-amd64": {Depends: []string{"kmod", "initramfs-tools"}},
			},
			release: "6.12.95+deb12-amd64",
			want:    []string{"linux-image-6.12.95+deb12-amd64"},
		},
		{
			name: "split",
			packages: map[string]pkg{
				metaPackage:                        parseShow([]byte(showMeta))[0],
				"linux-image-7.2.13+deb14-amd64":   parseShow([]byte(showImage))[0],
				"linux-base-7.2.13+deb14-amd64":    {},
				"linux-binary-7.2.13+deb14-amd64":  {Depends: []string{"linux-base-7.2.13+deb14-amd64"}},
				"linux-modules-7.2.13+deb14-amd64": {},
			},
			release: "7.2.13+deb14-amd64",
			want: []string{
				"linux-image-7.2.13+deb14-amd64", "linux-base-7.2.13+deb14-amd64",
				"linux-binary-7.2.13+deb14-amd64", "linux-modules-7.2.13+deb14-amd64",
			},
		},
		{name: "no meta package", packages: map[string]pkg{}, err: os.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release, got, err := resolve(func(name string) ([]pkg, error) {
				if p, ok := tt.packages[name]; ok {
					return []pkg{p}, nil
				}
				return nil, nil
			})
			if !errors.Is(err, tt.err) || release != tt.release {
				t.Errorf("release %q, error %v; want %q, %v", release, err, tt.release, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseQEMUVersion(t *testing.T) {
	for s, want := range map[string]int{
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright": 10,
		"QEMU emulator version 7.2.22":                                   7,
		"":                                                               0,
		"version ten":                                                    0,
	} {
		if got := parseQEMUVersion(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

func TestParseNeed(t *testing.T) {
	for s, want := range map[string]Need{"fio": {"fio", "fio"}, "mkfs.btrfs=btrfs-progs": {"mkfs.btrfs", "btrfs-progs"}} {
		if got, err := ParseNeed(s); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "=x", "x="} {
		if _, err := ParseNeed(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}
