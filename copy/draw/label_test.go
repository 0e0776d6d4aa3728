package draw

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, room := rapid.String().Draw(t, "text"), rapid.Float64Range(0, 300).Draw(t, "room")
		got := fit(text, font, room)
		if width(got, font) > room && got != "" || !utf8.ValidString(got) || width(text, font) <= room && got != text {
			t.Fatalf("%q has %v in %v", got, width(got, font), room)
		}
		if strings.Join(strings.Fields(strings.Join(wrap(text, font, 200), "")), "") != strings.Join(strings.Fields(text), "") {
			t.Fatalf("%q", wrap(text, font, 200))
		}
	})
	for want, n := range map[string]uint64{"0 B": 0, "512 B": 512, "1536 B": 1536, "1 KiB": 1024, "20 KiB": 20480, "12.5 KiB": 12800, "3 GiB": 3 << 30, "9216.0 KiB": 9<<20 + 1} {
		if got := size(n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
