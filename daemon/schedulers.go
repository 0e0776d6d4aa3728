package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	schedulerWait = 10 * time.Second // for a device to lose its scheduler
	reapWait      = time.Second      // for a writer without work to end
)

// schedulers takes the I/O schedulers of new devices out, by a process that does so for all devices that are started at a
// time (scheduler.go has why). The zero value leaves them.
type schedulers struct {
	command []string // nil: they stay
	limit   time.Duration
	log     *slog.Logger
	writers sync.WaitGroup // that are not reaped

	mu     sync.Mutex
	writer *writer           // guarded by mu; nil: none is there to be asked
	asked  map[string]*asked // guarded by mu; by name, whom nobody has waited for
}

// asked is a device whose scheduler is to go.
type asked struct {
	done  chan struct{} // closed when it has, or could not
	err   error         // behind done
	until time.Time
}

// writer is the process, or what is to become it.
type writer struct {
	in   *os.File // what it is asked
	open map[string]*asked
}

// ask begins with a device, by its kernel name. It does not wait.
func (c *schedulers) ask(name string) {
	if c.command == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &asked{done: make(chan struct{}), until: time.Now().Add(c.limit)}
	if c.asked == nil {
		c.asked = map[string]*asked{}
	}
	c.asked[name] = a
	var err error
	if c.writer == nil {
		c.writer, err = c.start()
	}
	if err == nil {
		c.writer.open[name] = a
		_ = c.writer.in.SetWriteDeadline(a.until)
		if _, err = fmt.Fprintln(c.writer.in, name); err != nil {
			delete(c.writer.open, name)
		}
	}
	if err != nil {
		a.err = err
		close(a.done)
	}
}

// start makes a writer. The process itself is started beside the caller: the program is read from a disk. The caller has mu.
func (c *schedulers) start() (*writer, error) {
	in, mine, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answers, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), mine.Close())
	}
	h := &writer{in: mine, open: map[string]*asked{}}
	cmd := exec.Command(c.command[0])
	cmd.Args = append([]string{"ublk-linear"}, c.command[1:]...)
	// Nothing of the server's: no folder that lies on a disk, no stderr that somebody reads to its end. No Pdeathsig: it is
	// of use when the server is gone.
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdin, cmd.Stdout = in, out
	c.writers.Go(func() {
		err := cmd.Start()
		_, _ = in.Close(), out.Close()
		if err == nil {
			c.hear(h, answers)
			err = cmd.Wait()
		}
		_ = answers.Close()
		c.gone(h, err)
	})
	return h, nil
}

// hear takes a writer's answers, to its end.
func (c *schedulers) hear(h *writer, answers io.Reader) {
	for lines := bufio.NewScanner(answers); lines.Scan(); {
		name, why, failed := strings.Cut(lines.Text(), " ")
		c.mu.Lock()
		if a := h.open[name]; a != nil {
			if failed {
				a.err = errors.New(why)
			}
			close(a.done)
			delete(h.open, name)
		}
		c.mu.Unlock()
	}
}

// gone is a writer that has ended, or never begun.
func (c *schedulers) gone(h *writer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer == h {
		c.writer = nil
		_ = h.in.Close()
	}
	for name, a := range h.open {
		if a.err = err; err == nil {
			a.err = errors.New("the writer has not answered")
		}
		close(a.done)
		delete(h.open, name)
	}
}

// wait waits until a device that ask was called for has lost its scheduler, for a bounded time. It is told of in the log if
// it has not, and works all the same.
func (c *schedulers) wait(ctx context.Context, name string) {
	c.mu.Lock()
	a := c.asked[name]
	delete(c.asked, name)
	c.mu.Unlock()
	if a == nil {
		return
	}
	t := time.NewTimer(time.Until(a.until))
	defer t.Stop()
	var err error
	select {
	case <-a.done:
		err = a.err
	case <-t.C:
		err = fmt.Errorf("not done after %v, and goes on", c.limit)
	case <-ctx.Done():
		return
	}
	if err != nil {
		c.log.Warn("the device's I/O scheduler is not taken out", "device", name, "err", err)
	}
}

// settle waits for all devices, and lets the writer end.
func (c *schedulers) settle(ctx context.Context) {
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.asked))
	c.mu.Unlock()
	for _, name := range names {
		c.wait(ctx, name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer != nil {
		_ = c.writer.in.Close()
		c.writer = nil
	}
}

// end waits a moment until no writer is there any more: one that is in the freeze of a device stays, and ends by itself.
func (c *schedulers) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.settle(ctx)
	reaped := make(chan struct{})
	go func() {
		c.writers.Wait()
		close(reaped)
	}()
	select {
	case <-reaped:
	case <-time.After(reapWait):
	}
}

// announcing tells of devices as soon as they have lost their schedulers, in the order of the calls of announce, which does
// not wait; end waits until all n are told of.
func (s *Server) announcing(ctx context.Context, n int, tell func(DeviceInfo)) (announce func(*device), end func()) {
	told, started := make(chan struct{}), make(chan *device, n)
	go func() {
		defer close(told)
		for d := range started {
			s.scheds.wait(ctx, filepath.Base(d.dev.Node()))
			s.mu.Lock()
			info := s.info(d)
			s.mu.Unlock()
			if tell != nil {
				tell(info)
			}
		}
	}()
	return func(d *device) { started <- d }, func() {
		close(started)
		<-told
		s.scheds.settle(ctx)
	}
}
