package blkcopy

import (
	"cmp"
	"math"
	"slices"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// fewest counts, per pair of disks, the fewest commands that the writes of a window can have. It tries every way to cut
// each run of a destination, sector by sector.
func (m *planModel) fewest(t fataler, w *Window, writes map[remap.Place]bool, out map[[2]target.Disk]int) {
	t.Helper()
	var ps []remap.Place
	for p := range writes {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b remap.Place) int {
		return cmp.Or(cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Sector, b.Sector))
	})
	for i := 0; i < len(ps); {
		j := i + 1
		key := m.key(w, m.sourceOf[ps[i]].Disk, ps[i].Disk)
		for j < len(ps) && ps[j] == (remap.Place{Disk: ps[i].Disk, Sector: ps[j-1].Sector + 1}) && m.key(w, m.sourceOf[ps[j]].Disk, ps[j].Disk) == key {
			j++
		}
		if key[0] == emulates {
			out[key]++
		} else {
			src := make([]remap.Place, 0, j-i)
			for _, p := range ps[i:j] {
				src = append(src, m.sourceOf[p])
			}
			ranges, ranged, total, _ := m.bounds(key[0], key[1])
			unit := uint64(max(m.disks[key[0]].LogicalBlock, m.disks[key[1]].LogicalBlock, 512) / 512)
			out[key] += bruteCommands(src, ranges, ranged, total, unit)
		}
		i = j
	}
}

// bruteCommands is the fewest commands for a run of sources, over all partitions into commands at multiples of a unit,
// and of every command into ranges.
func bruteCommands(src []remap.Place, ranges int, ranged, total, unit uint64) int {
	n := len(src)
	cost := make([]int, n+1)
	need := make([]int, n+1) // ranges of [j, i)
	for i := 1; i <= n; i++ {
		cost[i] = math.MaxInt32
	}
	for j := 0; j < n; j += int(unit) {
		need[j] = 0
		for i := j + int(unit); i <= n && uint64(i-j) <= total; i += int(unit) {
			need[i] = math.MaxInt32
			for k := i - int(unit); k >= j && uint64(i-k) <= ranged; k -= int(unit) {
				if k+int(unit) < i && src[k+int(unit)].Sector != src[k].Sector+unit {
					break // [k, i) does not lie together
				}
				need[i] = min(need[i], need[k]+1)
			}
			if need[i] <= ranges {
				cost[i] = min(cost[i], cost[j]+1)
			}
		}
	}
	return cost[n]
}
