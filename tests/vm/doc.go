// Package vm runs a program on a real kernel: a stock Debian one, in a QEMU guest whose root folder is
// the host's, read-only under a throw-away overlay. It is for the tests that need ublk, device-mapper
// or NVMe where the machine has none of them, or none to spare.
//
// Install gets the programs, Cache.Kernel the kernels, and Machine.Run boots one and runs a Job in it.
// It fails the run not only by the job's exit code: a WARNING, a hung task or the like on the guest's
// console is a failure too.
//
// The machine is left as it was, but for packages installed and the cache folder.
package vm
