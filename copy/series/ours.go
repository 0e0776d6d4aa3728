package series

var ours = &Model{
	Name:   "ublk-linear",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "ublk-linear"} },
}
