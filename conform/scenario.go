package conform

import "fmt"

// Scenario is one question to a target.
type Scenario struct {
	Name   string `json:"name"`
	Expect string `json:"expected"` // what a device does that conforms
	Why    string `json:"why"`      // what goes wrong where one does not
	Ref    string `json:"ref"`      // where the rule is from
	Judged string `json:"judged"`   // how it is found out

	run func(x *trial) error // nil: conforms
}

// Outcome is the answer.
type Outcome string

// The outcomes.
const (
	Conforms      Outcome = "conforms"
	Differs       Outcome = "differs"
	NotApplicable Outcome = "not applicable"
)

// Scenarios is the suite, in the order in which it runs.
func Scenarios() []Scenario {
	var out []Scenario
	for _, part := range [][]Scenario{basics, sizes, bounds, overlaps, medium, visibility, concurrency, drawn} {
		out = append(out, part...)
	}
	return out
}

// verdict is an outcome as the error of a scenario's run.
type verdict struct {
	outcome Outcome
	what    string
}

func (v verdict) Error() string { return v.what }

func differs(format string, a ...any) error { return verdict{Differs, fmt.Sprintf(format, a...)} }

func skip(format string, a ...any) error { return verdict{NotApplicable, fmt.Sprintf(format, a...)} }

// References, said once.
const (
	refCopy  = "NVM Command Set, Copy command (19h)"
	refLimit = "NVM Command Set, Copy command (19h); Identify Namespace MSSRL, MCL, MSRC"
	refDW0   = "NVM Command Set, Copy command (19h), completion dword 0"
	refDM    = "device-mapper and every caller of blkdev_copy_offload (v20, 20240520102033.9361-1-nj.shetty@samsung.com) assume it"
)
