package series

var token2023 = &Model{
	Name:   "token-2023",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "token-2023"} },
}
