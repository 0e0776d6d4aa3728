package uapi

import "structs"

// Control commands, sent to /dev/ublk-control in an SQE128.
const (
	UBLK_U_CMD_GET_QUEUE_AFFINITY  = ctrlR | 0x01
	UBLK_U_CMD_GET_DEV_INFO        = ctrlR | 0x02
	UBLK_U_CMD_ADD_DEV             = ctrlWR | 0x04
	UBLK_U_CMD_DEL_DEV             = ctrlWR | 0x05
	UBLK_U_CMD_START_DEV           = ctrlWR | 0x06
	UBLK_U_CMD_STOP_DEV            = ctrlWR | 0x07
	UBLK_U_CMD_SET_PARAMS          = ctrlWR | 0x08
	UBLK_U_CMD_GET_PARAMS          = ctrlR | 0x09
	UBLK_U_CMD_GET_FEATURES        = ctrlR | 0x13
	UBLK_U_CMD_DEL_DEV_ASYNC       = ctrlR | 0x14
	UBLK_U_CMD_START_USER_RECOVERY = ctrlWR | 0x10
	UBLK_U_CMD_END_USER_RECOVERY   = ctrlWR | 0x11
	UBLK_U_CMD_UPDATE_SIZE         = ctrlWR | 0x15
	UBLK_U_CMD_QUIESCE_DEV         = ctrlWR | 0x16
	UBLK_U_CMD_TRY_STOP_DEV        = ctrlWR | 0x17
)

// I/O commands, sent to /dev/ublkcN.
const (
	UBLK_U_IO_FETCH_REQ            = ioWR | 0x20
	UBLK_U_IO_COMMIT_AND_FETCH_REQ = ioWR | 0x21
	UBLK_U_IO_REGISTER_IO_BUF      = ioWR | 0x23
	UBLK_U_IO_UNREGISTER_IO_BUF    = ioWR | 0x24
)

// What a fetch completes with.
const (
	UBLK_IO_RES_OK    = 0
	UBLK_IO_RES_ABORT = -19 // -ENODEV
)

// UBLK_FEATURES_LEN is the only length GET_FEATURES takes.
const UBLK_FEATURES_LEN = 8

// Bounds of the driver.
const (
	UBLK_MAX_QUEUE_DEPTH = 4096
	UBLK_MAX_NR_QUEUES   = 1 << 12
)

// UBLKSRV_CMD_BUF_OFFSET is where the descriptors of queue 0 are mapped.
const UBLKSRV_CMD_BUF_OFFSET = 0

// Feature and device flags.
const (
	UBLK_F_SUPPORT_ZERO_COPY      = 1 << 0
	UBLK_F_URING_CMD_COMP_IN_TASK = 1 << 1
	UBLK_F_NEED_GET_DATA          = 1 << 2
	UBLK_F_USER_RECOVERY          = 1 << 3
	UBLK_F_USER_RECOVERY_REISSUE  = 1 << 4
	UBLK_F_UNPRIVILEGED_DEV       = 1 << 5
	UBLK_F_CMD_IOCTL_ENCODE       = 1 << 6
	UBLK_F_USER_COPY              = 1 << 7
	UBLK_F_ZONED                  = 1 << 8
	UBLK_F_USER_RECOVERY_FAIL_IO  = 1 << 9
	UBLK_F_UPDATE_SIZE            = 1 << 10
	UBLK_F_AUTO_BUF_REG           = 1 << 11
	UBLK_F_QUIESCE                = 1 << 12
	UBLK_F_PER_IO_DAEMON          = 1 << 13
	UBLK_F_BUF_REG_OFF_DAEMON     = 1 << 14
	UBLK_F_BATCH_IO               = 1 << 15
	UBLK_F_INTEGRITY              = 1 << 16
	UBLK_F_SAFE_STOP_DEV          = 1 << 17
	UBLK_F_NO_AUTO_PART_SCAN      = 1 << 18
	UBLK_F_SHMEM_ZC               = 1 << 19
)

// Device states.
const (
	UBLK_S_DEV_DEAD     = 0
	UBLK_S_DEV_LIVE     = 1
	UBLK_S_DEV_QUIESCED = 2
	UBLK_S_DEV_FAIL_IO  = 3
)

// Operations of a descriptor.
const (
	UBLK_IO_OP_READ         = 0
	UBLK_IO_OP_WRITE        = 1
	UBLK_IO_OP_FLUSH        = 2
	UBLK_IO_OP_DISCARD      = 3
	UBLK_IO_OP_WRITE_SAME   = 4
	UBLK_IO_OP_WRITE_ZEROES = 5
)

// Flags of a descriptor, in op_flags beside the operation.
const (
	UBLK_IO_F_FAILFAST_DEV       = 1 << 8
	UBLK_IO_F_FAILFAST_TRANSPORT = 1 << 9
	UBLK_IO_F_FAILFAST_DRIVER    = 1 << 10
	UBLK_IO_F_META               = 1 << 11
	UBLK_IO_F_FUA                = 1 << 13
	UBLK_IO_F_NOUNMAP            = 1 << 15
	UBLK_IO_F_SWAP               = 1 << 16
	UBLK_IO_F_NEED_REG_BUF       = 1 << 17
)

// UBLK_AUTO_BUF_REG_FALLBACK, in the flags of struct ublk_auto_buf_reg: a request whose pages cannot be registered comes all
// the same, with UBLK_IO_F_NEED_REG_BUF.
const UBLK_AUTO_BUF_REG_FALLBACK = 1 << 0

// Bits of ParamBasic.Attrs.
const (
	UBLK_ATTR_READ_ONLY      = 1 << 0
	UBLK_ATTR_ROTATIONAL     = 1 << 1
	UBLK_ATTR_VOLATILE_CACHE = 1 << 2
	UBLK_ATTR_FUA            = 1 << 3
)

// Bits of Params.Types.
const (
	UBLK_PARAM_TYPE_BASIC     = 1 << 0
	UBLK_PARAM_TYPE_DISCARD   = 1 << 1
	UBLK_PARAM_TYPE_DEVT      = 1 << 2
	UBLK_PARAM_TYPE_ZONED     = 1 << 3
	UBLK_PARAM_TYPE_DMA_ALIGN = 1 << 4
	UBLK_PARAM_TYPE_SEGMENT   = 1 << 5
)

// CtrlCmd is struct ublksrv_ctrl_cmd, the payload of a control command.
type CtrlCmd struct {
	_          structs.HostLayout
	DevID      uint32
	QueueID    uint16 // always 0xFFFF; GET_QUEUE_AFFINITY takes the queue in Data
	Len        uint16
	Addr       uint64
	Data       uint64
	DevPathLen uint16
	_          uint16
	_          uint32
}

// DevInfo is struct ublksrv_ctrl_dev_info.
type DevInfo struct {
	_             structs.HostLayout
	NrHwQueues    uint16
	QueueDepth    uint16
	State         uint16
	_             uint16
	MaxIOBufBytes uint32
	DevID         uint32
	UblksrvPID    int32
	_             uint32
	Flags         uint64
	UblksrvFlags  uint64 // the server's own, opaque to the driver
	OwnerUID      uint32
	OwnerGID      uint32
	_             uint64
	_             uint64
}

// SizeofIODesc is sizeof(struct ublksrv_io_desc): the stride of the mapped array.
const SizeofIODesc = 24

// IODesc is struct ublksrv_io_desc: what the driver asks of a tag. The driver may rewrite it after the tag's commit.
type IODesc struct {
	_           structs.HostLayout
	OpFlags     uint32
	NrSectors   uint32 // 512-byte sectors
	StartSector uint64
	Addr        uint64
}

// IOCmd is struct ublksrv_io_cmd, at offset 48 of an ordinary SQE.
type IOCmd struct {
	_      structs.HostLayout
	QID    uint16
	Tag    uint16
	Result int32
	Addr   uint64
}

// ParamBasic is struct ublk_param_basic.
type ParamBasic struct {
	_                structs.HostLayout
	Attrs            uint32
	LogicalBSShift   uint8
	PhysicalBSShift  uint8
	IOOptShift       uint8
	IOMinShift       uint8
	MaxSectors       uint32
	ChunkSectors     uint32
	DevSectors       uint64
	VirtBoundaryMask uint64
}

// ParamDiscard is struct ublk_param_discard.
type ParamDiscard struct {
	_                     structs.HostLayout
	DiscardAlignment      uint32
	DiscardGranularity    uint32
	MaxDiscardSectors     uint32
	MaxWriteZeroesSectors uint32
	MaxDiscardSegments    uint16
	_                     uint16
}

// ParamDevt is struct ublk_param_devt; the driver fills it.
type ParamDevt struct {
	_                    structs.HostLayout
	CharMajor, CharMinor uint32
	DiskMajor, DiskMinor uint32
}

// ParamZoned is struct ublk_param_zoned; present for its size.
type ParamZoned struct {
	_ structs.HostLayout
	_ [8]uint32
}

// ParamDMAAlign is struct ublk_param_dma_align.
type ParamDMAAlign struct {
	_         structs.HostLayout
	Alignment uint32 // mask
	_         [4]uint8
}

// ParamSegment is struct ublk_param_segment.
type ParamSegment struct {
	_               structs.HostLayout
	SegBoundaryMask uint64
	MaxSegmentSize  uint32
	MaxSegments     uint16
	_               [2]uint8
}

// ParamIntegrity is struct ublk_param_integrity; present for its size.
type ParamIntegrity struct {
	_ structs.HostLayout
	_ [4]uint32
}

// Params is struct ublk_params. Len says how much of it is meant: an older driver knows a shorter one and
// takes what it knows.
type Params struct {
	_         structs.HostLayout
	Len       uint32
	Types     uint32
	Basic     ParamBasic
	Discard   ParamDiscard
	Devt      ParamDevt
	Zoned     ParamZoned
	DMA       ParamDMAAlign
	Seg       ParamSegment
	Integrity ParamIntegrity
}
