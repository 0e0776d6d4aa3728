package series

var pair2024 = &Model{
	Name:   "pair-2024",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "pair-2024"} },
}
