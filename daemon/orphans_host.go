package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// Orphan is a device whose server is gone, as `ls --orphans` prints it.
type Orphan struct {
	DeviceInfo
	OnCrash string   `json:"on_crash"` // the policy that the driver has
	Waits   bool     `json:"waits"`    // a server can take it over; if not, its disk is gone, too, and it is only to be deleted
	Users   []string `json:"users"`    // who has it mounted, claimed or open
	Why     []string `json:"why"`      // what is in the way of taking it over; empty: nothing
}

// Orphans is what `ls --orphans` prints.
type Orphans struct {
	Schema  int      `json:"schema"`
	Orphans []Orphan `json:"orphans"`
}

// hostOrphan is an orphan of any file of the host.
type hostOrphan struct {
	orphan
	inst   *Instance // where it can be locked; nil: not known
	config string    // "": not known
	state  *state
}

// device is the orphan as `ls` prints it.
func (o *hostOrphan) device() DeviceInfo {
	d := DeviceInfo{ID: o.info.ID, Node: nodeOf(o.info.ID), Config: o.config, Bytes: o.info.Sectors * 512, State: o.info.State.String()}
	if o.rec != nil {
		d.Name = o.rec.Name
	}
	if o.info.State == ublk.Live { // the driver learns of the death when the last file is closed
		d.State = "dying"
	}
	return d
}

// instanceOf finds a file's instance by the mark of its devices: the lock's name has the same hash.
func instanceOf(runDir string, mark uint64) *Instance {
	locks, _ := filepath.Glob(filepath.Join(runDir, fmt.Sprintf("*-%08x.lock", uint32(mark))))
	if len(locks) == 0 {
		return nil
	}
	name := filepath.Base(locks[0])
	i := &Instance{dir: runDir, name: name[:len(name)-len(".lock")]}
	if st, err := readState(i.statePath()); err == nil {
		i.Config = st.Config
	}
	return i
}

// allOrphans are our devices that no server has. served are those of which it is known that one has.
func allOrphans(ctx context.Context, runDir string, served map[int]bool) ([]hostOrphan, error) {
	ids := slices.DeleteFunc(deviceIDs(), func(id int) bool { return served[id] })
	if len(ids) == 0 {
		return nil, nil
	}
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return orphansOf(ctx, c, runDir, ids), nil
}

// orphansOf looks at devices by id, and leaves out what is not ours, or has a server.
func orphansOf(ctx context.Context, c devicer, runDir string, ids []int) []hostOrphan {
	if runDir == "" {
		runDir = RunDir
	}
	var out []hostOrphan
	for _, id := range ids {
		i, err := c.Info(ctx, id)
		if errors.Is(err, unix.ENODEV) || !Ours(i.Mark) || serverLives(&i) {
			continue
		}
		o := hostOrphan{orphan: orphan{info: i}, inst: instanceOf(runDir, i.Mark)}
		if o.inst != nil {
			if o.inst.Served() { // it starts, or ends, or serves without our seeing it
				continue
			}
			o.config = o.inst.Config
			if st, err := readState(o.inst.statePath()); err == nil {
				o.state, o.rec = st, st.device(id)
			}
		}
		out = append(out, o)
	}
	return out
}

// ListOrphans is every device of the host whose server is gone, and why it cannot be taken over, if so. It needs root.
func ListOrphans(ctx context.Context, runDir string) (Orphans, error) {
	out := Orphans{Schema: Schema, Orphans: []Orphan{}}
	all, err := allOrphans(ctx, runDir, nil)
	for i := range all {
		o := &all[i]
		x := Orphan{DeviceInfo: o.device(), OnCrash: string(crashOf(o.info.Flags.Recovery())), Waits: waits(&o.info), Users: []string{}, Why: []string{}}
		for _, h := range usersOf(x.Node) {
			x.Users = append(x.Users, h.String())
		}
		if x.Waits {
			x.Why = append(x.Why, o.inTheWay()...)
		}
		out.Orphans = append(out.Orphans, x)
	}
	return out, err
}

// inTheWay is why the file of an orphan cannot have it back.
func (o *hostOrphan) inTheWay() []string {
	if o.config == "" {
		return []string{"its configuration and state are not known: the run folder has lost them"}
	}
	f, ps, err := config.Load(o.config)
	if err != nil {
		return []string{err.Error()}
	}
	if bad := ps.Errors(); len(bad) > 0 {
		return messages(bad)
	}
	tables, err := Tables(f)
	if err != nil {
		return []string{err.Error()}
	}
	c := &claims{file: f, tables: tables, orphans: []orphan{o.orphan}, state: o.state, look: diskLook(f)}
	_, bad := c.plan()
	return messages(bad)
}

func messages(ps config.Problems) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func usersOf(node string) []disk.Holder { return disk.Holders(node, &disk.Options{}) }

// Adoptable compares the orphans of a checked file with it, as Up would, and takes nothing over: what would be, and all that
// is in the way. Errors: a ServedError.
func Adoptable(ctx context.Context, f *config.File, runDir string, trust bool) ([]DeviceInfo, config.Problems, error) {
	inst, err := NewInstance(f.Path, runDir)
	if err != nil {
		return nil, nil, err
	}
	lock, err := inst.lockSoon(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer lock.Close()
	tables, err := Tables(f)
	if err != nil {
		return nil, nil, err
	}
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	st, stErr := inst.stateOf()
	all, err := findOrphans(ctx, c, deviceIDs(), inst.Mark(), st)
	if err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, func(o orphan) bool { return !waits(&o.info) })
	if stErr != nil && !trust && len(all) > 0 {
		return nil, nil, stErr
	}
	k := &claims{file: f, tables: tables, orphans: all, state: st, look: diskLook(f), trust: trust}
	plan, ps := k.plan()
	ps = append(ps, lacking(f, c.Features())...)
	out := []DeviceInfo{}
	for at, o := range plan {
		h := hostOrphan{orphan: o, config: inst.Config}
		d := h.device()
		d.Name = f.Devices[at].Name
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b DeviceInfo) int { return a.ID - b.ID })
	return out, ps, nil
}

// ErrNotOrphaned is returned when no device of a file waits for a server.
var ErrNotOrphaned = errors.New("no device of this file waits for a server")
