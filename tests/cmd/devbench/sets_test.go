package main

import (
	"slices"
	"testing"
)

// A set that there is none of is not a run of nothing.
func TestChoose(t *testing.T) {
	for only, want := range map[string][]string{"": setNames(), "legs": {"legs"}, "gc,served": {"served", "gc"}} {
		chosen, err := choose(only)
		var got []string
		for _, s := range chosen {
			got = append(got, s.name)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v; %v", only, got, want, err)
		}
	}
	for _, only := range []string{"nosuch", "served,", "served, gc"} {
		if got, err := choose(only); err == nil {
			t.Errorf("%q: %d sets", only, len(got))
		}
	}
}
