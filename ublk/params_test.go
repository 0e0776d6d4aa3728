package ublk

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// common is a device that ublk can say all of.
func common() Spec {
	return Spec{MaxIO: 512 << 10, Sectors: 1 << 20, Limits: limits.Limits{LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 4096, MaxSectors: 2560}}
}

// said is the params of common, as the table below changes them.
func said() uapi.Params {
	return uapi.Params{Len: 152, Types: uapi.UBLK_PARAM_TYPE_BASIC,
		Basic: uapi.ParamBasic{LogicalBSShift: 9, PhysicalBSShift: 12, IOMinShift: 12, MaxSectors: 1024, DevSectors: 1 << 20}}
}

func TestParams(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, c := range []struct {
		name string
		spec func(*Spec)
		want func(*uapi.Params)
		lost string // limit value presented, of each
	}{
		{"common", func(*Spec) {}, func(*uapi.Params) {}, ""},
		{"4Kn", func(s *Spec) { s.Limits.LogicalBlock = 4096 }, func(p *uapi.Params) { p.Basic.LogicalBSShift = 12 }, ""},
		{"nothing said", func(s *Spec) { s.Limits = limits.Limits{LogicalBlock: 512} },
			func(p *uapi.Params) { p.Basic.PhysicalBSShift, p.Basic.IOMinShift = 9, 9 }, ""},
		{"stripe of two", func(s *Spec) { s.Limits.IOMin, s.Limits.IOOpt = 65536, 131072 },
			func(p *uapi.Params) { p.Basic.IOMinShift, p.Basic.IOOptShift = 16, 17 }, ""},
		{"stripe of three", func(s *Spec) { s.Limits.IOMin, s.Limits.IOOpt = 65536, 196608 },
			func(p *uapi.Params) { p.Basic.IOMinShift, p.Basic.IOOptShift = 16, 16 }, "io_opt 196608 65536"},
		{"chunk of 96 KiB", func(s *Spec) { s.Limits.IOMin, s.Limits.IOOpt = 98304, 98304*2 },
			func(p *uapi.Params) { p.Basic.IOMinShift, p.Basic.IOOptShift = 15, 16 }, "io_min 98304 32768, io_opt 196608 65536"},
		{"chunk below a physical block", func(s *Spec) { s.Limits.IOMin, s.Limits.IOOpt = 512*9, 512*18 },
			func(p *uapi.Params) { p.Basic.IOOptShift = 12 }, "io_min 4608 4096, io_opt 9216 4096"},
		{"huge", func(s *Spec) { s.Limits.IOMin, s.Limits.IOOpt = 1<<29, 1<<31 },
			func(p *uapi.Params) { p.Basic.IOMinShift, p.Basic.IOOptShift = 28, 28 }, "io_min 536870912 268435456, io_opt 2147483648 268435456"},
		{"huge physical block", func(s *Spec) { s.Limits.PhysicalBlock = 1 << 29 },
			func(p *uapi.Params) { p.Basic.PhysicalBSShift, p.Basic.IOMinShift = 28, 28 }, "physical_block_size 536870912 268435456"},
		{"chunk_sectors", func(s *Spec) { s.Limits.ChunkSectors = 128 }, func(*uapi.Params) {}, "chunk_sectors 128 0"},
		{"alignment offset", func(s *Spec) { s.Limits.AlignmentOffset, s.Limits.IOMin = 3584, 512 },
			func(p *uapi.Params) { p.Basic.PhysicalBSShift, p.Basic.IOMinShift = 9, 9 }, "physical_block_size 4096 512"},
		{"misaligned", func(s *Spec) { s.Limits.Misaligned = true },
			func(p *uapi.Params) { p.Basic.PhysicalBSShift, p.Basic.IOMinShift = 9, 9 }, "physical_block_size 4096 512"},
		{"virt boundary", func(s *Spec) { s.Limits.VirtBoundary = 4095 }, func(p *uapi.Params) { p.Basic.VirtBoundaryMask = 4095 }, ""},
		{"dma alignment", func(s *Spec) { s.Limits.DMAAlignment = 511 },
			func(p *uapi.Params) { p.Types |= uapi.UBLK_PARAM_TYPE_DMA_ALIGN; p.DMA.Alignment = 511 }, ""},
		{"dma alignment of a page and more", func(s *Spec) { s.Limits.DMAAlignment = page }, func(*uapi.Params) {}, ""},
		{"segments", func(s *Spec) {
			s.Limits.MaxSegments, s.Limits.MaxSegmentSize, s.Limits.SegBoundaryMask = 33, 65536, 1<<32-1
		},
			func(p *uapi.Params) {
				p.Types |= uapi.UBLK_PARAM_TYPE_SEGMENT
				p.Seg = uapi.ParamSegment{SegBoundaryMask: 1<<32 - 1, MaxSegmentSize: 65536, MaxSegments: 33}
			}, ""},
		{"segments below a page", func(s *Spec) { s.Limits.MaxSegments, s.Limits.MaxSegmentSize, s.Limits.SegBoundaryMask = 1, 512, 511 },
			func(p *uapi.Params) {
				p.Types |= uapi.UBLK_PARAM_TYPE_SEGMENT
				p.Seg = uapi.ParamSegment{SegBoundaryMask: 1<<32 - 1, MaxSegmentSize: page, MaxSegments: 1}
			}, ""},
		{"misaligned, of small blocks", func(s *Spec) { s.Limits.Misaligned, s.Limits.PhysicalBlock = true, 512 },
			func(p *uapi.Params) { p.Basic.PhysicalBSShift = 9 }, ""},
		{"max_sectors of the disks", func(s *Spec) { s.Limits.MaxSectors = 255 }, func(p *uapi.Params) { p.Basic.MaxSectors = 255 }, ""},
		{"max_sectors in blocks", func(s *Spec) { s.Limits.MaxSectors, s.Limits.LogicalBlock = 255, 4096 },
			func(p *uapi.Params) { p.Basic.MaxSectors, p.Basic.LogicalBSShift = 248, 12 }, ""},
		{"max_sectors below a page", func(s *Spec) { s.Limits.MaxSectors = 1 }, func(p *uapi.Params) { p.Basic.MaxSectors = page / 512 }, ""},
		{"max_sectors unknown", func(s *Spec) { s.Limits.MaxSectors = 0 }, func(*uapi.Params) {}, ""},
		{"small buffers", func(s *Spec) { s.MaxIO = 64 << 10 }, func(p *uapi.Params) { p.Basic.MaxSectors = 128 }, ""},
		{"read-only", func(s *Spec) { s.ReadOnly = true }, func(p *uapi.Params) { p.Basic.Attrs = uapi.UBLK_ATTR_READ_ONLY }, ""},
		{"read-only disk", func(s *Spec) { s.Limits.ReadOnly = true }, func(p *uapi.Params) { p.Basic.Attrs = uapi.UBLK_ATTR_READ_ONLY }, ""},
		{"rotational", func(s *Spec) { s.Limits.Rotational = true }, func(p *uapi.Params) { p.Basic.Attrs = uapi.UBLK_ATTR_ROTATIONAL }, ""},
		{"cache", func(s *Spec) { s.Limits.WriteCache = true }, func(p *uapi.Params) { p.Basic.Attrs = uapi.UBLK_ATTR_VOLATILE_CACHE }, ""},
		{"cache and FUA", func(s *Spec) { s.Limits.WriteCache, s.Limits.FUA = true, true },
			func(p *uapi.Params) { p.Basic.Attrs = uapi.UBLK_ATTR_VOLATILE_CACHE | uapi.UBLK_ATTR_FUA }, ""},
		{"FUA without cache", func(s *Spec) { s.Limits.FUA = true }, func(*uapi.Params) {}, ""},
		{"discard", func(s *Spec) { s.Limits.MaxDiscardSectors, s.Limits.DiscardGranularity = 8192, 65536 }, func(p *uapi.Params) {
			p.Types |= uapi.UBLK_PARAM_TYPE_DISCARD
			p.Discard = uapi.ParamDiscard{DiscardGranularity: 65536, MaxDiscardSectors: 8192, MaxDiscardSegments: 1}
		}, ""},
		{"write zeroes only", func(s *Spec) { s.Limits.MaxWriteZeroesSectors = 4095 }, func(p *uapi.Params) {
			p.Types |= uapi.UBLK_PARAM_TYPE_DISCARD
			p.Discard = uapi.ParamDiscard{DiscardGranularity: 512, MaxWriteZeroesSectors: 4095, MaxDiscardSegments: 1}
		}, ""},
		{"both, in blocks", func(s *Spec) {
			s.Limits.LogicalBlock, s.Limits.MaxDiscardSectors, s.Limits.MaxWriteZeroesSectors = 4096, 1<<32-1, 4095
		}, func(p *uapi.Params) {
			p.Basic.LogicalBSShift = 12
			p.Types |= uapi.UBLK_PARAM_TYPE_DISCARD
			p.Discard = uapi.ParamDiscard{DiscardGranularity: 4096, MaxDiscardSectors: 1<<32 - 8, MaxWriteZeroesSectors: 4088, MaxDiscardSegments: 1}
		}, ""},
	} {
		s, want := common(), said()
		c.spec(&s)
		c.want(&want)
		got, _ := s.params()
		if got != want {
			t.Errorf("%s: got\n%+v, want\n%+v", c.name, got, want)
		}
		var lost []string
		for _, l := range s.Presented() {
			lost = append(lost, strings.Join(strings.Fields(l.String())[:2], " ")+strings.TrimSuffix(" "+strings.Fields(l.String())[5], ":"))
			if l.Why == "" {
				t.Errorf("%s: %v has no reason", c.name, l)
			}
		}
		if got := strings.Join(lost, ", "); got != c.lost {
			t.Errorf("%s: lost %q, want %q", c.name, got, c.lost)
		}
		sane(t, c.name, &s, &got)
	}
}

// sane is what ublk_validate_params and blk_validate_limits ask of any parameters.
func sane(t *testing.T, name string, s *Spec, p *uapi.Params) {
	t.Helper()
	b := &p.Basic
	if b.LogicalBSShift < 9 || b.LogicalBSShift > b.PhysicalBSShift || b.PhysicalBSShift > 28 || b.IOMinShift > 28 || b.IOOptShift > 28 || b.IOMinShift < b.PhysicalBSShift {
		t.Errorf("%s: shifts %+v", name, b)
	}
	if b.MaxSectors > s.MaxIO/512 || b.MaxSectors < uint32(os.Getpagesize())/512 {
		t.Errorf("%s: max_sectors %d", name, b.MaxSectors)
	}
	if b.Attrs&uapi.UBLK_ATTR_FUA != 0 && b.Attrs&uapi.UBLK_ATTR_VOLATILE_CACHE == 0 {
		t.Errorf("%s: FUA without a cache", name)
	}
	if p.Types&uapi.UBLK_PARAM_TYPE_DISCARD != 0 && (p.Discard.DiscardGranularity == 0 || p.Discard.MaxDiscardSegments != 1) {
		t.Errorf("%s: %+v", name, p.Discard)
	}
}

// A driver masks the parameter types that it does not know: what it dropped is said.
func TestIgnoredParams(t *testing.T) {
	given := uapi.Params{Types: uapi.UBLK_PARAM_TYPE_BASIC | uapi.UBLK_PARAM_TYPE_DMA_ALIGN | uapi.UBLK_PARAM_TYPE_SEGMENT,
		DMA: uapi.ParamDMAAlign{Alignment: 511}, Seg: uapi.ParamSegment{MaxSegments: 33, MaxSegmentSize: 65536}}
	var s Spec
	if lost := s.ignored(given, given); len(lost) != 0 {
		t.Errorf("nothing was dropped: %v", lost)
	}
	lost := s.ignored(given, uapi.Params{Types: uapi.UBLK_PARAM_TYPE_BASIC | uapi.UBLK_PARAM_TYPE_DEVT})
	if len(lost) != 3 || lost[0].Limit != "dma_alignment" || lost[1].Value != 33 || lost[2].Presented != 1<<32-1 {
		t.Errorf("%v", lost)
	}
}

func TestInexpressibleText(t *testing.T) {
	i := Inexpressible{"io_opt", 196608, 65536, "because"}
	if got := i.String(); got != "io_opt 196608 is presented as 65536: because" {
		t.Error(got)
	}
}

// Validate lists all that is wrong, and takes the defaults for what is not said.
func TestSpecValidate(t *testing.T) {
	page := os.Getpagesize()
	for _, c := range []struct {
		name string
		spec Spec
		want []string
	}{
		{"least", Spec{Sectors: 1, Limits: limits.Limits{LogicalBlock: 512}}, nil},
		{"most", Spec{ID: 1<<20 - 1, Queues: MaxQueues, Depth: MaxDepth, MaxIO: MaxIOLimit, Sectors: 1 << 40, Limits: limits.Limits{LogicalBlock: uint32(page)}}, nil},
		{"any id", Spec{ID: -1, Sectors: 8, Limits: limits.Limits{LogicalBlock: 4096}}, nil},
		{"everything", Spec{ID: -2, Queues: 129, Depth: 4097, MaxIO: 512, Limits: limits.Limits{LogicalBlock: 520}}, []string{
			"id -2", "queues 129", "depth 4097", "max I/O 512", "logical block size 520"}},
		{"below", Spec{ID: 1 << 20, Queues: -1, Depth: -1, MaxIO: MaxIOLimit + 4096, Limits: limits.Limits{LogicalBlock: 512}}, []string{
			"id 1048576", "queues -1", "depth -1", "max I/O 1052672", "0 sectors"}},
		{"buffer", Spec{MaxIO: 65536 + 512, Sectors: 1, Limits: limits.Limits{LogicalBlock: 512}}, []string{"max I/O 66048"}},
		{"no block", Spec{Sectors: 1}, []string{"logical block size 0"}},
		{"small block", Spec{Sectors: 1, Limits: limits.Limits{LogicalBlock: 256}}, []string{"logical block size 256"}},
		{"large block", Spec{Sectors: 1 << 20, Limits: limits.Limits{LogicalBlock: uint32(page) * 2}}, []string{"larger than a page"}},
		{"odd capacity", Spec{Sectors: 15, Limits: limits.Limits{LogicalBlock: 4096}}, []string{"15 sectors"}},
	} {
		before := c.spec
		err := c.spec.Validate()
		if !reflect.DeepEqual(c.spec, before) {
			t.Errorf("%s: the spec was changed", c.name)
		}
		var lines []string
		if err != nil {
			lines = strings.Split(err.Error(), "\n")
		}
		if len(lines) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, lines, c.want)
			continue
		}
		for i := range lines {
			if !strings.Contains(lines[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.name, lines[i], c.want[i])
			}
		}
	}
}

func TestOpError(t *testing.T) {
	cause := errors.Join(ErrTooOld, os.ErrPermission)
	for _, c := range []struct {
		err  *OpError
		want string
	}{
		{&OpError{"set params", 7, os.ErrInvalid}, "ublk7 set params: invalid argument"},
		{&OpError{"open control", -1, ErrTimeout}, "ublk open control: the driver did not answer in time"},
		{&OpError{"get features", 0, cause}, "ublk0 get features: " + cause.Error()},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		var e *OpError
		if joined := errors.Join(c.err, errors.New("more")); !errors.As(joined, &e) || e != c.err || !errors.Is(joined, c.err.Err) {
			t.Errorf("%v is not reached", c.err)
		}
	}
	if err := error(&OpError{"get features", -1, cause}); !errors.Is(err, ErrTooOld) || !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrNoDriver) {
		t.Error("the causes are not reached")
	}
}
