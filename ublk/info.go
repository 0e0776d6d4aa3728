package ublk

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// State of a device, as the driver has it.
type State uint16

// The driver's states (UBLK_S_DEV_*).
const (
	Dead     State = uapi.UBLK_S_DEV_DEAD
	Live     State = uapi.UBLK_S_DEV_LIVE
	Quiesced State = uapi.UBLK_S_DEV_QUIESCED
	FailIO   State = uapi.UBLK_S_DEV_FAIL_IO
)

func (s State) String() string {
	switch s {
	case Dead:
		return "dead"
	case Live:
		return "live"
	case Quiesced:
		return "quiesced"
	case FailIO:
		return "fail-io"
	}
	return "unknown"
}

// Info is what the driver knows of any ublk device, ours or not.
type Info struct {
	ID            int
	State         State
	Queues, Depth int
	MaxIO         uint32
	PID           int // of the server; the driver's note, it may be long gone
	Flags         Features
	Mark          uint64 // Spec.Mark of whoever added it
	Sectors       uint64 // 0 before SET_PARAMS
	ReadOnly      bool
}

// Info looks a device up. Errors: an OpError with ENODEV when there is none of that id.
func (c *Control) Info(ctx context.Context, id int) (Info, error) {
	i, err := c.info(ctx, id)
	if err != nil {
		return Info{}, err
	}
	out := Info{ID: id, State: State(i.State), Queues: int(i.NrHwQueues), Depth: int(i.QueueDepth), MaxIO: i.MaxIOBufBytes,
		PID: int(i.UblksrvPID), Flags: Features(i.Flags), Mark: i.UblksrvFlags}
	p, err := c.params(ctx, id)
	if err != nil {
		return out, err
	}
	if p.Types&uapi.UBLK_PARAM_TYPE_BASIC != 0 {
		out.Sectors, out.ReadOnly = p.Basic.DevSectors, p.Basic.Attrs&uapi.UBLK_ATTR_READ_ONLY != 0
	}
	return out, nil
}

// info and params are what the driver has of a device, in its words.
func (c *Control) info(ctx context.Context, id int) (i uapi.DevInfo, err error) {
	if err := c.do(ctx, &job{op: uapi.UBLK_U_CMD_GET_DEV_INFO, cmd: uapi.CtrlCmd{DevID: uint32(id)}, data: infoBytes(&i)}, quickDeadline); err != nil {
		return i, &OpError{"get info", id, err}
	}
	return i, nil
}

func (c *Control) params(ctx context.Context, id int) (p uapi.Params, err error) {
	p.Len = uint32(len(paramBytes(&p)))
	if err := c.do(ctx, &job{op: uapi.UBLK_U_CMD_GET_PARAMS, cmd: uapi.CtrlCmd{DevID: uint32(id)}, data: paramBytes(&p)}, quickDeadline); err != nil {
		return p, &OpError{"get params", id, err}
	}
	return p, nil
}

// Delete stops and deletes a device that this process does not serve, a dead server's among them. A device that is not
// there is not an error. It waits a moment for the id to be free again; while somebody has the device open, a mount among
// them, the driver keeps the id until the last close, by itself.
func (c *Control) Delete(ctx context.Context, id int) error {
	err := c.do(ctx, &job{op: uapi.UBLK_U_CMD_DEL_DEV_ASYNC, cmd: uapi.CtrlCmd{DevID: uint32(id)}}, slowDeadline)
	if errors.Is(err, unix.EOPNOTSUPP) { // an older driver: it waits for the last close in the command
		err = c.do(ctx, &job{op: uapi.UBLK_U_CMD_DEL_DEV, cmd: uapi.CtrlCmd{DevID: uint32(id)}}, slowDeadline)
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return &OpError{"delete", id, err}
	}
	for end := time.Now().Add(lingerWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := c.Info(ctx, id); errors.Is(err, unix.ENODEV) {
			return nil
		}
	}
	c.log.Warn("somebody still has the device open: its id is free when that ends", "dev", id)
	return nil
}

// lingerWait is how long Delete waits for the last close.
const lingerWait = 2 * time.Second
