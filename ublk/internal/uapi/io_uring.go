package uapi

import "structs"

// io_uring_setup flags.
const (
	IORING_SETUP_CQSIZE        = 1 << 3
	IORING_SETUP_CLAMP         = 1 << 4
	IORING_SETUP_SUBMIT_ALL    = 1 << 7
	IORING_SETUP_COOP_TASKRUN  = 1 << 8
	IORING_SETUP_SQE128        = 1 << 10
	IORING_SETUP_SINGLE_ISSUER = 1 << 12
	IORING_SETUP_DEFER_TASKRUN = 1 << 13
	IORING_SETUP_NO_SQARRAY    = 1 << 16 // Linux 6.6
)

// io_uring_params.features.
const (
	IORING_FEAT_SINGLE_MMAP = 1 << 0
	IORING_FEAT_NODROP      = 1 << 1
	IORING_FEAT_EXT_ARG     = 1 << 8
	IORING_FEAT_NO_IOWAIT   = 1 << 17 // Linux 6.15
)

// mmap offsets.
const (
	IORING_OFF_SQ_RING = 0
	IORING_OFF_SQES    = 0x10000000
)

// io_uring_enter flags.
const (
	IORING_ENTER_GETEVENTS       = 1 << 0
	IORING_ENTER_EXT_ARG         = 1 << 3
	IORING_ENTER_REGISTERED_RING = 1 << 4
	IORING_ENTER_NO_IOWAIT       = 1 << 7
)

// Bits of *sq.flags.
const (
	IORING_SQ_CQ_OVERFLOW = 1 << 1
	IORING_SQ_TASKRUN     = 1 << 2
)

// Opcodes.
const (
	IORING_OP_NOP          = 0
	IORING_OP_READV        = 1
	IORING_OP_WRITEV       = 2
	IORING_OP_FSYNC        = 3
	IORING_OP_READ_FIXED   = 4
	IORING_OP_WRITE_FIXED  = 5
	IORING_OP_POLL_ADD     = 6
	IORING_OP_TIMEOUT      = 11
	IORING_OP_ASYNC_CANCEL = 14
	IORING_OP_FALLOCATE    = 17
	IORING_OP_READ         = 22
	IORING_OP_WRITE        = 23
	IORING_OP_URING_CMD    = 46
	IORING_OP_READV_FIXED  = 60 // Linux 6.15
	IORING_OP_WRITEV_FIXED = 61
)

// Operations of io_uring_register, and the flag that makes an empty table.
const (
	IORING_REGISTER_FILES       = 2
	IORING_REGISTER_BUFFERS2    = 15
	IORING_REGISTER_RING_FDS    = 20 // Linux 5.18
	IORING_UNREGISTER_RING_FDS  = 21
	IORING_RSRC_REGISTER_SPARSE = 1 << 0
)

// RsrcUpdate is struct io_uring_rsrc_update.
type RsrcUpdate struct {
	_      structs.HostLayout
	Offset uint32
	_      uint32
	Data   uint64
}

// RsrcRegister is struct io_uring_rsrc_register.
type RsrcRegister struct {
	_         structs.HostLayout
	Nr, Flags uint32
	_         uint64
	Data      uint64
	Tags      uint64
}

// SQE flags.
const (
	IOSQE_FIXED_FILE = 1 << 0
	IOSQE_ASYNC      = 1 << 4
)

// IORING_NOP_INJECT_RESULT has an IORING_OP_NOP complete with what its length says (Linux 6.10; ignored before).
const IORING_NOP_INJECT_RESULT = 1

// IORING_FSYNC_DATASYNC asks fdatasync of IORING_OP_FSYNC.
const IORING_FSYNC_DATASYNC = 1

// RWF_DSYNC makes one write durable before it completes.
const RWF_DSYNC = 2

// BLOCK_URING_CMD_DISCARD is _IO(0x12, 0) of blkdev.h: a discard that does not block its issuer. Linux 6.12 and up.
const BLOCK_URING_CMD_DISCARD = 0x12 << iocTypeShift

// fallocate modes.
const (
	FALLOC_FL_KEEP_SIZE  = 0x01
	FALLOC_FL_PUNCH_HOLE = 0x02
	FALLOC_FL_ZERO_RANGE = 0x10
)

// SQE is struct io_uring_sqe as this project uses it.
type SQE struct {
	_        structs.HostLayout
	Opcode   uint8
	Flags    uint8
	IOPrio   uint16
	FD       int32
	Off      uint64 // for URING_CMD: cmd_op in the low half
	Addr     uint64
	Len      uint32
	OpFlags  uint32 // rw_flags, fsync_flags, uring_cmd_flags
	UserData uint64
	BufIndex uint16
	_        uint16
	FileIdx  uint32
	Addr3    uint64 // with Pad: the 16 bytes of an ordinary SQE's command
	Pad      uint64
}

// SizeofSQE is sizeof(struct io_uring_sqe), without SQE128.
const SizeofSQE = 64

// CQE is struct io_uring_cqe.
type CQE struct {
	_        structs.HostLayout
	UserData uint64
	Res      int32
	Flags    uint32
}

// SQRingOffsets is struct io_sqring_offsets.
type SQRingOffsets struct {
	_                                                            structs.HostLayout
	Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, _r uint32
	UserAddr                                                     uint64
}

// CQRingOffsets is struct io_cqring_offsets.
type CQRingOffsets struct {
	_                                                            structs.HostLayout
	Head, Tail, RingMask, RingEntries, Overflow, CQEs, Flags, _r uint32
	UserAddr                                                     uint64
}

// RingParams is struct io_uring_params.
type RingParams struct {
	_                                                                    structs.HostLayout
	SQEntries, CQEntries, Flags, SQThreadCPU, SQThreadIdle, Features, WQ uint32
	_                                                                    [3]uint32
	SQOff                                                                SQRingOffsets
	CQOff                                                                CQRingOffsets
}

// Timespec is struct __kernel_timespec.
type Timespec struct {
	_         structs.HostLayout
	Sec, Nsec int64
}

// GetEventsArg is struct io_uring_getevents_arg.
type GetEventsArg struct {
	_         structs.HostLayout
	Sigmask   uint64
	SigmaskSz uint32
	MinWait   uint32
	Ts        uint64
}

// SizeofIovec is sizeof(struct iovec).
const SizeofIovec = 16

// Iovec is struct iovec, with the address as the kernel sees it.
type Iovec struct {
	_    structs.HostLayout
	Base uint64
	Len  uint64
}
