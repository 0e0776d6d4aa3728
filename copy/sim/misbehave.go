package sim

import "fmt"

// Misbehaviour is one thing that a device does otherwise than it should, or, where Allowed, otherwise than most do.
type Misbehaviour struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Why     string `json:"why"`     // why devices do it
	Allowed bool   `json:"allowed"` // no rule is against it: the suite finds nothing
	// Alone says that it is seen only where the device does all reads, writes and flushes of its data, too, as conform has
	// it: not below a served device, whose data goes past it.
	Alone bool `json:"alone"`

	trait trait
}

// trait is a misbehaviour's place in a device's switches.
type trait uint8

const (
	mssrlOver trait = iota
	mssrlUnder
	mssrlIgnored
	mclOver
	mclUnder
	mclIgnored
	msrcOver
	msrcUnder
	msrcIgnored
	mclZero
	mclBelow
	limitsLate
	lbaLate
	lbaFirstOnly
	lbaWrapped
	endOffByOne
	destinationClipped
	sizeStatus
	lbaStatus
	dw0High
	dw0Low
	dw0Missing
	successOnError
	overlapRefused
	overlapForward
	overlapBlocks
	rangesReversed
	rangesReordered
	sourcesSorted
	copiesLess
	copiesMore
	writesBefore
	nlbOnesBased
	nrOnesBased
	fuaIgnored
	fuaDropped
	flushSkips
	cachePassed
	readCacheStale
	landsTwice
	tornBlocks
	listsMixed
	hangs
	traits // how many
)

const qemu = "QEMU 10.0.2, measured"

// misbehaviours are all, in the order of a command's way through the device.
var misbehaviours = []Misbehaviour{
	{"mssrl-overstated", "a range of MSSRL blocks is refused: one less is the most", "Identify is of the silicon, and the firmware keeps a block for itself", false, false, mssrlOver},
	{"mssrl-understated", "ranges of up to twice MSSRL are copied", "Identify is of the marketing's smallest model; callers that find out come to need it", false, false, mssrlUnder},
	{"mssrl-ignored", "MSSRL is not looked at", "firmware that splits ranges by itself has no use for it", false, false, mssrlIgnored},
	{"mcl-overstated", "MCL blocks in all are refused: one less is the most", "the total is compared with >= (so do the constants of 2021 and of v6)", false, false, mclOver},
	{"mcl-understated", "commands of up to twice MCL are copied", "Identify was not changed with the buffer", false, false, mclUnder},
	{"mcl-ignored", "MCL is not looked at", "each range is looked at alone", false, false, mclIgnored},
	{"msrc-overstated", "MSRC + 1 ranges are refused: MSRC are the most", "MSRC counts from 0, and is compared as a count", false, false, msrcOver},
	{"msrc-understated", "up to twice as many ranges as MSRC + 1 are copied", "Identify was not changed with the list", false, false, msrcUnder},
	{"msrc-ignored", "MSRC is not looked at: all of the list is taken", "the list's place in memory is of the largest size anyway (the driver of 2026 does not look, either)", false, false, msrcIgnored},
	{"mcl-zero", "Identify says that MCL is 0, and every copy is refused", "a property that nobody set; " + qemu + " (nvme-cli issue 3322)", false, false, mclZero},
	{"mcl-below-mssrl", "Identify says an MCL of less than MSSRL, and enforces both", "two properties that nobody compares", false, false, mclBelow},
	{"limits-late", "MSSRL is looked at range by range, while ranges before are copied", qemu + ": a good range before one that is too long is copied, and the command refused", false, false, limitsLate},
	{"lba-late", "the sources' addresses are looked at range by range, while ranges before are copied", qemu + "; dword 0 is there for it", true, false, lbaLate},
	{"lba-first-only", "only the first source's address is looked at; behind the end is zeroes", "the check is that of a read, done once (the vectored ioctl of 2025 checks no source)", false, false, lbaFirstOnly},
	{"lba-wrapped", "addresses behind the end begin again at 0", "the address is cut to the width that the device's map has", false, false, lbaWrapped},
	{"end-off-by-one", "what touches the last block is refused", "start + length is compared with the last block in place of the first behind it", false, false, endOffByOne},
	{"destination-clipped", "of a destination past the end what is on the device is copied, with success", "it is written as a stream, which ends where the device does", false, false, destinationClipped},
	{"size-status", "a command over a limit is refused with 02h, Invalid Field", "0x183 is of a later revision than the firmware; callers that split by it do not", false, false, sizeStatus},
	{"lba-status", "an address out of range is refused with 02h, Invalid Field", "all of the list is judged by one routine with one answer", false, false, lbaStatus},
	{"dw0-high", "dword 0 is one more than the lowest range that is not copied", "it is the number of ranges that were begun", false, false, dw0High},
	{"dw0-low", "dword 0 is one less than the lowest range that is not copied", "it is the last range that is done; a caller that copies it again may read what was overwritten", false, false, dw0Low},
	{"dw0-missing", "dword 0 is 0 whatever is copied", "it was reserved for every command before, and hosts lose it, too", false, false, dw0Missing},
	{"success-on-error", "a source that cannot be read is left out, with success", "the error of an inner read is lost on its way to the completion (so the kernel's v1 of 2026: ctx->status)", false, false, successOnError},
	{"overlap-refused", "sources that overlap the destination are refused with 0x187", "the cheapest answer that is right", true, false, overlapRefused},
	{"overlap-forward", "ranges are done one after the other, though one reads what another wrote", qemu + ", format 0", false, false, overlapForward},
	{"overlap-blocks", "blocks are done one after the other, though one reads what another wrote", "a copy without a buffer for the range", false, false, overlapBlocks},
	{"ranges-reversed", "ranges are done from the last to the first, though one reads what another wrote", "one direction was made right for overlap, and it is used for the other", false, false, rangesReversed},
	{"ranges-reordered", "ranges are done in any order, though one reads what another wrote", "ranges go to the channels of the flash, and each is done when it is (SPDK does children at the same time)", false, false, rangesReordered},
	{"sources-sorted", "sources are put in order of address before they are gathered", "reads are sorted, and the place of each in the destination is not kept", false, false, sourcesSorted},
	{"copies-less", "the last block is not copied", "the last unit is flushed by the next command's data", false, false, copiesLess},
	{"copies-more", "a block behind the last one is copied, too", "a count from 0 is used as a count from 1, and corrected once too often", false, false, copiesMore},
	{"writes-before", "the block before the destination is overwritten with the block before the source", "both are rounded down to the device's page", false, false, writesBefore},
	{"nlb-ones-based", "every range is one block shorter than it is said, and the next follows at once", "NLB counts from 0, and is taken as a count", false, false, nlbOnesBased},
	{"nr-ones-based", "the last range is left out", "NR counts from 0, and is taken as a count", false, false, nrOnesBased},
	{"fua-ignored", "a copy with FUA stays in the write cache", "bit 30 is not looked at in this command", false, true, fuaIgnored},
	{"fua-dropped", "a copy with FUA copies nothing", "bit 30 is beside fields that change what is done: the command is taken for another", false, false, fuaDropped},
	{"flush-skips-copies", "a flush leaves what was copied in the write cache", "the flush walks the blocks that hosts wrote", false, true, flushSkips},
	{"cache-passed", "a copy reads past a write that is still in a small write buffer", "the copy reads the medium, and nobody asks the buffer", false, true, cachePassed},
	{"read-cache-stale", "a small read after a copy is answered from what was read before it", "writes invalidate the read cache, copies were forgotten", false, true, readCacheStale},
	{"lands-twice", "what was copied is written again behind the next write", "an inner write that timed out is sent again, and both land", false, true, landsTwice},
	{"torn-blocks", "one half of each block is copied, and later the other", "the medium's unit is smaller than the logical block, and copies do not lock it (AWUN says that they must)", false, true, tornBlocks},
	{"lists-mixed", "of two commands at once both are done by the list that came last", "one list buffer, or one context for two bios", false, false, listsMixed},
	{"hangs", "every eighth command takes 40 s more", "copies are done when there is nothing else to do; behind 30 s (nvme io_timeout) the kernel resets the controller", false, false, hangs},
}

// Misbehaviours is all that a Device can do otherwise.
func Misbehaviours() []Misbehaviour { return append([]Misbehaviour(nil), misbehaviours...) }

// switches is which of them a device has.
type switches [traits]bool

// newSwitches finds names.
func newSwitches(names []string) (s switches, err error) {
next:
	for _, n := range names {
		for i := range misbehaviours {
			if m := &misbehaviours[i]; m.Name == n {
				s[m.trait] = true
				continue next
			}
		}
		return s, fmt.Errorf("no misbehaviour %q", n)
	}
	return s, nil
}
