package draw

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// most is how many windows a request is at most divided into when its bands are added up.
const most = 64

// sum adds bands up until there are at most MaxBands: those of one pair of disks and of one fate that begin in one window of
// the request become one, from the first to the last sector of all of them. window is the length of a window in sectors, 0
// if nothing was added up; left is how many of the bands that came out are still too many, the smallest, and not drawn.
func sum(in []band, total uint64) (out []band, window uint64, left int) {
	if len(in) <= MaxBands {
		return in, 0, 0
	}
	for n := uint64(most); ; n /= 2 {
		window = (total + n - 1) / n
		if out = sumBy(in, window); len(out) <= MaxBands {
			return out, window, 0
		}
		if n == 1 {
			break
		}
	}
	slices.SortStableFunc(out, func(a, b band) int { return cmp.Compare(b.sectors, a.sectors) })
	left = len(out) - MaxBands
	return out[:MaxBands], window, left
}

func sumBy(in []band, window uint64) []band {
	type key struct {
		window   uint64
		src, dst target.Disk
		kind     kind
	}
	at := map[key]int{}
	var out []band
	for _, b := range in {
		k := key{b.offset / window, b.src.Disk, b.dst.Disk, b.kind}
		i, ok := at[k]
		if !ok {
			at[k] = len(out)
			out = append(out, b)
			continue
		}
		o := &out[i]
		o.src.Range, o.dst.Range = hull(o.src.Range, b.src.Range), hull(o.dst.Range, b.dst.Range)
		o.from, o.to = hull(o.from, b.from), hull(o.to, b.to)
		o.pieces += b.pieces
		o.sectors += b.sectors
	}
	return out
}

// hull is from the first sector of both to the last.
func hull(a, b target.Range) target.Range {
	if a.Len == 0 || b.Len == 0 {
		return target.Range{Start: max(a.Start, b.Start), Len: max(a.Len, b.Len)}
	}
	lo := min(a.Start, b.Start)
	return target.Range{Start: lo, Len: max(a.End(), b.End()) - lo}
}
