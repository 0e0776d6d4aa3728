// Package blkcopy copies between devices that are composed of targets: a request is checked, cut into pieces at the
// targets' edges of both devices, joined per leg and packed into the fewest commands, and executed, as offload by the disks
// where a pair of them can and by reading and writing where it cannot.
//
// A copy, in order:
//
//  1. Request says what is copied and under which policy (request.go); check finds everything that is wrong with it
//     before anything is touched (check.go).
//  2. order decides in which order, and in which direction, its runs must go so that the result is memmove's (order.go).
//  3. Plan.Next fills one Window at a time: pieces in request order, and their commands (command.go, pack.go). Memory does
//     not grow with the length of the copy.
//  4. Engine.Run executes windows, several at once where their order is free, unless others use a disk that takes little: each
//     under the Locker, offload by a Method, the rest by one scatter read per source leg and one gather write per run of the
//     destination.
//  5. Result says what was done: never more than that.
//
// The package's folder is copy; its name is not, since every file that imports it would lose the builtin.
package blkcopy
