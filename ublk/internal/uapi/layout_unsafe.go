package uapi

import "unsafe"

// Sizes as the kernel headers give them: a wrong one does not compile, and the message names both.
var (
	_ [sizeCtrlCmd]struct{}  = [unsafe.Sizeof(CtrlCmd{})]struct{}{}
	_ [64]struct{}           = [unsafe.Sizeof(DevInfo{})]struct{}{}
	_ [SizeofIODesc]struct{} = [unsafe.Sizeof(IODesc{})]struct{}{}
	_ [sizeIOCmd]struct{}    = [unsafe.Sizeof(IOCmd{})]struct{}{}
	_ [32]struct{}           = [unsafe.Sizeof(ParamBasic{})]struct{}{}
	_ [20]struct{}           = [unsafe.Sizeof(ParamDiscard{})]struct{}{}
	_ [16]struct{}           = [unsafe.Sizeof(ParamDevt{})]struct{}{}
	_ [32]struct{}           = [unsafe.Sizeof(ParamZoned{})]struct{}{}
	_ [8]struct{}            = [unsafe.Sizeof(ParamDMAAlign{})]struct{}{}
	_ [16]struct{}           = [unsafe.Sizeof(ParamSegment{})]struct{}{}
	_ [16]struct{}           = [unsafe.Sizeof(ParamIntegrity{})]struct{}{}
	_ [152]struct{}          = [unsafe.Sizeof(Params{})]struct{}{}
	_ [SizeofSQE]struct{}    = [unsafe.Sizeof(SQE{})]struct{}{}
	_ [16]struct{}           = [unsafe.Sizeof(CQE{})]struct{}{}
	_ [40]struct{}           = [unsafe.Sizeof(SQRingOffsets{})]struct{}{}
	_ [40]struct{}           = [unsafe.Sizeof(CQRingOffsets{})]struct{}{}
	_ [120]struct{}          = [unsafe.Sizeof(RingParams{})]struct{}{}
	_ [24]struct{}           = [unsafe.Sizeof(GetEventsArg{})]struct{}{}
	_ [SizeofIovec]struct{}  = [unsafe.Sizeof(Iovec{})]struct{}{}
	_ [32]struct{}           = [unsafe.Sizeof(RsrcRegister{})]struct{}{}
	_ [16]struct{}           = [unsafe.Sizeof(RsrcUpdate{})]struct{}{}
)

// Offsets that a wrong field order would move without changing a size.
var (
	_ [4]struct{}   = [unsafe.Offsetof(CtrlCmd{}.QueueID)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(CtrlCmd{}.Addr)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(CtrlCmd{}.Data)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(CtrlCmd{}.DevPathLen)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(DevInfo{}.MaxIOBufBytes)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(DevInfo{}.DevID)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(DevInfo{}.Flags)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(DevInfo{}.UblksrvFlags)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(IODesc{}.StartSector)]struct{}{}
	_ [4]struct{}   = [unsafe.Offsetof(IOCmd{}.Result)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(Params{}.Basic)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(Params{}.Discard)]struct{}{}
	_ [60]struct{}  = [unsafe.Offsetof(Params{}.Devt)]struct{}{}
	_ [108]struct{} = [unsafe.Offsetof(Params{}.DMA)]struct{}{}
	_ [120]struct{} = [unsafe.Offsetof(Params{}.Seg)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(SQE{}.Off)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(SQE{}.Addr)]struct{}{}
	_ [28]struct{}  = [unsafe.Offsetof(SQE{}.OpFlags)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(SQE{}.UserData)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(SQE{}.BufIndex)]struct{}{}
	_ [44]struct{}  = [unsafe.Offsetof(SQE{}.FileIdx)]struct{}{}
	_ [48]struct{}  = [unsafe.Offsetof(SQE{}.Addr3)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(RingParams{}.SQOff)]struct{}{}
	_ [80]struct{}  = [unsafe.Offsetof(RingParams{}.CQOff)]struct{}{}
)
