package daemon

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccessOf(t *testing.T) {
	self := uint32(os.Geteuid())
	other := self + 1000
	for _, c := range []struct {
		name string
		a    access
		p    peer
		want right
	}{
		{"root", access{}, peer{uid: 0}, everything},
		{"ourselves", access{}, peer{uid: self}, everything},
		{"root, of the group", access{true, 6}, peer{uid: 0, groups: []uint32{6}}, everything},
		{"somebody", access{}, peer{uid: other, groups: []uint32{other}}, nothing},
		{"no group is not group 0", access{}, peer{uid: other, groups: []uint32{0}}, nothing},
		{"a member", access{true, 6}, peer{uid: other, groups: []uint32{other, 6}}, look},
		{"group 0, asked for", access{true, 0}, peer{uid: other, groups: []uint32{0}}, look},
		{"of another group", access{true, 6}, peer{uid: other, groups: []uint32{other, 66}}, nothing},
		{"of no group", access{true, 6}, peer{uid: other}, nothing},
	} {
		if got := c.a.of(c.p); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestNewAccess(t *testing.T) {
	if a, err := newAccess(""); err != nil || a.grouped {
		t.Error(a, err)
	}
	g, err := user.LookupGroupId("0")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{g.Name, "0"} {
		if a, err := newAccess(name); err != nil || a != (access{true, 0}) {
			t.Error(name, a, err)
		}
	}
	if a, err := newAccess("no-such-group"); !errors.Is(err, os.ErrNotExist) || a.grouped {
		t.Error(a, err)
	}
}

func TestGroupsOf(t *testing.T) {
	const status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t5\t5\t5\nGroups:\t4 24 1000 \nVmRSS:\t4 kB\n"
	for _, c := range []struct {
		status string
		uid    uint32
		want   []uint32
		ok     bool
	}{
		{status, 1001, []uint32{4, 24, 1000}, true},
		{status, 1000, nil, false}, // the effective user is asked for
		{strings.Replace(status, "4 24 1000", "", 1), 1001, nil, true},
		{strings.Replace(status, "24", "24x", 1), 1001, nil, false},
		{"", 0, nil, false},
	} {
		got, err := groupsOf(c.status, c.uid)
		if d := cmp.Diff(c.want, got); d != "" || (err == nil) != c.ok {
			t.Errorf("%q: %v %v", c.status, got, err)
		}
	}
}

// TestPeerOf: the kernel's word on ourselves, at the other end of a socket.
func TestPeerOf(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(runDir(t), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	us, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer us.Close()
	p, err := peerOf(us)
	if err != nil || p.uid != uint32(os.Geteuid()) || int(p.pid) != os.Getpid() || p.groups[0] != uint32(os.Getegid()) {
		t.Error(p, err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if !slices.Contains(p.groups, uint32(g)) {
			t.Errorf("group %d is not in %v", g, p.groups)
		}
	}
}

// TestAccessSet: with a group its members can come to the socket; the other files are nobody's business.
func TestAccessSet(t *testing.T) {
	s := &Server{inst: instance(t, "v.toml", runDir(t)), down: make(chan struct{}), access: access{true, uint32(os.Getegid())}}
	l, err := listen(s)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for path, want := range map[string]os.FileMode{s.inst.Socket(): 0o660, s.inst.dir: 0o755} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Error(path, i.Mode(), err)
		}
	}
}
