package main

import "time"

// delayed is disks that answer after 10 µs, as a fast NVMe drive does, and by an interrupt: a server sleeps between giving them
// a command and its completion, where with disks that answer at once it has that when the system call returns.
func delayed(b *bencher, quick bool) error {
	if b.delay == 0 {
		b.delay = 10 * time.Microsecond
		defer func() { b.delay = 0 }()
	}
	l := &line{}
	d, err := b.disks(1, legMiB, false)
	if err != nil {
		return err
	}
	l.add(&contender{name: "bare disk", node: d[0]}, nil)
	b.stripes(l, 4, legMiB, 1, false, "zero-copy")
	if b.kublk != "" {
		d, err := b.disks(4, legMiB, false)
		l.add(nil, err)
		l.add(b.kernelServer("kublk stripe, zero-copy", 1, append([]string{"stripe", "--auto_zc"}, d...)...))
		b.bareStripe(l)
	}
	if l.err != nil {
		return l.err
	}
	jobs := []job{read1, write1, read32, mid, big}
	if quick {
		jobs = []job{read1, read32}
	}
	return b.rotate("delayed", 0, jobs, l.all)
}
