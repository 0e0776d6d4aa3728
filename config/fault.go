package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a fault.
const (
	maxFaults = 1024
	// MaxFaultDelay bounds the delay of a fault: a server that stops waits for what is under way.
	MaxFaultDelay = 10 * time.Second
)

// Fault is a [[fault]]: what goes wrong with some of the commands that a disk is sent, for tests.
type Fault struct {
	Pos  Pos
	Disk string
	Op   string // read, write, flush, discard, write-zeroes, copy or any

	Start, Sectors uint64 // of the disk; Sectors 0: all of it

	Nth, Every  uint64  // at most one of Nth, Every and Probability is not 0
	Probability float64 // 0 to 1
	Seed        uint64
	Count       uint64 // 0: without bound

	Action string        // errno, status, torn, short, delay or hang
	Errno  string        // of errno and torn: a name of FaultErrnos
	Status uint16        // of status: status code type in bits 10:8, status code in 7:0
	DW0    uint32        // of status: dword 0 of the completion
	Delay  time.Duration // of delay, errno and status
	Bytes  uint64        // of torn and short: how much is done; multiple of 512
}

// FaultOps are the operations of faults.
func FaultOps() []string {
	return []string{"read", "write", "flush", "discard", "write-zeroes", "copy", "any"}
}

// FaultErrnos are the errors that the block layer has a status for (blk_errors): any other would reach a client as EIO. EAGAIN
// is not among them, since who sends a command sends it again.
func FaultErrnos() []string {
	return []string{"EIO", "EOPNOTSUPP", "ETIMEDOUT", "ENOSPC", "ENOLINK", "EREMOTEIO", "EBADE", "ENODATA", "EILSEQ", "ENOMEM", "EBUSY", "ENODEV", "EOVERFLOW", "ETOOMANYREFS"}
}

// When says which of the commands that match the fault acts on.
func (x *Fault) When() string {
	var s []string
	switch {
	case x.Nth != 0:
		s = append(s, fmt.Sprintf("nth %d", x.Nth))
	case x.Every != 0:
		s = append(s, fmt.Sprintf("every %d", x.Every))
	case x.Probability != 0:
		s = append(s, fmt.Sprintf("probability %v seed %d", x.Probability, x.Seed))
	}
	if x.Count != 0 {
		s = append(s, fmt.Sprintf("count %d", x.Count))
	}
	if len(s) == 0 {
		return "always"
	}
	return strings.Join(s, " ")
}

// Does says what the fault does, as the file would.
func (x *Fault) Does() string {
	out := x.Action
	switch x.Action {
	case "errno":
		out = "errno:" + x.Errno
	case "status":
		out = fmt.Sprintf("status:0x%x dw0 %d", x.Status, x.DW0)
	case "torn", "short":
		out += " " + Size(x.Bytes).String()
	}
	if x.Delay != 0 {
		out += " " + x.Delay.String()
	}
	return out
}

// Where is the range of the fault: "all", or START+LENGTH.
func (x *Fault) Where() string {
	if x.Sectors == 0 {
		return "all"
	}
	return Size(x.Start*SectorBytes).String() + "+" + Size(x.Sectors*SectorBytes).String()
}

const faultHint = "a fault is a table [[fault]], with two brackets"

// readFaults reads every [[fault]].
func (f *File) readFaults(r *report, v value) {
	items, ok := list(v)
	if !ok {
		r.wrongType(v, "a list of tables", faultHint)
		return
	}
	if len(items) > maxFaults {
		r.error(v.key, v.path, fmt.Sprintf("the most is %d", maxFaults), "the file has %d faults", len(items))
		return
	}
	for i, raw := range items {
		e := v.elem(i, raw)
		if t, ok := r.table(e, faultHint); ok {
			f.Faults = append(f.Faults, readFault(t))
		}
	}
}

func readFault(t *table) *Fault {
	x := &Fault{Pos: t.at, Op: "any"}
	t.known([]string{"disk", "op", "range", "nth", "every", "probability", "seed", "count", "action", "delay", "bytes", "dw0"}, map[string]string{
		"device": "a fault is of a disk: disk = NAME",
		"errno":  `write action = "errno:ENOSPC"`,
		"status": `write action = "status:0x183"`,
		"result": "did you mean \"dw0\"?",
		"offset": `write range = "1MiB+64KiB"`,
		"length": `write range = "1MiB+64KiB"`,
		"first":  "did you mean \"count\"?",
	})
	if x.Disk, _ = t.str("disk"); x.Disk == "" {
		t.missing("disk", `write disk = "a", the NAME of a [disk.NAME]`)
	}
	if op, ok := t.str("op"); ok {
		x.Op = ""
		if slices.Contains(FaultOps(), op) {
			x.Op = op
		} else {
			t.limit("op", suggest(op, FaultOps()), "unknown op %s", clip(op))
		}
	}
	if x.Start, x.Sectors = t.diskRange("range"); x.Op == "flush" && t.has("range") {
		t.limit("range", "leave it out", "a flush has no range")
	}
	readWhen(t, x)
	readAction(t, x)
	return x
}

// diskRange reads an optional START+LENGTH in sectors; 0, 0 if it is not said or not right.
func (t *table) diskRange(name string) (start, n uint64) {
	text, ok := t.str(name)
	if !ok {
		return 0, 0
	}
	const hint = `write START+LENGTH, as "1MiB+64KiB" or "2048s+8s"`
	a, b, ok := strings.Cut(text, "+")
	if !ok {
		t.limit(name, hint, "%s %s is not START+LENGTH", name, clip(text))
		return 0, 0
	}
	var at [2]uint64
	for i, s := range []string{a, b} {
		size, err := ParseSize(strings.TrimSpace(s))
		switch {
		case err != nil:
			t.limit(name, hint, "%s %s: %v", name, clip(text), err)
			return 0, 0
		case size%SectorBytes != 0:
			t.limit(name, multiples(uint64(size/SectorBytes*SectorBytes), SectorBytes), "%s %s: %s is not a multiple of 512 bytes", name, clip(text), size)
			return 0, 0
		}
		at[i] = size.Sectors()
	}
	switch {
	case at[1] == 0:
		t.limit(name, "leave it out for all of the disk", "%s %s is empty", name, clip(text))
	case at[0] > maxSectors || at[1] > maxSectors-at[0]:
		t.limit(name, fmt.Sprintf("the largest end is %ds", uint64(maxSectors)), "%s %s is more than device-mapper can address", name, clip(text))
	default:
		return at[0], at[1]
	}
	return 0, 0
}

// readWhen reads nth, every, probability, seed and count.
func readWhen(t *table, x *Fault) {
	number := func(name string) uint64 {
		n, _ := t.integer(name, 1, math.MaxInt64)
		return uint64(n)
	}
	x.Nth, x.Every, x.Count = number("nth"), number("every"), number("count")
	t.readProbability(x)
	if t.has("seed") && !t.has("probability") {
		v, _ := t.get("seed")
		t.r.error(v.key, v.path, "add probability = 0.01, or leave seed out", "seed without probability")
	}
	if n, ok := t.integer("seed", 0, math.MaxInt64); ok {
		x.Seed = uint64(n)
	}
	said := t.among([]string{"nth", "every", "probability"})
	for _, k := range said[min(1, len(said)):] {
		v, _ := t.get(k)
		t.r.error(v.key, v.path, "keep one of nth, every and probability", "%s beside %s: a fault has one of them", k, said[0])
	}
	if v, ok := t.get("count"); ok && t.has("nth") {
		t.r.error(v.key, v.path, "leave it out: nth is once", "count beside nth")
	}
}

func (t *table) readProbability(x *Fault) {
	v, ok := t.get("probability")
	if !ok {
		return
	}
	p, ok := v.raw.(float64)
	if n, is := v.raw.(int64); is {
		p, ok = float64(n), true
	}
	const hint = "use a number above 0, and at most 1, as 0.01"
	switch {
	case !ok:
		t.r.wrongType(v, "a number", hint)
	case !(p > 0 && p <= 1): // NaN is neither
		t.limit("probability", hint, "probability %v is out of range", p)
	default:
		x.Probability = p
	}
}

// faultActions are the words that action begins with.
func faultActions() []string {
	return []string{"eio", "errno:NAME", "status:0xNNN", "torn", "short", "delay", "hang"}
}

// readAction reads action and what belongs to it.
func readAction(t *table, x *Fault) {
	text, ok := t.str("action")
	if !ok {
		t.missing("action", "valid: "+strings.Join(faultActions(), ", "))
		return
	}
	word, arg, has := strings.Cut(text, ":")
	ops := []string{} // that the action is for; none: all
	switch {
	case text == "eio":
		x.Action, x.Errno = "errno", "EIO"
	case word == "errno" && has:
		x.Action, x.Errno = "errno", arg
		if !slices.Contains(FaultErrnos(), arg) {
			x.Action = ""
			t.limit("action", suggest(arg, FaultErrnos()), "errno %s is none that a disk reports", clip(arg))
		}
	case word == "status" && has:
		x.Action, ops = "status", []string{"copy"}
		n, err := strconv.ParseUint(arg, 0, 16)
		if x.Status = uint16(n); err != nil || n == 0 || n > 0x7ff {
			t.limit("action", "use a status code type and code from 0x001 to 0x7ff, as status:0x183", "NVMe status %s is out of range", clip(arg))
		}
	case text == "torn":
		x.Action, x.Errno, ops = "torn", "EIO", []string{"write", "copy"}
	case text == "short":
		x.Action, ops = "short", []string{"read", "write", "copy"}
	case text == "delay", text == "hang":
		x.Action = text
	default:
		t.limit("action", suggest(text, faultActions()), "unknown action %s", clip(text))
		return
	}
	if len(ops) > 0 && x.Op != "" && !slices.Contains(ops, x.Op) {
		t.limit("action", `write op = "`+strings.Join(ops, `" or op = "`)+`"`, "action %s is not for op %s", x.Action, x.Op)
	}
	x.readDelay(t)
	x.readBytes(t)
	if n, ok := t.integer("dw0", 0, math.MaxUint32); ok {
		x.DW0 = uint32(n)
	}
	if x.Action != "status" && x.Action != "" {
		t.only("dw0", "status", x.Action)
	}
}

// only reports a key that belongs to another action.
func (t *table) only(name, owner, action string) {
	if v, ok := t.get(name); ok {
		t.r.error(v.key, v.path, "leave it out", "%s is for action %s, and this one is %s", name, owner, action)
	}
}

func (x *Fault) readDelay(t *table) {
	switch x.Action {
	case "torn", "short", "hang":
		t.only("delay", "delay, eio, errno or status", x.Action)
		return
	case "delay":
		t.missing("delay", `write delay = "50ms"`)
	}
	text, ok := t.str("delay")
	if !ok {
		return
	}
	d, err := time.ParseDuration(text)
	const hint = `write a number and one of us, ms or s, as "50ms", up to 10s`
	switch {
	case err != nil:
		t.limit("delay", hint, "delay %s is not a time", clip(text))
	case d <= 0 || d > MaxFaultDelay:
		t.limit("delay", hint, "delay %s is out of range", clip(text))
	default:
		x.Delay = d
	}
}

func (x *Fault) readBytes(t *table) {
	switch x.Action {
	case "torn", "short":
	case "":
		return
	default:
		t.only("bytes", "torn or short", x.Action)
		return
	}
	t.missing("bytes", `write bytes = "4KiB": how much is done`)
	n, ok := t.sectors("bytes")
	switch {
	case ok && n == 0:
		t.limit("bytes", `with nothing done it is action = "eio"`, "bytes is zero")
	case ok:
		x.Bytes = n * SectorBytes
	}
}

// faults checks every fault against its disk.
func (c *checker) faults() {
	for i, x := range c.f.Faults {
		if x.Disk == "" {
			continue // it has been said
		}
		k := c.disks[x.Disk]
		at, key := c.f.place(x.Pos, "fault", i, "disk")
		if k == nil {
			c.r.error(at, key, suggest(x.Disk, c.names), "unknown disk %s", clip(x.Disk))
			continue
		}
		if !k.used && !c.unresolved && len(c.f.Devices) > 0 {
			c.r.warn(at, key, "", "no device lies on disk %q: the fault is never met", x.Disk)
		}
		if end := x.Start + x.Sectors; k.bytes != 0 && x.Sectors != 0 && end > k.bytes/SectorBytes {
			at, key := c.f.place(x.Pos, "fault", i, "range")
			c.r.error(at, key, "the disk ends at "+sectorsSize(k.bytes/SectorBytes), "range %s ends past the end of disk %q", x.Where(), x.Disk)
		}
		if x.Bytes%k.logical != 0 {
			at, key := c.f.place(x.Pos, "fault", i, "bytes")
			c.r.error(at, key, multiples(x.Bytes/k.logical*k.logical, k.logical), "bytes %s is not a multiple of the logical block of disk %q, %s", Size(x.Bytes), x.Disk, Size(k.logical))
		}
	}
}
