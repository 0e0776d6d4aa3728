// Package fault says which commands to disks fail, come late or stay out, by rules that a test wrote. It does no I/O: whoever
// sends commands asks before each one, and does what the Action says.
//
// The same rules, asked for the same commands in the same order, give the same answers, whatever the time or the machine.
package fault
