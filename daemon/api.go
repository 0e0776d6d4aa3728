package daemon

import "time"

// Schema is the version of every JSON object here.
const Schema = 1

// DeviceInfo is one device, as `ls` and `status` print it and the control socket gives it.
type DeviceInfo struct {
	Name   string `json:"name"`
	Node   string `json:"node"` // /dev/ublkbN
	Link   string `json:"link"` // /dev/ublk-linear/NAME
	ID     int    `json:"id"`
	State  string `json:"state"` // live, suspended, failed; of an orphan, the driver's word
	Bytes  uint64 `json:"bytes"`
	PID    int    `json:"pid"`    // of the server; 0: it is gone
	Config string `json:"config"` // the file; "" for an orphan whose file is not known

	Suspended float64 `json:"suspended_seconds,omitempty"` // until a suspended device resumes by itself
	Recovered bool    `json:"recovered,omitempty"`         // taken over from a server that died, or was replaced
}

// Status is one device in full.
type Status struct {
	Schema int `json:"schema"`
	DeviceInfo
	Sectors       uint64             `json:"sectors"`
	ReadOnly      bool               `json:"read_only"`
	Queues        int                `json:"queues"`
	Depth         int                `json:"depth"`
	MaxIO         uint32             `json:"max_io_bytes"`
	DataPath      string             `json:"data_path"`
	Features      []string           `json:"features"` // the driver's flags of this device
	Table         string             `json:"table"`
	Disks         []DiskStatus       `json:"disks"`
	IO            map[string]IOCount `json:"io"` // by operation
	Errors        uint64             `json:"errors"`
	Commands      uint64             `json:"commands"` // sent to disks
	Retries       uint64             `json:"retries"`  // commands sent again: short transfers and EAGAIN
	Inexpressible []string           `json:"inexpressible"`
	Copies        []CopyInfo         `json:"copies"`  // under way, from or to the device
	Stalled       []StallInfo        `json:"stalled"` // commands that a disk has had for long
	Process       ProcessInfo        `json:"process"` // of the server
	Failure       string             `json:"failure,omitempty"`
	Faults        []FaultStatus      `json:"faults,omitempty"` // injected into the device's disks
}

// FaultStatus is a [[fault]] of the file, and what it has done since the server was started.
type FaultStatus struct {
	Line    int    `json:"line"` // of the file
	Disk    string `json:"disk"`
	Op      string `json:"op"`
	Range   string `json:"range"` // START+LENGTH, or all
	When    string `json:"when"`
	Action  string `json:"action"`
	Matched uint64 `json:"matched"` // commands of the disk, op and range
	Hits    uint64 `json:"hits"`    // of them, those that it acted on
}

// IOCount counts the requests of one operation since the device was started.
type IOCount struct {
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`
}

// DiskStatus is a disk that a device uses.
type DiskStatus struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Node   string `json:"node"`
	Bytes  uint64 `json:"bytes"`
	Serial string `json:"serial,omitempty"`
	WWID   string `json:"wwid,omitempty"`

	// With on_disk_loss = "park:…", whether the disk is there, since when not, and how many commands of the device wait for it.
	State    string      `json:"state,omitempty"` // present, parked or lost; "": nobody watches it
	Since    *time.Time  `json:"since,omitempty"`
	Parked   int         `json:"parked,omitempty"`
	Returned *DiskReturn `json:"returned,omitempty"` // the last time it was gone; nil: never

	// Of all devices of this server that lie on the disk, since it was opened; copies' own commands are not among it.
	IO        map[string]DiskIO `json:"io"`                   // by operation
	LastError *DiskError        `json:"last_error,omitempty"` // nil: none
}

// List is what `ls` prints.
type List struct {
	Schema  int          `json:"schema"`
	Devices []DeviceInfo `json:"devices"`
}

// DownRequest asks a server to stop.
type DownRequest struct {
	Force bool `json:"force"` // also devices that are mounted or open
}

// DownResult is what was stopped.
type DownResult struct {
	Schema  int          `json:"schema"`
	Stopped []DeviceInfo `json:"stopped"`
}

// apiError is a failed call.
type apiError struct {
	Error string `json:"error"`
	Busy  bool   `json:"busy,omitempty"`

	// Of a copy that is refused: the word for why, and everything that is wrong.
	Refused  string   `json:"refused,omitempty"`
	Problems []string `json:"problems,omitempty"`
}
