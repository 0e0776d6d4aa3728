package ublk

// The kernel of these tests: one io_uring, the ublk driver behind a queue's commands, and the disks, all in memory.
// What a real kernel would do wrong on a server's mistake, this one reports as the test's failure.
//
//  1. SQE hands out the entries of a small ring; Enter takes those that were filled.
//  2. A fetch or commit goes to the driver (kernel_driver_test.go): who holds the tag, and what the client is answered (model_test.go).
//  3. A disk command is checked and put in flight (kernel_start_test.go). Its data moves when it completes (finish), not before.
//  4. Enter then gives some of the client's requests to fetched tags, completes some of what is in flight, in any order
//     that the seed says, and shuffles what is not yet reaped.
//  5. The bell is a real eventfd, which other goroutines may ring: with a queue that waits for nothing else, Enter asks idle
//     (kernel_bell_test.go).
//  6. Next delivers. A descriptor turns into another one as soon as the queue has had its one chance to read it.
//
// Without a seed everything completes at the next Enter, in order, and nothing is allocated in the steady state.

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	charFD  = 77
	firstFD = 100 // of the disks
	queueID = 3
)

// holder is who has a tag.
type holder uint8

const (
	unfetched holder = iota
	atDriver         // fetched: the driver may give it a request
	atServer         // a request was given and not answered
	ended
)

// pages is who put a request's pages into the table of buffers.
type pages uint8

const (
	out pages = iota
	byDriver
	byServer
)

type fakeTag struct {
	holder holder
	pages  pages
	ask    *ask
	flying int
}

// command is a disk command in flight: a slot for each of the queue's ops.
type command struct {
	op     uint8
	flags  uint8
	ask    *ask
	disk   target.Disk
	at     uint64 // bytes
	n      uint64
	iov    []uapi.Iovec
	opFlag uint32
	mode   uint32 // of fallocate
	try    int    // 1 for the first time
	agains int    // how often it got EAGAIN or EINTR since it last got on
	flying bool
	done   uint64 // bytes that were transferred
	retry  bool   // the last answer asks for one more
	seq    uint64 // of the log of writes, when it was taken
	stand  uint8  // 1 + the opcode of what was sent in its place (kernel_fault_test.go); 0: nothing
}

// fault is what becomes of one command. The zero value is success.
type fault struct {
	errno unix.Errno
	short uint64 // bytes that are transferred, if fewer than asked for
	zero  bool   // nothing is, without an error
}

// sent is a command as it was taken, for the tests that count.
type sent struct {
	command
	iov []uapi.Iovec // bases count from the tag's buffer
}

type kernel struct {
	t       tester
	q       *queue
	rng     *rand.Rand
	shape   shape
	base    target.Disk // of the world that the queue is in, when several have been (world_random_test.go)
	disks   []Backing   // of all worlds
	used    [][]target.Range
	bounds  bounds
	descs   []uapi.IODesc
	bufs    []byte // nil: there are addresses only, and no data
	bufAddr uint64
	bufLen  uint64
	iovs    []uapi.Iovec
	wave    int
	pool    int // free ops before the first request

	sq     []uapi.SQE
	queued int
	cq     []uapi.CQE
	head   int
	given  int // the tag whose descriptor the queue may read now, or -1

	tags     []fakeTag
	cmds     []command
	inflight []uint32
	asks     []*ask // from next on: not yet given
	next     int
	serving  int
	aborting bool

	fixed   bool // zero copy
	bare    int
	noPages unix.Errno // of a registration by the server

	fault    func(c *command) fault
	refuse   func(t int, cmd uint64) unix.Errno // of a fetch or commit
	enterErr func(call int) error               // of the n-th Enter
	onTurn   func()
	stood    map[uint8]int  // what was sent in the place of commands, by opcode
	armed    bool           // the bell's read (kernel_bell_test.go)
	idle     func() bool    // nothing else would end a wait; true: the bell may have been rung
	before   func(*command) // a disk gets it
	after    func(*command) // it is done

	log    []sent
	silent bool   // keep no log
	order  []*ask // as the queue took them
	enters [2]int // Enter(0), Enter(more)
	turns  int    // runs of Next that came to an end

	model *model
}

// SQE implements ring.
func (k *kernel) SQE() *uapi.SQE {
	k.scramble()
	if k.queued == len(k.sq) {
		return nil
	}
	e := &k.sq[k.queued]
	*e = uapi.SQE{}
	k.queued++
	return e
}

// Enter implements ring.
func (k *kernel) Enter(wait uint32) error {
	k.scramble()
	k.enters[min(wait, 1)]++
	if k.enterErr != nil {
		if err := k.enterErr(k.enters[0] + k.enters[1]); err != nil {
			return err
		}
	}
	lengthy := 0
	for i := range k.sq[:k.queued] {
		e := &k.sq[i]
		switch {
		case e.UserData&commandBit != 0 && k.q.faults != nil && (e.Opcode == uapi.IORING_OP_NOP || e.Opcode == uapi.IORING_OP_TIMEOUT):
			k.standIn(e)
		case e.UserData&commandBit != 0:
			lengthy += k.start(e)
		case e.UserData&bellData != 0:
			k.bell(e)
		case e.UserData&pagesBit != 0:
			k.pages(e)
		default:
			k.driver(e)
		}
	}
	k.queued = 0
	if k.q.lengthy != lengthy { // a wait that the runtime is not told of would give them to disks whose drivers may sleep
		k.t.Fatalf("%d commands that may sleep are submitted, and the queue says %d", lengthy, k.q.lengthy)
	}
	k.q.lengthy = 0
	if k.onTurn != nil {
		k.onTurn()
	}
	k.deliver(false)
	k.complete(false)
	k.hear(false)
	if wait > 0 && k.head == len(k.cq) {
		k.complete(true)
	}
	if wait > 0 && k.head == len(k.cq) {
		k.deliver(true)
	}
	for wait > 0 && k.head == len(k.cq) && k.idle != nil && k.idle() {
		k.hear(true)
	}
	if wait > 0 && k.head == len(k.cq) && k.next == len(k.asks) && k.serving == 0 {
		k.abort()
	}
	if wait > 0 && k.head == len(k.cq) {
		k.t.Fatalf("Enter(%d) would wait for ever: %d requests to give, %d unanswered, %d commands in flight, %d tags live", wait, len(k.asks)-k.next, k.serving, len(k.inflight), k.q.live)
	}
	if k.rng != nil {
		rest := k.cq[k.head:]
		k.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	return nil
}

// Next implements ring.
func (k *kernel) Next() (uapi.CQE, bool) {
	k.scramble()
	if k.head == len(k.cq) {
		k.cq, k.head = k.cq[:0], 0
		k.turns++
		return uapi.CQE{}, false
	}
	c := k.cq[k.head]
	k.head++
	if c.UserData&commandBit != 0 {
		k.reaped(uint32(c.UserData), c.Res)
	} else if c.Res == 0 && c.UserData&(bellData|pagesBit) == 0 {
		k.given = int(c.UserData)
		if !k.silent {
			k.order = append(k.order, k.tags[k.given].ask)
		}
	}
	return c, true
}

// scramble turns the descriptor that the queue has just read into another, which it would notice if it read it again.
func (k *kernel) scramble() {
	if k.given < 0 {
		return
	}
	d := &k.descs[k.given]
	d.OpFlags ^= 1 | uapi.UBLK_IO_F_FUA | uapi.UBLK_IO_F_NOUNMAP
	d.NrSectors, d.StartSector = d.NrSectors+1, d.StartSector^1
	k.given = -1
}

func (k *kernel) post(user uint64, res int32) {
	k.cq = append(k.cq, uapi.CQE{UserData: user, Res: res})
}
