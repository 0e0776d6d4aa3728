package bench

// Window is a while in which the guest's instructions were counted (tests/cmd/insnprof), and the run that it is a part of.
type Window struct {
	Sample             // of the whole run
	Program   string   `json:"program"`   // which the server is: the name of a build, or kublk
	Tasks     []string `json:"tasks"`     // names of the server's threads, its ring's workers among them
	Scheduler string   `json:"scheduler"` // of the device: what /sys/block/*/queue/scheduler has in brackets
	Nanos     float64  `json:"nanos"`     // how long it was, by the guest's clock
	Busy      float64  `json:"busy"`      // nanoseconds that the server ran meanwhile, by /proc/PID/task/*/schedstat
}
