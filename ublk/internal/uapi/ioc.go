package uapi

// The parts of _IOC in include/uapi/asm-generic/ioctl.h.
const (
	iocWrite     = 1
	iocRead      = 2
	iocTypeShift = 8
	iocSizeShift = 16
	iocDirShift  = 30
)

const (
	sizeCtrlCmd = 32 // sizeof(struct ublksrv_ctrl_cmd), asserted in layout_unsafe.go
	sizeIOCmd   = 16 // sizeof(struct ublksrv_io_cmd)
)

const (
	ctrlR  = iocRead<<iocDirShift | sizeCtrlCmd<<iocSizeShift | 'u'<<iocTypeShift
	ctrlWR = (iocRead|iocWrite)<<iocDirShift | sizeCtrlCmd<<iocSizeShift | 'u'<<iocTypeShift
	ioWR   = (iocRead|iocWrite)<<iocDirShift | sizeIOCmd<<iocSizeShift | 'u'<<iocTypeShift
)
