package ublk

import (
	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// inject puts rules in force, before the queue runs. What hangs is released when the queue waits for nothing else, as Stop
// does, if the queue has a bell.
func (k *kernel) inject(rules ...faults.Rule) *faults.Set {
	set := faults.New(rules)
	for d := range k.q.disks {
		k.q.disks[d].Faults = set.Disk(target.Disk(d))
	}
	x, err := newInjector(k.q.disks, len(k.q.ops))
	if err != nil || x == nil {
		k.t.Fatalf("injector: %v", err)
	}
	k.q.faults, k.stood = x, map[uint8]int{uapi.IORING_OP_NOP: 0, uapi.IORING_OP_TIMEOUT: 0}
	if k.q.gate.fd >= 0 {
		k.idle = func() bool {
			if x.over.Load() || len(x.hung) == 0 {
				return false
			}
			x.release()
			k.q.gate.ring()
			return k.rung()
		}
	}
	return set
}

// standIn takes what is sent in the place of a command.
func (k *kernel) standIn(e *uapi.SQE) {
	i := uint32(e.UserData)
	if e.UserData != commandBit|uint64(i) || int(i) >= len(k.cmds) {
		k.t.Fatalf("user data %#x", e.UserData)
	}
	c, tg, x := &k.cmds[i], &k.tags[k.q.ops[i].tag], &k.q.faults.ops[i]
	if c.flying || tg.holder != atServer || e.Flags != 0 || e.Off != 0 || e.OpFlags != 0 {
		k.t.Fatalf("in the place of op %d, in flight: %v, of a tag held by %d: %+v", i, c.flying, tg.holder, e)
	}
	if e.Opcode == uapi.IORING_OP_TIMEOUT {
		v := k.q.faults.times[i]
		if e.Addr != addrOfTimespec(&k.q.faults.times[i]) || e.Len != 1 || v.Sec < 0 || v.Nsec < 0 || v.Nsec >= 1e9 || v.Sec+v.Nsec == 0 || x.state != late && x.state != failing {
			k.t.Fatalf("timeout %+v of %+v", e, v)
		}
	} else if e.Addr != 0 || e.Len != 0 || x.state != failing {
		k.t.Fatalf("nop %+v, state %d", e, x.state)
	}
	c.stand, c.flying = e.Opcode+1, true
	k.stood[e.Opcode]++
	tg.flying++
	k.inflight = append(k.inflight, i)
}

// over completes it.
func (k *kernel) over(i uint32) {
	c, res := &k.cmds[i], int32(0)
	if c.flying = false; c.stand == uapi.IORING_OP_TIMEOUT+1 {
		res = -int32(unix.ETIME)
	}
	k.post(commandBit|uint64(i), res)
}

// stoodIn notes that the queue now knows.
func (k *kernel) stoodIn(i uint32) {
	k.cmds[i].stand = 0
	tg, x := &k.tags[k.q.ops[i].tag], &k.q.faults.ops[i]
	if x.state == failing {
		k.cmds[i].retry = false
		if tg.ask.errno == 0 {
			tg.ask.errno = x.errno
		}
	}
}

// shortened is about a command that was made shorter: the queue has to see a short transfer, or, of a torn one that is done, the
// errno that is returned.
func (k *kernel) shortened(i uint32, res int32) unix.Errno {
	if k.q.faults == nil {
		return 0
	}
	c, o, x := &k.cmds[i], &k.q.ops[i], &k.q.faults.ops[i]
	if x.state == cut {
		c.n = x.left
	}
	if o.end != 0 && uint64(res) == c.n {
		return o.end
	}
	return 0
}

// ends says whether a command that is sent again ends elsewhere than it did; one that is made shorter now may.
func (k *kernel) ends(i uint32, at uint64) bool {
	c := &k.cmds[i]
	if k.q.faults == nil {
		return at != c.at+c.n
	}
	o, n := &k.q.ops[i], c.n
	if x := &k.q.faults.ops[i]; x.state == cut {
		n = x.left
	}
	return at != c.at+n && (o.end == 0 || at < c.at+n)
}
