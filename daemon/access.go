package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Who may use the control socket: root and the server's own user, for everything; members of the group that `up --group`
// names, to look: GET and nothing else. To copy is to overwrite, and down takes a disk from under a filesystem: that
// stays root's. The socket's mode says the same, and the kernel keeps to it at connect(2); the peer's credentials
// (SO_PEERCRED: those it had then) are asked for besides, since a mode can be changed and a descriptor passed on.

// right is what a peer may do.
type right uint8

const (
	nothing right = iota
	look          // read-only
	everything
)

// peer is who has connected.
type peer struct {
	pid    int32
	uid    uint32
	groups []uint32
}

// access is who may what. The zero value is for root and the server's own user.
type access struct {
	grouped bool
	group   uint32 // where grouped
}

// newAccess is that of a group by name or number; "": none.
func newAccess(group string) (access, error) {
	if group == "" {
		return access{}, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		if g, err = user.LookupGroupId(group); err != nil {
			return access{}, fmt.Errorf("control socket: no group %q: %w", group, os.ErrNotExist)
		}
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return access{true, uint32(n)}, err
}

func (a access) of(p peer) right {
	switch {
	case p.uid == 0, p.uid == uint32(os.Geteuid()):
		return everything
	case a.grouped && slices.Contains(p.groups, a.group):
		return look
	}
	return nothing
}

// set gives a socket, and the folder that it is in, the modes that go with the rights.
func (a access) set(socket, dir string) error {
	if !a.grouped {
		return nil // made with 0600
	}
	if err := os.Chmod(dir, 0o755); err != nil { // its files say for themselves who may read them
		return err
	}
	if err := os.Chown(socket, -1, int(a.group)); err != nil {
		return err
	}
	return os.Chmod(socket, 0o660)
}

// peerOf asks the kernel who is at the other end.
func peerOf(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return p, err
	}
	if credErr != nil {
		return p, os.NewSyscallError("getsockopt SO_PEERCRED", credErr)
	}
	p = peer{cred.Pid, cred.Uid, []uint32{cred.Gid}}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cred.Pid)); err == nil {
		more, err := groupsOf(string(b), cred.Uid)
		if err == nil {
			p.groups = append(p.groups, more...)
		}
	}
	return p, nil
}

// groupsOf is the supplementary groups in a /proc/PID/status, of a process whose effective user is still uid. Of a peer
// that is gone, whose number another has, they would be that one's: they let nobody do more than look.
func groupsOf(status string, uid uint32) (out []uint32, err error) {
	same := false
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Uid:":
			same = f[2] == strconv.FormatUint(uint64(uid), 10)
		case len(f) > 0 && f[0] == "Groups:":
			for _, x := range f[1:] {
				n, err := strconv.ParseUint(x, 10, 32)
				if err != nil {
					return nil, err
				}
				out = append(out, uint32(n))
			}
		}
	}
	if !same {
		return nil, errors.New("another process")
	}
	return out, nil
}
