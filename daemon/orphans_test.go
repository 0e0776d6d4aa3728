package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// fakeDriver has devices of which nothing is served.
type fakeDriver struct {
	infos   map[int]ublk.Info
	fail    map[int]error // of Delete
	bare    map[int]error // of Info, which knows only what ADD_DEV was told
	deleted []int
}

func (f *fakeDriver) Info(_ context.Context, id int) (ublk.Info, error) {
	i, ok := f.infos[id]
	if !ok {
		return i, unix.ENODEV
	}
	return i, f.bare[id]
}

func (f *fakeDriver) Delete(_ context.Context, id int) error {
	if err := f.fail[id]; err != nil {
		return err
	}
	f.deleted = append(f.deleted, id)
	return nil
}

// TestRemoveStale: what nobody can take over is deleted; what waits, is another's or is nobody's of ours is not.
func TestRemoveStale(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	wait := ublk.RecoveryReissue.Flags()
	mine, other := inst.Mark(), inst.Mark()^1
	c := &fakeDriver{infos: map[int]ublk.Info{
		1: {ID: 1, Mark: mine, State: ublk.Dead},                  // went with its server
		2: {ID: 2, Mark: mine, State: ublk.Dead, Flags: wait},     // never started
		3: {ID: 3, Mark: mine, State: ublk.Quiesced, Flags: wait}, // waits
		4: {ID: 4, Mark: mine, State: ublk.Live, Flags: wait},     // its server is dying
		5: {ID: 5, Mark: mine, State: ublk.Live},                  // so is this one's, and it goes with it
		6: {ID: 6, Mark: other, State: ublk.Dead},                 // another file's
		7: {ID: 7, Mark: 7, State: ublk.Dead},                     // not ours
		8: {ID: 8, Mark: mine, State: ublk.FailIO, Flags: ublk.RecoveryFail.Flags()},
	}}
	c.bare = map[int]error{1: unix.EINVAL}
	all, err := findOrphans(t.Context(), c, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, mine, sampleState(inst.Config))
	if err != nil {
		t.Fatal(err)
	}
	removed, err := removeStale(t.Context(), c, all)
	if err != nil || !slices.Equal(removed, []int{1, 2, 5}) || !slices.Equal(c.deleted, removed) {
		t.Error(removed, c.deleted, err)
	}
	c.bare[3] = unix.EINVAL
	if all, err := findOrphans(t.Context(), c, []int{3, 4}, mine, nil); !errors.Is(err, unix.EINVAL) || len(all) != 1 {
		t.Error("of one that waits nothing may be guessed:", all, err)
	}
	c.fail = map[int]error{1: unix.EIO}
	if removed, err := removeStale(t.Context(), c, all); !errors.Is(err, unix.EIO) || !slices.Equal(removed, []int{2, 5}) {
		t.Error("one that fails ends it for the others:", removed, err)
	}
}

// hostWorld is a run folder with two dead servers' states, and their devices.
func hostWorld(t *testing.T) (string, *fakeDriver, []int) {
	t.Helper()
	dir := runDir(t)
	one, two := instance(t, "one.toml", dir), instance(t, "two.toml", dir)
	wait := ublk.RecoveryReissue.Flags()
	c := &fakeDriver{infos: map[int]ublk.Info{3: {ID: 3, Mark: uint64(markMagic) << 32, State: ublk.Quiesced, Flags: wait}}} // of a file that nobody knows
	var ids []int
	for i, inst := range []*Instance{one, two} {
		lock, err := inst.Lock()
		if err != nil {
			t.Fatal(err)
		}
		lock.Close()
		st := sampleState(inst.Config)
		st.Devices = append(st.Devices, st.Devices[0])
		st.Devices[0].ID, st.Devices[1].ID, st.Devices[1].Name = 10*i+7, 10*i+8, fmt.Sprint("x", i)
		writeSample(t, inst.statePath(), st)
		for _, d := range st.Devices {
			c.infos[d.ID] = ublk.Info{ID: d.ID, Mark: inst.Mark(), State: ublk.Quiesced, Flags: wait, Sectors: d.Sectors}
		}
	}
	for id := range c.infos {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return dir, c, ids
}

// TestPick: by name, by id, by node, all; what is not clear is not guessed.
func TestPick(t *testing.T) {
	dir, c, ids := hostWorld(t)
	all := orphansOf(t.Context(), c, dir, ids)
	if len(all) != 5 {
		t.Fatalf("%d orphans", len(all))
	}
	for _, x := range []struct {
		which string
		want  []int
		err   string
	}{
		{"x0", []int{8}, ""}, {"x1", []int{18}, ""}, {"17", []int{17}, ""}, {"/dev/ublkb3", []int{3}, ""},
		{"data", nil, "2 orphans are called \"data\": say the id: 7 of "}, {"y", nil, `no orphan "y"`}, {"4", nil, `no orphan "4"`},
	} {
		got, err := pick(all, &RemoveRequest{Which: x.which})
		var have []int
		for _, o := range got {
			have = append(have, o.info.ID)
		}
		if !slices.Equal(have, x.want) || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %v %v", x.which, have, err)
		}
	}
	if got, err := pick(all, &RemoveRequest{All: true}); err != nil || len(got) != 5 {
		t.Error(got, err)
	}
}

// TestOrphansOf: a file whose server lives, or is about to, has no orphans.
func TestOrphansOf(t *testing.T) {
	dir, c, ids := hostWorld(t)
	all := orphansOf(t.Context(), c, dir, ids)
	lock, err := all[1].inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	var left []int
	for _, o := range orphansOf(t.Context(), c, dir, ids) {
		left = append(left, o.info.ID)
	}
	if !slices.Equal(left, []int{3, 17, 18}) {
		t.Error(left)
	}
	if err := servedOne(t.Context(), c, dir, ids, &RemoveRequest{Which: "x0"}, fs.ErrNotExist); !errors.Is(err, unix.EBUSY) {
		t.Error("its server lives:", err)
	}
	if err := servedOne(t.Context(), c, dir, ids, &RemoveRequest{Which: "y"}, fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if _, err := lockAll(t.Context(), all); !errors.Is(err, unix.EBUSY) {
		t.Error("removed below a server that starts:", err)
	}
	if all[3].inst.Served() {
		t.Error("the other's lock is kept")
	}
}

// TestRemoveAll: what is used is refused with all its users before anything goes; what is gone is forgotten, and only that.
func TestRemoveAll(t *testing.T) {
	dir, c, ids := hostWorld(t)
	all := orphansOf(t.Context(), c, dir, ids)
	used := func(node string) []disk.Holder {
		if node == "/dev/ublkb7" || node == "/dev/ublkb18" {
			return []disk.Holder{{Kind: "mount", What: "/srv"}}
		}
		return nil
	}
	err := refuseUsed(all, false, used)
	if !errors.Is(err, unix.EBUSY) || strings.Count(err.Error(), "mounted at /srv") != 2 {
		t.Error(err)
	}
	if err := refuseUsed(all, true, used); err != nil {
		t.Error(err)
	}
	all[1].info.State = ublk.Dead // its disk is gone: who has it open has nothing
	if err := refuseUsed(all, false, used); strings.Count(err.Error(), "mounted") != 1 {
		t.Error(err)
	}
	c.fail = map[int]error{8: unix.EIO}
	gone, err := removeAll(t.Context(), c, all)
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "device x0") || !slices.Equal(c.deleted, []int{3, 7, 17, 18}) || len(gone) != 4 || gone[1].State != "removed" || gone[1].Name != "data" {
		t.Error(gone, err)
	}
	if err := forgetRemoved(all, gone); err != nil {
		t.Error(err)
	}
	left := states(dir)
	if len(left) != 1 || len(left[0].Devices) != 1 || left[0].Devices[0].ID != 8 {
		t.Errorf("%+v", left)
	}
}

// TestForgetGone: what is written of devices that are gone is cleared, unless a server lives, or anything is there of them.
func TestForgetGone(t *testing.T) {
	dir, c, ids := hostWorld(t)
	three, four := instance(t, "th.ree.toml", dir), instance(t, "four.toml", dir)
	for _, i := range []*Instance{three, four} {
		writeSample(t, i.statePath(), sampleState(i.Config))
		writeFile(t, i.Socket(), "")
	}
	writeFile(t, three.statePath()+".tmp", "{")
	writeFile(t, filepath.Join(dir, "foreign.json"), "{}")
	lock, err := four.Lock() // it starts, and has no device yet
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	forget := func(want string) {
		t.Helper()
		forgetGone(t.Context(), c, dir, func() []int { return ids })
		var left []string
		for _, p := range []string{"*.json*", "*.sock"} {
			names, _ := filepath.Glob(filepath.Join(dir, p))
			for _, n := range names {
				left = append(left, strings.Split(filepath.Base(n), "-")[0]+filepath.Ext(n))
			}
		}
		if got := strings.Join(left, " "); got != want {
			t.Errorf("left: %s\nwant: %s", got, want)
		}
	}
	c.bare = map[int]error{3: unix.EIO} // a device says nothing of itself
	forget("foreign.json.json four.json one.json th.ree.json th.ree.tmp two.json four.sock th.ree.sock")
	c.bare = nil
	delete(c.infos, 7) // another one of it waits still
	forget("foreign.json.json four.json one.json two.json four.sock")
	delete(c.infos, 8)
	forget("foreign.json.json four.json two.json four.sock")
}

// TestServerLives: a process that has the device's character node is told from one that has only its number.
func TestServerLives(t *testing.T) {
	for _, i := range []ublk.Info{{ID: 1, PID: os.Getpid()}, {ID: 1, PID: 0}, {ID: 1, PID: -1}, {ID: 1, PID: 1 << 30}} {
		if serverLives(&i) {
			t.Errorf("%+v", i)
		}
	}
	if dying(os.Getpid()) {
		t.Error("we live")
	}
	if !dying(1 << 30) {
		t.Error("nobody has that number")
	}
}

// TestDeviceOf: an orphan in words.
func TestDeviceOf(t *testing.T) {
	dir, c, ids := hostWorld(t)
	all := orphansOf(t.Context(), c, dir, ids)
	want := DeviceInfo{Name: "data", Node: "/dev/ublkb7", ID: 7, State: "quiesced", Bytes: 24 * 512, Config: all[1].config}
	if d := cmp.Diff(want, all[1].device()); d != "" || all[1].config == "" {
		t.Error(d)
	}
	if got := all[0].inTheWay(); len(got) != 1 || !strings.Contains(got[0], "not known") {
		t.Error(got)
	}
	if got := all[1].inTheWay(); len(got) != 1 || !strings.Contains(got[0], "version is missing") {
		t.Error(got)
	}
	all[1].info.State = ublk.Live
	if got := all[1].device().State; got != "dying" {
		t.Error(got)
	}
}
