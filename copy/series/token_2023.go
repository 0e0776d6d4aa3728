package series

// Constants of the ioctl (include/uapi/linux/fs.h of v6). Both checks are >=, so that the named number is refused too.
const (
	tokenMaxRanges = 1 << 12 // MAX_COPY_NR_RANGE
	tokenMaxBytes  = 1 << 27 // MAX_COPY_TOTAL_LENGTH
)

// Defects of v6.
const (
	tokenPastFailure = "comp-len-past-failure"
	tokenZonedHang   = "zoned-read-error-hangs"
	tokenClamp       = "clamp-in-sectors"
)

var token2023 = &Model{
	Name:    "token-2023",
	Title:   "token: a read bio fills a page, a write bio with the same page copies",
	Author:  "Nitesh Shetty",
	Posted:  "2023-01-12",
	Message: "20230112115908.23662-1-nj.shetty@samsung.com",
	Defects: []Defect{{
		Name: tokenPastFailure,
		What: "comp_len counts the failed bio too where the block layer has moved the bio on before it completes: on a device that is not stacked. What follows begins behind it",
		Ref:  "<20230112115908.23662-3-nj.shetty@samsung.com>, blk_copy_offload_write_end_io and _read_end_io: bi_iter.bi_sector after req_bio_endio has advanced the bio",
	}, {
		Name: tokenZonedHang,
		What: "on a zoned destination a read bio that fails stays at the head of the list of writes, and no write behind it is ever sent",
		Ref:  "<20230112115908.23662-3-nj.shetty@samsung.com>, blk_copy_offload_read_end_io: err_rw_bio does not take ctx off cio->list",
	}, {
		Name: tokenClamp,
		What: "the hardware limit is clamped to 2^27 sectors, and MAX_COPY_TOTAL_LENGTH is in bytes",
		Ref:  "<20230329104142.GA11932@green5> (Le Moal and Shetty on v8 1/9), blk_queue_max_copy_sectors_hw",
	}},
	Limits: tokenLimits,
	Run:    runToken,
}

// tokenMax are the limits of a device, in sectors: what its hardware does, and with the administrator's caps. Both are
// stacked by min (blk_stack_limits), so that a leg's cap is inherited, in contrast to v20.
func tokenMax(w *World, d *Device, o *Options) (hw, most uint64) {
	l, user := w.copyLimits(d, Copy2023)
	if hw = uint64(l.MaxSectors); !o.Has(tokenClamp) {
		hw = min(hw, tokenMaxBytes/512)
	}
	return hw, min(hw, user)
}

// tokenLimits are the files of queue/ (1/9, block/blk-sysfs.c).
func tokenLimits(w *World, d *Device, o *Options) []Value {
	hw, most := tokenMax(w, d, o)
	return []Value{
		{"copy_offload", min(hw, 1), "bool"},
		{"copy_max_bytes", most * 512, "bytes"},
		{"copy_max_bytes_hw", hw * 512, "bytes"},
	}
}

// hostChunk is how many sectors are read and written at a time where a design takes max_hw_sectors of both queues: that of
// QEMU's NVMe. A World does not say it.
const hostChunk = 1024
