package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
)

// Config of a Device.
type Config struct {
	Block uint32 // bytes of a logical block: a power of two, 512 to 64 KiB
	Bytes uint64 // of the namespace, in whole logical blocks

	// As Identify Namespace has them. MSSRL and MCL count logical blocks; 0 is the most that the field holds.
	MSSRL, MCL uint32
	MSRC       uint32 // 0 to 255: source ranges per command minus 1

	Misbehave []string // names of Misbehaviours
	Seed      uint64   // of the order in which ranges are moved

	Latency time.Duration // of a Copy command
	Rate    uint64        // bytes per second of all Copy commands together; 0: no bound
	Clock   Clock         // nil: RealClock

	// Cache is a volatile write cache: what was written or copied is in the Store after Flush, or with FUA. Without it all
	// is there at once.
	Cache bool
}

// The most that Identify's fields hold, for limits that nobody gave.
const (
	MostMSSRL = math.MaxUint16
	MostMCL   = math.MaxUint32
	MostMSRC  = math.MaxUint8
)

// Device is a simulated namespace. Its methods may be called from several goroutines.
type Device struct {
	c     Config
	store Store
	clock Clock
	bad   switches
	block uint64 // bytes
	end   uint64 // logical blocks

	mu       sync.Mutex
	rand     *rand.Rand        // guarded by mu
	busy     time.Time         // guarded by mu; until when commands that came have the rate
	commands uint64            // guarded by mu; that came
	flying   int               // guarded by mu; commands under way
	list     *command          // guarded by mu; the list that came last
	touched  chan struct{}     // guarded by mu; closed, and made anew, when a command, read or write comes
	cache    map[uint64]cached // guarded by mu; by logical block, of what is not in the store
	broken   map[uint64]bool   // guarded by mu; blocks that cannot be read
	seen     map[uint64][]byte // guarded by mu; read-cache-stale: small reads
	passed   []old             // guarded by mu; cache-passed: what the medium has in place of the last small write
	again    func() error      // guarded by mu; lands-twice
}

// cached is a block in the write cache.
type cached struct {
	data   []byte
	copied bool // not written by the host
}

// old is what a block had.
type old struct {
	at   uint64
	data []byte
}

// New makes a device over a store of Config.Bytes.
func New(c Config, s Store) (*Device, error) {
	bad, err := newSwitches(c.Misbehave)
	switch {
	case err != nil:
		return nil, err
	case c.Block < 512 || c.Block > 64<<10 || c.Block&(c.Block-1) != 0:
		return nil, fmt.Errorf("a logical block of %d bytes: a power of two from 512 to 65536", c.Block)
	case c.Bytes < uint64(c.Block) || c.Bytes%uint64(c.Block) != 0:
		return nil, fmt.Errorf("%d bytes are not whole logical blocks of %d", c.Bytes, c.Block)
	case c.MSSRL > MostMSSRL || c.MSRC > MostMSRC:
		return nil, fmt.Errorf("MSSRL %d, MSRC %d: at most %d, %d", c.MSSRL, c.MSRC, MostMSSRL, MostMSRC)
	case c.Latency < 0:
		return nil, fmt.Errorf("a latency of %v", c.Latency)
	}
	if c.MSSRL == 0 {
		c.MSSRL = MostMSSRL
	}
	if c.MCL == 0 {
		c.MCL = MostMCL
	}
	if bad[mclBelow] {
		c.MCL = max(1, c.MSSRL/2)
	}
	d := &Device{c: c, store: s, clock: c.Clock, bad: bad, block: uint64(c.Block), end: c.Bytes / uint64(c.Block), rand: rand.New(rand.NewPCG(c.Seed, 0)),
		touched: make(chan struct{}), cache: map[uint64]cached{}, broken: map[uint64]bool{}, seen: map[uint64][]byte{}}
	if d.clock == nil {
		d.clock = RealClock{}
	}
	return d, nil
}

// Identify is what the device says of itself.
func (d *Device) Identify() limits.Copy {
	c := limits.Copy{Method: limits.NVMeCopy, MSSRL: d.c.MSSRL, MCL: d.c.MCL, MSRC: d.c.MSRC}
	if d.bad[mclZero] {
		c.MCL = 0
	}
	return c
}

// Block is the logical block, in bytes.
func (d *Device) Block() uint64 { return d.block }

// Bytes is the length of the namespace.
func (d *Device) Bytes() uint64 { return d.c.Bytes }

// Now is the time that the device goes by.
func (d *Device) Now() time.Time { return d.clock.Now() }

// touch tells who waits for others that somebody came. d.mu is held.
func (d *Device) touch() {
	close(d.touched)
	d.touched = make(chan struct{})
}

// waits gives others a moment, in host time, to come between two halves of something: until one did, or not at all.
func (d *Device) waits(most time.Duration) {
	d.mu.Lock()
	came := d.touched
	d.mu.Unlock()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-came:
	case <-t.C:
	}
}
