// Package conform judges devices that copy: it sends a suite of scenarios to a Target and says of each whether what happened
// is what was to be expected, and why it matters where it is not.
//
// A Target is a region of something that copies: the reference model (Model), a region of an NVMe namespace (Device), a
// simulated disk or anything else with a blkcopy.Method (Command), two files of a directory (Files). Everything in the region
// is overwritten; nothing outside it is, which Surroundings proves.
//
// Every scenario works on an arena of blocks of which each holds a content of its own (pattern.go), so that what is found
// says where it came from. After every copy the whole arena is read and compared with a shadow, to which the same copy was
// done as memmove would: what is around the destination, and the source, are judged each time.
//
// Statuses are NVMe's, 11 bits without the "do not retry" and "more" bits above them. The expectations are those of the NVMe
// Copy command (opcode 19h, NVM Command Set) as docs/conform.md and the scenarios themselves give them.
package conform
