package series

var offload2026 = &Model{
	Name:   "offload-2026",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "offload-2026"} },
}
