package series

var vectored2025 = &Model{
	Name:   "vectored-2025",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "vectored-2025"} },
}
