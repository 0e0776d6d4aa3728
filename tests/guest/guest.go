// Package guest holds the words the VM runner and the guest's init say to each other. They travel as
// one JSON object per line over the virtio-serial port named Control; the job's own output has the
// port named Output to itself, so that neither the kernel's messages nor ours mix with it.
package guest

// Names of the virtio-serial ports and of the 9p shares.
const (
	Control = "ublk-linear.control"
	Output  = "ublk-linear.output"
	Host    = "host"    // the host's root folder, read-only
	Results = "results" // the job's folder, writable
)

// ResultsDir is where the job's folder is in the guest.
const ResultsDir = "/run/results"

// BootModules is the file of the initramfs that names the modules to load first, one path a line, in
// order: what is needed to reach the control port and the shares.
const BootModules = "/boot-modules"

// ExpectMark declares, in a line written to /dev/kmsg, that what follows it is a regular expression
// for kernel messages which the run must not hold against the job from here on.
const ExpectMark = "ublk-linear vm: expect "

// StuckMark, in the kernel's log, says that power-off takes too long, and that the traces to follow
// were asked for.
const StuckMark = "ublk-linear vm: power-off is stuck"

// Job is what the guest is told to do.
type Job struct {
	Release string   // kernel release, names the module folder
	Modules string   // the module folder's path on the host
	Load    []string // modules to load before the job starts
	Path    string   // program, as the guest sees it
	Args    []string
	Env     []string
	Dir     string // working directory
}

// Order is what the host says after the job: at most one, when time is up.
type Order struct {
	Stop bool // show what hangs: the job's goroutines and the kernel's blocked tasks
}

// Event is what the guest reports. Exactly one of the fields is set.
type Event struct {
	Boot *Boot
	Exit *Exit
	Fail string // the guest could not be prepared or the job not be started
}

// Boot is sent when the guest is ready, just before the job starts.
type Boot struct {
	Release string
	Uptime  float64  // seconds since the kernel took over
	Missing []string // what modprobe said of modules of Job.Load that did not load
}

// Exit is sent when the job has ended and its output has been passed on.
type Exit struct {
	Code int // as a shell has it: 128 + signal when a signal ended the job
}
