package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// How often progress is shown.
const (
	barEvery  = 250 * time.Millisecond
	lineEvery = 5 * time.Second
)

// meter shows the progress of a copy: a bar that is drawn over itself, or a line now and then.
type meter struct {
	w     io.Writer
	bar   bool
	every time.Duration // 0: it is not shown

	mu    sync.Mutex
	last  daemon.CopyProgress
	shown time.Time
	wide  int // of what stands in the bar's line
}

// newMeter is one that says "auto", "always" or "never".
func newMeter(w io.Writer, when string) (*meter, error) {
	m := &meter{w: w, every: lineEvery, shown: time.Now()}
	switch when {
	case "auto":
		m.bar = isTerminal(w)
	case "always":
		m.bar = true
	case "never":
		m.every = 0
	default:
		return nil, usagef("--progress %q: auto, always or never", when)
	}
	if m.bar {
		m.every = barEvery
		m.shown = time.Time{}
	}
	return m, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// tell notes progress and shows it when it is time.
func (m *meter) tell(p daemon.CopyProgress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = p
	if now := time.Now(); m.every > 0 && now.Sub(m.shown) >= m.every {
		m.shown = now
		m.show()
	}
}

func (m *meter) show() {
	text := progressText(m.last)
	if !m.bar {
		fmt.Fprintln(m.w, "copy:", text)
		return
	}
	const width = 24
	full := 0
	if m.last.Total > 0 {
		full = int(float64(m.last.Bytes) / float64(m.last.Total) * width)
	}
	full = min(max(full, 0), width)
	line := "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + text
	fmt.Fprintf(m.w, "\r%-*s", m.wide, line)
	m.wide = len(line)
}

// end takes the bar away: what comes next has the line for itself.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bar && m.wide > 0 {
		fmt.Fprintf(m.w, "\r%*s\r", m.wide, "")
		m.wide = 0
	}
}

// progressText is bytes, rate, share of offload, and when it will end.
func progressText(p daemon.CopyProgress) string {
	text := fmt.Sprintf("%s of %s (%s)", about(float64(p.Bytes)), about(float64(p.Total)), percent100(p.Bytes, p.Total))
	if p.Seconds > 0 && p.Bytes > 0 {
		rate := float64(p.Bytes) / p.Seconds
		left := time.Duration(min(float64(p.Total-min(p.Bytes, p.Total))/rate, math.MaxInt32)) * time.Second
		text += fmt.Sprintf(", %s/s, %v left", about(rate), left)
	}
	return text + fmt.Sprintf(", %s offloaded", percent100(p.Offloaded, p.Offloaded+p.Emulated))
}

func percent100(part, of uint64) string {
	if of == 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", int(float64(part)/float64(of)*100))
}

// about is a number of bytes for people, in the largest unit that it has one of.
func about(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 || n >= 100 || n == math.Trunc(n) {
		return fmt.Sprintf("%.0f%s", n, units[i])
	}
	return fmt.Sprintf("%.1f%s", n, units[i])
}
