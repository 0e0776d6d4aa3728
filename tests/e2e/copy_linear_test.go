package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// Linearizability of reads, writes and copies. Registers are blocks of 4 KiB: register i of the source device, and
// register i of the destination device. A copy of all of them is one operation on each pair of registers: at some moment
// of its time the destination's takes the source's value.

const (
	register  = 4096
	registers = 8
	copyBytes = (registers + 1) * register
)

// pairState is a pair of registers: a source and its destination.
type pairState struct{ src, dst uint64 }

type pairInput struct {
	pair  int
	op    byte // 'r', 'w' on a side, 'c'
	dst   bool
	value uint64
}

var pairModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) (out [][]porcupine.Operation) {
		out = make([][]porcupine.Operation, registers)
		for _, o := range history {
			p := o.Input.(pairInput).pair
			out[p] = append(out[p], o)
		}
		return out
	},
	Init: func() any { return pairState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in := state.(pairState), input.(pairInput)
		side := &s.src
		if in.dst {
			side = &s.dst
		}
		switch in.op {
		case 'w':
			*side = in.value
		case 'c':
			s.dst = s.src
		case 'r':
			return *side == output.(uint64), s
		}
		return true, s
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		in := input.(pairInput)
		side := map[bool]string{false: "source", true: "destination"}[in.dst]
		return map[byte]string{'w': fmt.Sprintf("write %s %d", side, in.value), 'r': fmt.Sprintf("read %s: %v", side, output), 'c': "copy"}[in.op]
	},
}

// history collects operations.
type history struct {
	mu    sync.Mutex
	ops   []porcupine.Operation
	begun time.Time
}

func (h *history) now() int64 { return int64(time.Since(h.begun)) }

func (h *history) add(client int, in pairInput, out any, call int64) {
	ret := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: ret})
}

// stampBlock makes a block of one value, and blockValue reads it; ok is false for a block of more than one.
func stampBlock(b []byte, v uint64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], v)
	}
}

func blockValue(b []byte) (v uint64, ok bool) {
	v = binary.LittleEndian.Uint64(b)
	for i := 8; i < len(b); i += 8 {
		if binary.LittleEndian.Uint64(b[i:]) != v {
			return v, false
		}
	}
	return v, true
}

// A copy among reads and writes of what it copies: every history is one that some order explains, and no block is ever
// torn. Emulated on null_blk and offloaded on NVMe.
func TestCopyLinearizable(t *testing.T) {
	anyKernel(t)
	// Disk c is slow, and part of what is copied, but has no register: a copy that holds nobody back has read the registers
	// long before it writes them.
	slow := func() string { return nullBlk(t, 16, "irqmode=2", "completion_nsec=30000000") }
	for _, bed := range []struct{ name, disks string }{
		{"emulated", pathDisks(nullBlk(t, 64), nullBlk(t, 64), slow())},
		{"nvme", "version = 1\n[disk.a]\nmatch = { serial = \"cpa\" }\n[disk.b]\nmatch = { serial = \"cpb\" }\n[disk.c]\nunstable_path = true\npath = \"" + slow() + "\"\n"},
	} {
		t.Run(bed.name, func(t *testing.T) { linearizable(t, bed.disks) })
	}
}

func linearizable(t *testing.T, disks string) {
	seed := seed(t)
	// A register is a chunk of a stripe, on both sides, or part of a linear target: a window has both, on both disks.
	s := up(t, disks+tableDevice("src", "0 48 striped 2 8 a 4096 b 4096\n48 16 linear a 8192\n64 8 linear c 0")+
		tableDevice("dst", "0 16 linear b 8192\n16 48 striped 2 8 a 12288 a 20480\n64 8 linear b 16384"))
	nodes := [2]string{s.dev["src"], s.dev["dst"]}
	for _, n := range nodes {
		d := openRaw(t, n)
		if _, err := d.WriteAt(aligned(t, copyBytes), 0); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{begun: time.Now()}
	var value, torn, copiesDone atomic.Uint64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for client := range 6 {
		var fds [2]int
		for i := range fds {
			fds[i] = openDirect(t, nodes[i])
		}
		b := pages(t, register)
		r := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for ctx.Err() == nil {
				in := pairInput{pair: r.IntN(registers), dst: r.IntN(2) == 1, op: "rrw"[r.IntN(3)]}
				fd, at := fds[0], uint64(in.pair)*register/512
				if in.dst {
					fd = fds[1]
				}
				if in.op == 'w' {
					in.value = value.Add(1)
					stampBlock(b, in.value)
				}
				call := h.now()
				if _, err := transfer(fd, in.op == 'w', b, at); err != 0 {
					t.Errorf("%c: %v", in.op, err)
					return
				}
				v, ok := blockValue(b)
				if !ok {
					torn.Add(1)
				}
				h.add(client, in, v, call)
				time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
			}
		})
	}
	c := client(t, s.file)
	for i := range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				call := h.now()
				seg := []daemon.CopySegment{{Pos: 0, Len: copyBytes}}
				out, err := c.Copy(context.Background(), &daemon.CopyRequest{Source: daemon.CopySide{Device: "src", Segments: seg}, Destination: daemon.CopySide{Device: "dst", Segments: seg}}, &daemon.CopyOptions{Force: true})
				if err != nil || out.Bytes != copyBytes {
					t.Errorf("copy: %v: %+v", err, out)
					return
				}
				copiesDone.Add(1)
				ret := h.now()
				h.mu.Lock()
				for p := range registers {
					h.ops = append(h.ops, porcupine.Operation{ClientId: 6 + i, Input: pairInput{pair: p, op: 'c'}, Call: call, Return: ret})
				}
				h.mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	few := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return copiesDone.Load() < 3 || len(h.ops) < 500
	}
	for begin := time.Now(); time.Since(begin) < time.Duration(scaled(4, 30))*time.Second || few() && time.Since(begin) < hang; {
		time.Sleep(100 * time.Millisecond)
		if t.Failed() {
			break
		}
	}
	stop()
	wg.Wait()
	if torn.Load() > 0 {
		t.Errorf("%d blocks had more than one value (-seed %d)", torn.Load(), seed)
	}
	res, info := porcupine.CheckOperationsVerbose(pairModel, h.ops, 2*time.Minute)
	if res != porcupine.Ok {
		file := filepath.Join(os.Getenv("UBLK_LINEAR_RESULTS"), "linearizability.html")
		_ = porcupine.VisualizePath(pairModel, info, file)
		t.Errorf("%v: no order explains the history (-seed %d): %s", res, seed, file)
	}
	t.Logf("%d operations, %d copies of %d registers: %v", len(h.ops), copiesDone.Load(), registers, res)
	if few() {
		t.Error("too little was done to mean anything")
	}
	unix.Sync()
}
