package disk

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of scsi/sg.h.
const (
	sgIO      = 0x2285 // SG_IO
	sgToDev   = -2     // SG_DXFER_TO_DEV
	sgFromDev = -3     // SG_DXFER_FROM_DEV
)

// Of a scsiSlot's memory: the data at its start, a page of their own as some host adapters want it, then what is asked for
// and what came of it.
const (
	scsiData      = 8192
	scsiSenseAt   = scsiData
	scsiSense     = 96
	scsiCDBAt     = scsiSenseAt + scsiSense
	scsiCDB       = 16
	scsiHeaderAt  = scsiCDBAt + scsiCDB
	scsiSlotBytes = scsiHeaderAt + int(unsafe.Sizeof(sgIOHdr{}))
)

// sgIOHdr is struct sg_io_hdr.
type sgIOHdr struct {
	_            structs.HostLayout
	InterfaceID  int32
	Direction    int32
	CmdLen       uint8
	MaxSense     uint8
	IovecCount   uint16
	DataLen      uint32
	Data         uintptr
	Cmd          uintptr
	Sense        uintptr
	TimeoutMS    uint32
	Flags        uint32
	PackID       int32
	User         uintptr
	Status       uint8
	MaskedStatus uint8
	MsgStatus    uint8
	SenseWritten uint8
	HostStatus   uint16
	DriverStatus uint16
	Residual     int32
	DurationMS   uint32
	Info         uint32
}

// Size and offsets as the kernel's header gives them: a wrong one does not compile.
const sgPointer = unsafe.Sizeof(uintptr(0))

var (
	_ [64 + 24*(sgPointer/8)]struct{}                 = [unsafe.Sizeof(sgIOHdr{})]struct{}{}
	_ [12]struct{}                                    = [unsafe.Offsetof(sgIOHdr{}.DataLen)]struct{}{}
	_ [16]struct{}                                    = [unsafe.Offsetof(sgIOHdr{}.Data)]struct{}{}
	_ [16 + 3*sgPointer]struct{}                      = [unsafe.Offsetof(sgIOHdr{}.TimeoutMS)]struct{}{}
	_ [28 + 16*sgPointer/4 + 4*(sgPointer/8)]struct{} = [unsafe.Offsetof(sgIOHdr{}.Status)]struct{}{}
)

// scsiCall sends the command that s was prepared with, and waits for its end. An error is that it was not sent.
type scsiCall func(fd int, s *scsiSlot) error

// callSCSI is SG_IO. It is called once: nothing of it can be interrupted, and a command is not repeated behind its sender's
// back.
func callSCSI(fd int, s *scsiSlot) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), sgIO, uintptr(unsafe.Pointer(s.header())))
	if errno != 0 {
		return errno
	}
	return nil
}

// scsiSlot is the memory of one SCSI command.
type scsiSlot struct{ slot }

func (s *scsiSlot) bytes() int { return scsiSlotBytes }

func (s *scsiSlot) header() *sgIOHdr { return (*sgIOHdr)(unsafe.Pointer(&s.mem[scsiHeaderAt])) }

// data is what goes to the device or comes from it.
func (s *scsiSlot) data() []byte { return s.mem[:scsiData] }

// prepare makes the command: a descriptor block of at most 16 bytes, and n bytes of data that go to the device or come.
func (s *scsiSlot) prepare(cdb []byte, n int, toDevice bool, timeoutMS uint32) {
	clear(s.mem[scsiSenseAt:])
	copy(s.mem[scsiCDBAt:scsiCDBAt+scsiCDB], cdb)
	h := s.header()
	*h = sgIOHdr{
		InterfaceID: 'S', Direction: sgFromDev, CmdLen: uint8(len(cdb)), MaxSense: scsiSense, DataLen: uint32(n), TimeoutMS: timeoutMS,
		Data: uintptr(unsafe.Pointer(&s.mem[0])), Cmd: uintptr(unsafe.Pointer(&s.mem[scsiCDBAt])), Sense: uintptr(unsafe.Pointer(&s.mem[scsiSenseAt])),
	}
	if toDevice {
		h.Direction = sgToDev
	}
}

// failure is nil if the command succeeded and all its data went.
func (s *scsiSlot) failure(toDevice bool) *SCSIError {
	h := s.header()
	if h.Status == 0 && h.HostStatus == 0 && h.DriverStatus == 0 && (!toDevice || h.Residual == 0) {
		return nil
	}
	e := &SCSIError{Status: h.Status, Host: h.HostStatus, Driver: h.DriverStatus, Residual: h.Residual}
	e.sense(s.mem[scsiSenseAt:][:min(int(h.SenseWritten), scsiSense)])
	return e
}

// received is how many bytes came.
func (s *scsiSlot) received() int {
	h := s.header()
	return max(0, int(h.DataLen)-int(max(0, h.Residual)))
}

// scsiSlots is of all disks.
var scsiSlots = newSCSISlots(32)

func newSCSISlots(n int) slotPool[*scsiSlot] {
	p := make(slotPool[*scsiSlot], n)
	for i := range n {
		p <- &scsiSlot{slot{id: byte(i + 1)}}
	}
	return p
}
