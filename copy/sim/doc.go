// Package sim is an NVMe namespace that copies by itself, simulated: for who has no such disk, and for who wants to see what
// becomes of data on one that misbehaves.
//
// A Device lies over a Store. It takes Copy commands (opcode 19h, format 0; CopyFrom is format 2 between two namespaces),
// moves their ranges one by one in an order that its seed gives, and answers with a status and dword 0. As it is made it is
// right: conform's suite finds nothing. Every Misbehaviour is a switch with a name, for one thing that it then does wrong.
//
// In order:
//
//  1. encode refuses what cannot be said in a command (command.go).
//  2. arrive is what the command costs in time, and which list it is done by (clock.go, command.go).
//  3. refuse looks at limits and addresses (refuse.go).
//  4. execute moves blocks (execute.go, moves.go), through the write cache (cache.go).
//  5. complete is the completion as the caller gets it (command.go).
package sim
