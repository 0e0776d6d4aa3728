package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const modulesDep = `kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz

kernel/drivers/md/dm-mod.ko:
`

func TestModuleClosure(t *testing.T) {
	d, err := parseModulesDep(strings.NewReader(modulesDep))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		names []string
		want  []string
	}{
		{"none", nil, nil},
		{"unknown is built in", []string{"virtio_pci"}, nil},
		{"order", []string{"9p", "9pnet_virtio"}, []string{
			"kernel/fs/netfs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/fs/9p/9p.ko.xz", "kernel/net/9p/9pnet_virtio.ko.xz",
		}},
		{"once", []string{"netfs", "9pnet", "netfs"}, []string{"kernel/fs/netfs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz"}},
		{"underscore is dash", []string{"dm_mod"}, []string{"kernel/drivers/md/dm-mod.ko"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, d.closure(tt.names)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestModulesDepError(t *testing.T) {
	if _, err := parseModulesDep(strings.NewReader("a.ko: b.ko\nrubbish\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v, want one that names line 2", err)
	}
}
