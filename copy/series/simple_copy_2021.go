package series

var simpleCopy2021 = &Model{
	Name:   "simple-copy-2021",
	Limits: func(*World, *Device, *Options) []Value { return nil },
	Run:    func(*World, *Request, *Options) *Outcome { return &Outcome{Model: "simple-copy-2021"} },
}
