// Package series has the kernel's copy designs as executable models, one file each, with the source of every rule beside
// it. Given disks, tables and a request, a model says what the posted patches would have done: the limits they advertise,
// whether the request is accepted and with which errno not, the bios and the device commands in order, and the result as
// the caller sees it.
//
// Where the posted code differs from its own description, a model does what is described; Options.Defects switches on the
// code, one known defect at a time, or all of them (as posted).
//
// The models do no I/O and know nothing of time: devices answer by World.Answer.
package series
