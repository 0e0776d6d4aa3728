package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/ublk"
)

// TestOrphansOn: no copy touches a disk of a device that waits, this file's or another's; what does not wait, has a server or
// lies elsewhere is not in the way.
func TestOrphansOn(t *testing.T) {
	wait := ublk.RecoveryReissue.Flags()
	a := diskRecord{Name: "a", Kind: "block", Node: "/dev/x0", Sectors: 1 << 20, WWID: "one", Rdev: 1}
	b := diskRecord{Name: "b", Kind: "file", Node: "/b.img", Sectors: 1 << 20, Dev: 4, Inode: 5}
	moved := a // another number since
	moved.Rdev = 99
	for _, c := range []struct {
		name  string
		state ublk.State
		flags ublk.Features
		disks []diskRecord // that it lay on
		other bool         // of another file
		lost  bool         // nothing is written down
		live  bool         // the other file is served
		want  string
	}{
		{"waits", ublk.Quiesced, wait, []diskRecord{a}, false, false, false, "disk a (/dev/x0)"},
		{"waits on a file", ublk.Quiesced, wait, []diskRecord{b}, false, false, false, "disk b (/b.img)"},
		{"dying", ublk.Live, wait, []diskRecord{a}, false, false, false, "disk a (/dev/x0)"},
		{"another number", ublk.Quiesced, wait, []diskRecord{moved}, false, false, false, "disk a (/dev/x0)"},
		{"says nothing of itself", ublk.Quiesced, wait, []diskRecord{{Name: "a", Kind: "block", Node: "/dev/x0", Sectors: 8, Rdev: 1}}, false, false, false, "disk a (/dev/x0)"},
		{"another file's", ublk.Quiesced, wait, []diskRecord{a}, true, false, false, "disk a (/dev/x0)"},
		{"another file's, served", ublk.Quiesced, wait, []diskRecord{a}, true, false, true, ""},
		{"lost", ublk.Quiesced, wait, nil, false, true, false, "written nowhere"},
		{"another's, lost", ublk.Quiesced, wait, nil, true, true, false, ""},
		{"its disk is gone", ublk.Dead, wait, []diskRecord{a}, false, false, false, ""},
		{"goes with its server", ublk.Live, 0, []diskRecord{a}, false, false, false, ""},
		{"elsewhere", ublk.Quiesced, wait, []diskRecord{{Name: "c", Kind: "block", Node: "/dev/x1", Sectors: 8, WWID: "two", Rdev: 2}}, false, false, false, ""},
		{"another file on a disk", ublk.Quiesced, wait, []diskRecord{{Name: "b", Kind: "file", Node: "/b.img", Sectors: 8, Dev: 4, Inode: 6}}, false, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := runDir(t)
			f := load(t, "version = 1\n[disk.a]\npath = \"/dev/x0\"\nunstable_path = true\n[disk.b]\nfile = \"/b.img\"\n[device.data]\ntable = \"0 8 linear a 0\"\n[device.side]\ntable = \"0 8 linear b 0\"\n")
			inst, err := NewInstance(f.Path, dir)
			if err != nil {
				t.Fatal(err)
			}
			lock, err := inst.lockAs(copying)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			owner := inst
			if c.other {
				owner = instance(t, "other.toml", dir)
				l, err := owner.Lock() // leaves its file
				if err != nil {
					t.Fatal(err)
				}
				if c.live {
					defer l.Close()
				} else {
					l.Close()
				}
			}
			if !c.lost {
				st := sampleState(owner.Config)
				st.Devices = st.Devices[:1]
				st.Devices[0].Disks, st.Disks = nil, c.disks
				for _, d := range c.disks {
					st.Devices[0].Disks = append(st.Devices[0].Disks, d.Name)
				}
				writeSample(t, owner.statePath(), st)
			}
			drv := &fakeDriver{infos: map[int]ublk.Info{7: {ID: 7, Mark: owner.Mark(), State: c.state, Flags: c.flags}}}
			look := func(d *config.Disk) (diskRecord, error) {
				if d.Name == "a" {
					return a, nil
				}
				return b, nil
			}
			err = orphansOn(t.Context(), drv, []int{7}, f, inst, look)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/dev/ublkb7") || !strings.Contains(err.Error(), owner.Config) {
				t.Error(err)
			}
		})
	}
}

// TestOrphansOnUnreadable: a state that cannot be read says nothing of where its devices lie.
func TestOrphansOnUnreadable(t *testing.T) {
	f := load(t, volumes)
	inst, err := NewInstance(f.Path, runDir(t))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, inst.statePath(), "{")
	drv := &fakeDriver{infos: map[int]ublk.Info{7: {ID: 7, Mark: inst.Mark(), State: ublk.Quiesced, Flags: ublk.RecoveryReissue.Flags()}}}
	err = orphansOn(t.Context(), drv, []int{7}, f, inst, func(*config.Disk) (diskRecord, error) { return diskRecord{}, os.ErrNotExist })
	if _, ok := errors.AsType[*StateError](err); !ok {
		t.Error(err)
	}
}
