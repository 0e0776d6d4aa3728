package conform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Surroundings is what lies around a region, as it was before a run.
type Surroundings struct {
	read  func(p []byte, at uint64) error
	block uint64
	parts []part
}

// part is a stretch beside the region, in bytes of the device. Of a near one the bytes are kept, of a far one a checksum.
type part struct {
	at, n uint64
	near  []byte
	sum   [sha256.Size]byte
}

// Bytes beside the region, on each side, of which the content is kept, and beyond that of which a checksum is.
const (
	nearBytes = 1 << 20
	farBytes  = 16 << 20
)

// Surround reads what is around the bytes from start of a device of size bytes.
func Surround(ctx context.Context, read func(p []byte, at uint64) error, block, size, start, length uint64) (*Surroundings, error) {
	s := &Surroundings{read: read, block: block}
	end := start + length
	near := min(nearBytes, start)
	far := min(farBytes, start-near)
	s.parts = append(s.parts, part{at: start - near - far, n: far}, part{at: start - near, n: near, near: []byte{}})
	near = min(nearBytes, size-end)
	far = min(farBytes, size-end-near)
	s.parts = append(s.parts, part{at: end, n: near, near: []byte{}}, part{at: end + near, n: far})
	for i := range s.parts {
		p := &s.parts[i]
		b, sum, err := s.content(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("surroundings: %w", err)
		}
		p.near, p.sum = b, sum
	}
	return s, nil
}

// content reads a part; of a far one only the checksum is returned.
func (s *Surroundings) content(ctx context.Context, p *part) (kept []byte, sum [sha256.Size]byte, err error) {
	h, buf := sha256.New(), make([]byte, chunk)
	for at := p.at; at < p.at+p.n; {
		if err := ctx.Err(); err != nil {
			return nil, sum, err
		}
		b := buf[:min(p.at+p.n-at, chunk)]
		if err := s.read(b, at); err != nil {
			return nil, sum, err
		}
		_, _ = h.Write(b)
		if p.near != nil {
			kept = append(kept, b...)
		}
		at += uint64(len(b))
	}
	if p.near != nil && kept == nil {
		kept = []byte{}
	}
	return kept, [sha256.Size]byte(h.Sum(nil)), nil
}

// Evidence is the surroundings before and after.
type Evidence struct {
	Untouched bool             `json:"untouched"`
	Parts     []EvidencePart   `json:"parts"`
	Changed   []EvidenceBlocks `json:"changed"` // of the parts whose bytes were kept, the first 16
}

// EvidencePart is a stretch beside the region.
type EvidencePart struct {
	Start  uint64 `json:"start"` // byte of the device
	Bytes  uint64 `json:"bytes"`
	Before string `json:"sha256_before"`
	After  string `json:"sha256_after"`
}

// EvidenceBlocks is a run of blocks that changed.
type EvidenceBlocks struct {
	Start uint64 `json:"start"` // byte of the device
	Bytes uint64 `json:"bytes"`
}

// Check reads them again.
func (s *Surroundings) Check(ctx context.Context) (*Evidence, error) {
	e := &Evidence{Untouched: true, Parts: []EvidencePart{}, Changed: []EvidenceBlocks{}}
	for i := range s.parts {
		p := &s.parts[i]
		if p.n == 0 {
			continue
		}
		now, sum, err := s.content(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("surroundings: %w", err)
		}
		e.Parts = append(e.Parts, EvidencePart{p.at, p.n, hex.EncodeToString(p.sum[:]), hex.EncodeToString(sum[:])})
		if sum != p.sum {
			e.Untouched = false
			e.changed(p, now, s.block)
		}
	}
	return e, nil
}

// changed notes the blocks that are others.
func (e *Evidence) changed(p *part, now []byte, block uint64) {
	for at := uint64(0); at < uint64(len(now)); at += block {
		end := min(at+block, uint64(len(now)))
		if bytes.Equal(p.near[at:end], now[at:end]) {
			continue
		}
		if n := len(e.Changed); n > 0 && e.Changed[n-1].Start+e.Changed[n-1].Bytes == p.at+at {
			e.Changed[n-1].Bytes += end - at
		} else if n < 16 {
			e.Changed = append(e.Changed, EvidenceBlocks{p.at + at, end - at})
		}
	}
}

// Words is one line for people.
func (e *Evidence) Words() string {
	var total uint64
	for _, p := range e.Parts {
		total += p.Bytes
	}
	if e.Untouched {
		return fmt.Sprintf("untouched: %d bytes around the region have the SHA-256 that they had before", total)
	}
	s := "CHANGED:"
	for _, p := range e.Parts {
		if p.Before != p.After {
			s += fmt.Sprintf(" of the %d bytes at %d,", p.Bytes, p.Start)
		}
	}
	for _, c := range e.Changed {
		s += fmt.Sprintf(" %d bytes at %d,", c.Bytes, c.Start)
	}
	return s[:len(s)-1]
}
