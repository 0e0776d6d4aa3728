package disk

import (
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxListed is how many candidates an error lists.
const maxListed = 16

// candidate is a block device that a match may mean.
type candidate struct {
	node
	id Identity
}

// findMatch is the one device that match names. None is ENODEV, several ENOTUNIQ; both list the candidates.
func findMatch(match map[string]string, o *Options) (node, error) {
	if _, err := fs.Stat(o.Sys, "class/block"); err != nil {
		return node{}, fmt.Errorf("match: %w", err)
	}
	found := candidates(match, o)
	if len(found) == 1 {
		return found[0].node, nil
	}
	var words []string
	for key, value := range sorted(match) {
		words = append(words, fmt.Sprintf("%s %q", key, value))
	}
	which := strings.Join(words, " and ")
	if len(found) > 1 {
		return node{}, fmt.Errorf("match: %d disks have %s: %s: %w", len(found), which, list(found), unix.ENOTUNIQ)
	}
	all := candidates(onlyKind(match), o)
	if len(all) == 0 {
		return node{}, fmt.Errorf("match: no disk has %s, and no other disk says what it is: %w", which, unix.ENODEV)
	}
	return node{}, fmt.Errorf("match: no disk has %s; there are %s: %w", which, list(all), unix.ENODEV)
}

// candidates are the devices of which all of match holds, by name. An empty match is every device that has
// an identity. With a partuuid, even an empty one, these are partitions, otherwise whole disks. A device
// without a length (an empty drive) or hidden (a path of NVMe multipath) is none.
func candidates(match map[string]string, o *Options) []candidate {
	entries, err := fs.ReadDir(o.Sys, "class/block")
	if err != nil {
		return nil
	}
	_, parts := match["partuuid"]
	var found []candidate
	for _, e := range entries {
		n, err := nodeOf(e.Name(), o)
		if err != nil || (n.name != n.whole) != parts {
			continue
		}
		if size := attr(o.Sys, n.name, "size"); size == "" || size == "0" || attr(o.Sys, n.whole, "hidden") == "1" {
			continue
		}
		id := readIdentity(n, o)
		if id != (Identity{}) && id.matches(match) {
			found = append(found, candidate{n, id})
		}
	}
	return found
}

func (id Identity) matches(match map[string]string) bool {
	for key, want := range match {
		got := id.value(key)
		if want == "" { // any, for candidates
			continue
		}
		if key == "partuuid" {
			if !strings.EqualFold(got, want) {
				return false
			}
		} else if got != clean(want) {
			return false
		}
	}
	return true
}

// onlyKind is the match of everything that match chooses from.
func onlyKind(match map[string]string) map[string]string {
	if _, parts := match["partuuid"]; parts {
		return map[string]string{"partuuid": ""}
	}
	return nil
}

func list(found []candidate) string {
	var s []string
	for i, c := range found {
		if i == maxListed {
			s = append(s, fmt.Sprintf("and %d more", len(found)-i))
			break
		}
		s = append(s, fmt.Sprintf("%s (%s)", c.path, c.id))
	}
	return strings.Join(s, ", ")
}

// sorted yields a map in the order of its keys.
func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
