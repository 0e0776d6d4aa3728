package series

// offload2026 is Bart Van Assche's series: any source segments of one device to any destination segments of another. A bio
// for each of them goes down to the bottom device, which only collects them (translate); when all are there, the first is
// sent, and the driver picks up the others (copy).
//
// One source and one destination segment are taken for copy_file_range() on O_DIRECT files, which waits, and reads and
// writes (splice) after any error. More are taken for blkdev_copy_offload() as nvmet calls it, with a callback: what it
// refuses is read and written by blkdev_copy_onload(); what fails later is the caller's error.
var offload2026 = &Model{
	Name:    "offload-2026",
	Title:   "Block storage copy offloading",
	Author:  "Bart Van Assche",
	Posted:  "2026-04-24",
	Message: "20260424224201.1949243-1-bvanassche@acm.org",
	Defects: []Defect{
		{oLost, "the status of the device's bio is not looked at: an error of the device is success",
			"20260424224201.1949243-4-bvanassche@acm.org, blkdev_req_op_copy_done: ctx->status, never bio->bi_status"},
		{oSync, "the synchronous form answers with a status that nobody sets: always 0",
			"…-4-…, blkdev_copy_sync: ctx.status"},
		{oCount, "contexts are counted up for every source bio and down for every context: with two sources it never ends",
			"…-4-…, blkdev_copy_chunk: atomic_inc(copy_ctx_count) is in the loop over sources"},
		{oSplit, "a bio that crosses an edge is not refused with EOPNOTSUPP: dm splits it, every part is counted down, and translation ends early",
			"…-4-…, bio_count in blkdev_copy_chunk, against 02/12, submit_bio_noacct"},
		{oNull, "when translation fails for every bio, the empty list is followed",
			"…-4-…, blkdev_translation_complete: ctx->bios"},
		{oNoMem, "-ENOMEM is added to the offset: the loop goes on, and after the last segment an empty context is completed",
			"…-4-…, blkdev_copy_offload: offset += chunk"},
		{oOwner, "only the driver is compared: between two namespaces the first source's is used for both sides, and the wrong device is overwritten",
			"…-4-…, blkdev_translation_complete: fops->owner; 08/12, nvme_setup_copy_offload: TO DO, derive dst_ns from dst_bio"},
		{oInherit, "the opt-in flag is inherited from below: any target over a dm-linear device advertises copying, crypt too",
			"01/12, BLK_FEAT_INHERIT_MASK; 10/12, dm_calculate_queue_limits"},
		{oMD, "md, drbd and nvme-mpath begin from the stacking limits and need no flag: md advertises copying, and remaps only the bio that it is given",
			"01/12, blk_set_stacking_limits; drivers/md/md.c"},
		{oMember, "onload: the write's work item is taken for the read's, and the context found from it is not one",
			"04/12, blkdev_write_work: container_of(work, …, read_work)"},
		{oClip, "onload: a chunk ends with the source's segment but not with the destination's, and is written past it",
			"04/12, blkdev_offset_to_out_pos"},
		{oLeak, "onload: buffer and context are never freed",
			"04/12, blkdev_read_work"},
		{oNoEnd, "onload: the callback is called without asking whether there is one",
			"04/12, blkdev_read_work: params->end_io"},
		{oStack, "nvmet: the parameters are on the stack and the segments are freed when the function returns, while commands are in flight",
			"09/12, nvmet_bdev_execute_copy"},
		{oTwice, "nvmet: the -EIOCBQUEUED of onload is taken for an error: the request is completed at once, and again by the callback",
			"09/12, nvmet_bdev_execute_copy"},
		{oPut, "no bio is ever put: every one leaks",
			"…-4-…, blkdev_req_op_copy_done"},
		{oMSRC, "256 sources are sent to a device whatever MSRC it says",
			"08/12, nvme_config_copy"},
		{oCap, "copy_max_bytes takes what is no multiple of the logical block (v20 refused it): chunks of part of a block, and below 512 no copying",
			"01/12, queue_copy_max_store; against 20240520102033.9361-2-nj.shetty@samsung.com"},
		{oShift, "copy_max_bytes and copy_max_hw_bytes are computed in 32 bits: 4 GiB shows as 0",
			"01/12, queue_copy_hw_max_show"},
		{oEnd, "a bio that ends past the device is not counted down: translation never ends",
			"02/12, submit_bio_noacct: bio_check_eod comes first"},
	},
	Limits: offloadLimits,
	Run:    runOffload,
}

// The defects of the posted code, as they are numbered in the facts about it; 10 and 11 are several, the last is ours.
const (
	oLost    = "lost-device-error"            // 1
	oSync    = "sync-status-never-set"        // 2
	oCount   = "context-count-per-source"     // 3
	oSplit   = "split-at-an-edge"             // 4
	oNull    = "no-bio-translated"            // 5
	oNoMem   = "enomem-added-to-offset"       // 6
	oOwner   = "same-driver-is-enough"        // 7
	oInherit = "inherited-flag"               // 8
	oMD      = "md-without-opt-in"            // 9
	oMember  = "onload-wrong-work"            // 10
	oClip    = "onload-past-the-segment"      // 10
	oLeak    = "onload-leak"                  // 10
	oNoEnd   = "onload-null-callback"         // 10
	oStack   = "nvmet-parameters-on-stack"    // 11
	oTwice   = "nvmet-completes-twice"        // 11
	oPut     = "bios-never-put"               // 12
	oMSRC    = "msrc-not-consulted"           // 13
	oCap     = "copy-max-bytes-not-rounded"   // 14
	oShift   = "copy-max-bytes-wraps-at-4gib" // 15
	oEnd     = "past-the-end-never-completes"
)
