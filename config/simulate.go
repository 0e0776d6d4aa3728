package config

import (
	"fmt"
	"math"
	"time"
)

// Simulate is how a disk in memory that copies by method "nvme" does it: as a simulated NVMe namespace.
type Simulate struct {
	Misbehave []string      // names of Misbehaviours, each once
	Latency   time.Duration // of a command, up to an hour
	Rate      Size          // per second, of all commands together; 0: no bound
	Seed      uint64
}

// Misbehaviours are the names that misbehave takes, in the order of copy/sim, which has what they mean.
func Misbehaviours() []string {
	return []string{
		"mssrl-overstated", "mssrl-understated", "mssrl-ignored", "mcl-overstated", "mcl-understated", "mcl-ignored",
		"msrc-overstated", "msrc-understated", "msrc-ignored", "mcl-zero", "mcl-below-mssrl",
		"limits-late", "lba-late", "lba-first-only", "lba-wrapped", "end-off-by-one", "destination-clipped",
		"size-status", "lba-status", "dw0-high", "dw0-low", "dw0-missing", "success-on-error",
		"overlap-refused", "overlap-forward", "overlap-blocks", "ranges-reversed", "ranges-reordered", "sources-sorted",
		"copies-less", "copies-more", "writes-before", "nlb-ones-based", "nr-ones-based",
		"fua-ignored", "fua-dropped", "flush-skips-copies", "cache-passed", "read-cache-stale", "lands-twice",
		"torn-blocks", "lists-mixed", "hangs",
	}
}

// simulateKeys are the keys of [disk.X.copy] for disks that are simulated.
func simulateKeys() []string { return []string{"misbehave", "latency", "rate", "seed"} }

// Simulated says whether the disk copies as a simulated NVMe namespace.
func (d *Disk) Simulated() bool {
	return d.Kind == KindMemory && d.Copy != nil && d.Copy.Method == "nvme"
}

// maxLatency bounds latency: a command cannot be taken back.
const maxLatency = time.Hour

// readSimulate reads the keys of [disk.X.copy] that only a simulated disk has.
func readSimulate(t *table, d *Disk, c *CopyOverride) {
	s := &c.Simulate
	for _, k := range simulateKeys() {
		v, ok := t.get(k)
		switch {
		case !ok:
		case d.Kind != KindMemory:
			t.r.error(v.key, v.path, "leave it out, or simulate the disk: memory = SIZE", "%s is for disks in memory, disk %q is one by %s", k, d.Name, d.Kind)
		case c.Method != "nvme":
			t.r.error(v.key, v.path, `say method = "nvme" beside it`, "%s is for a simulated copy by method nvme", k)
		}
	}
	s.Misbehave = t.misbehaviours()
	if text, ok := t.str("latency"); ok {
		v, err := time.ParseDuration(text)
		switch {
		case err != nil:
			t.limit("latency", `write it as "250us", "2ms" or "1.5s"`, "latency %s is not a time", clip(text))
		case v < 0 || v > maxLatency:
			t.limit("latency", fmt.Sprintf("use a time from 0s to %v", maxLatency), "latency %s is out of range", clip(text))
		default:
			s.Latency = v
		}
	}
	if n, ok := t.size("rate"); ok {
		if n == 0 {
			t.limit("rate", "leave it out for no bound", "rate is zero: nothing would ever be copied")
		} else {
			s.Rate = n
		}
	}
	if n, ok := t.integer("seed", 0, math.MaxInt64); ok {
		s.Seed = uint64(n)
	}
}

// misbehaviours reads the optional list of names.
func (t *table) misbehaviours() (out []string) {
	v, ok := t.get("misbehave")
	if !ok {
		return nil
	}
	names, ok := list(v)
	if !ok {
		t.r.wrongType(v, "a list of names", `write misbehave = ["overlap-forward"]`)
		return nil
	}
	seen := map[string]bool{}
	for i, raw := range names {
		e := v.elem(i, raw)
		name, ok := raw.(string)
		switch {
		case !ok:
			t.r.wrongType(e, "a name", `write misbehave = ["overlap-forward"]`)
		case !isMisbehaviour(name):
			t.r.error(e.at, e.path, suggest(name, Misbehaviours()), "unknown misbehaviour %s", clip(name))
		case seen[name]:
			t.r.error(e.at, e.path, "once is enough", "misbehaviour %s is said twice", name)
		default:
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// CheckMisbehaviour refuses a name that is none, with the nearest that is.
func CheckMisbehaviour(name string) error {
	if isMisbehaviour(name) {
		return nil
	}
	return fmt.Errorf("unknown misbehaviour %s: %s", clip(name), suggest(name, Misbehaviours()))
}

func isMisbehaviour(name string) bool {
	for _, n := range Misbehaviours() {
		if n == name {
			return true
		}
	}
	return false
}
