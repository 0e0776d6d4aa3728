package blkcopy

import (
	"cmp"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Whatever the request: a plan that is made does what memmove does, with as few commands as there can be in each window,
// however badly it is done; and a plan that is refused is refused for a reason.
func TestPlan(t *testing.T) {
	var made, refused, bounced, backward, offloaded int
	checkUntil(t, func() bool { return made > 0 && refused > 0 && bounced > 0 && backward > 0 && offloaded > 0 }, func(t *rapid.T) {
		d := drawWorld(t)
		req := d.request()
		m := newPlanModel(req, d.disks)
		p, err := NewPlan(req, d.disks)
		switch {
		case errors.Is(err, ErrOverlap):
			refused++
			long := uint64(len(m.to))*512 > cmp.Or(req.Window, DefaultWindow)
			if !errors.Is(err, unix.EINVAL) || !m.twice() && !(m.shared() && (req.Overlap == RefuseOverlap || long && !m.ordered())) {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		case errors.Is(err, ErrNoOffload):
			refused++
			if req.WithoutOffload != Fail || !errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
				t.Fatalf("refused without a reason: %v", err)
			}
			if !m.needsHost() {
				t.Fatalf("all of it can be offloaded: %v", err)
			}
			return
		case err != nil:
			t.Fatal(err)
		}
		made++
		if m.twice() || m.shared() && req.Overlap == RefuseOverlap {
			t.Fatal("made, and must not be")
		}
		windows := m.judge(t, p, 1)
		for i, w := range windows {
			if w.Bounce {
				bounced++
			}
			if i > 0 && w.Offset < windows[i-1].Offset {
				backward++
			}
			for _, c := range w.Commands {
				if c.Method != Emulated {
					offloaded++
				} else if req.WithoutOffload == Fail {
					t.Fatalf("%+v is emulated, and the policy says no", c)
				}
			}
		}
		p.Rewind()
		if again := windowsOf(p); len(again) != len(windows) {
			t.Fatalf("%d windows, %d after Rewind", len(windows), len(again))
		}
	})
	t.Logf("%d plans, %d refused; %d windows bounced, %d went back; %d offloads", made, refused, bounced, backward, offloaded)
	if made == 0 || refused == 0 || bounced == 0 || backward == 0 || offloaded == 0 {
		t.Error("something is never drawn")
	}
}

// needsHost says whether a sector that changes lies on disks that do not copy to each other, or all must bounce.
func (m *planModel) needsHost() bool {
	if m.shared() && !m.ordered() {
		return true
	}
	for i := range m.to {
		if m.req.Src.Table == m.req.Dst.Table && m.fromTop[i] == m.top[i] {
			continue
		}
		if _, _, _, ok := m.bounds(m.from[i].Disk, m.to[i].Disk); !ok {
			return true
		}
	}
	return false
}
