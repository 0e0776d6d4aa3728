package config

import "slices"

// OnCrash is what becomes of a device whose server dies.
type OnCrash string

// The policies of on_crash.
const (
	CrashReissue OnCrash = "reissue" // requests under way go to the next server, new ones wait for it
	CrashQueue   OnCrash = "queue"   // requests under way fail, new ones wait for the next server
	CrashFail    OnCrash = "fail"    // requests under way and new ones fail until there is a server
	CrashRemove  OnCrash = "remove"  // the device goes with its server
)

func crashPolicies() []string {
	return []string{string(CrashReissue), string(CrashQueue), string(CrashFail), string(CrashRemove)}
}

// readOnCrash reads on_crash; "" when it is not said.
func readOnCrash(t *table) OnCrash {
	word, ok := t.str("on_crash")
	if !ok {
		return ""
	}
	if !slices.Contains(crashPolicies(), word) {
		t.limit("on_crash", suggest(word, crashPolicies()), "unknown policy %s", clip(word))
		return ""
	}
	return OnCrash(word)
}

// Crash is the policy of a device of f: what it says, or else reissue. What lies on memory goes with its server, since
// the memory does.
func (f *File) Crash(d *Device) OnCrash {
	switch {
	case f.OnMemory(d):
		return CrashRemove
	case d.OnCrash == "":
		return CrashReissue
	}
	return d.OnCrash
}

// OnMemory says whether a device lies on a disk in memory.
func (f *File) OnMemory(d *Device) bool { return f.onMemory(d) != nil }

// onMemory is a disk in memory that the device lies on, or nil.
func (f *File) onMemory(d *Device) *Disk {
	for i := range d.Segments {
		for _, l := range d.Segments[i].Legs {
			if k := f.Disk(l.Disk); k != nil && k.Kind == KindMemory {
				return k
			}
		}
	}
	return nil
}

// crash refuses a policy that cannot be kept.
func (c *checker) crash(d *Device) {
	if d.OnCrash == "" || d.OnCrash == CrashRemove {
		return
	}
	if k := c.f.onMemory(d); k != nil {
		at, key := c.f.place(d.Pos, "device", d.Name, "on_crash")
		c.r.error(at, key, `write on_crash = "remove", or leave it out`, "device %q lies on disk %q, memory that is gone when its server dies: there is nothing to come back to", d.Name, k.Name)
	}
}
