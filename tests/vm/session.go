package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

const (
	hangGrace = 10 * time.Second // from a hung task's report to the guest's end: for the report to be whole
	quitGrace = 10 * time.Second // from the timeout to the guest's end: for stack traces
	offGrace  = 30 * time.Second // from the job's end to power-off
	tailLines = 25
)

// session is one run of one QEMU.
type session struct {
	m     *Machine
	res   *Result
	scan  *scanner
	hang  chan struct{} // closed at the first report of a hang
	mute  atomic.Bool   // the kernel's traces are of our asking
	tail  []string      // last lines of the console
	exit  bool          // the job has ended
	fault error         // why there will be no exit code
}

func newSession(m *Machine, res *Result) *session {
	return &session{m: m, res: res, scan: newScanner(m.Expect), hang: make(chan struct{})}
}

// run starts QEMU and follows the guest to its end.
func (s *session) run(ctx context.Context, args []string, job *guest.Job, out io.Writer) error {
	log, err := os.Create(s.res.Console)
	if err != nil {
		return fmt.Errorf("console log: %w", err)
	}
	defer log.Close()
	control, controlEnd, err := socketPair()
	if err != nil {
		return err
	}
	defer control.Close()
	output, outputEnd, err := socketPair()
	if err != nil {
		controlEnd.Close()
		return err
	}
	defer output.Close()
	console, consoleEnd, err := os.Pipe()
	if err != nil {
		controlEnd.Close()
		outputEnd.Close()
		return fmt.Errorf("console pipe: %w", err)
	}
	defer console.Close()
	q, err := startQEMU(args, consoleEnd, controlEnd, outputEnd)
	if err != nil {
		return err
	}
	// The socket keeps it until the guest asks.
	if err := json.NewEncoder(control).Encode(job); err != nil {
		q.kill()
		<-q.exited
		return fmt.Errorf("job: %w", err)
	}
	sink, events := newSpool(out), make(chan guest.Event, 4)
	var wg sync.WaitGroup
	wg.Go(func() { s.runConsole(console, log) })
	wg.Go(func() { _, _ = io.Copy(sink, output) })
	wg.Go(func() { runEvents(control, events) })
	err = s.watch(ctx, q, events, control)
	wg.Wait()
	sink.Close()
	s.res.Problems = s.scan.problems
	return s.verdict(err, q.stderr.String())
}

// watch returns when QEMU has ended, which it sees to. Its error is QEMU's own.
func (s *session) watch(ctx context.Context, q *process, events <-chan guest.Event, control io.Writer) error {
	var kill <-chan time.Time
	timer := time.NewTimer(s.m.Timeout)
	defer timer.Stop()
	timeout, done, hang := timer.C, ctx.Done(), s.hang
	for {
		select {
		case err := <-q.exited:
			if events != nil {
				for e := range events {
					s.event(e)
				}
			}
			return err
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			s.event(e)
			if e.Boot == nil { // the last word
				kill, timeout, hang = time.After(offGrace), nil, nil
			}
		case <-hang:
			fmt.Fprintln(s.m.Log, "a task hangs: ending the guest")
			kill, hang = time.After(hangGrace), nil
		case <-timeout:
			s.fault = fmt.Errorf("timeout of %v: %w", s.m.Timeout, context.DeadlineExceeded)
			fmt.Fprintf(s.m.Log, "timeout of %v: asking the guest what it waits for\n", s.m.Timeout)
			s.mute.Store(true)
			_ = json.NewEncoder(control).Encode(guest.Order{Stop: true})
			kill = time.After(quitGrace)
		case <-done:
			s.fault, done = context.Cause(ctx), nil
			q.kill()
		case <-kill:
			if s.exit {
				fmt.Fprintf(s.m.Log, "the guest did not power off within %v\n", offGrace)
			}
			q.kill()
		}
	}
}

// event takes in what the guest reports.
func (s *session) event(e guest.Event) {
	switch {
	case e.Boot != nil:
		s.res.Boot = e.Boot.Uptime
		for _, m := range e.Boot.Missing {
			fmt.Fprintf(s.m.Log, "modules: %s\n", m)
		}
	case e.Exit != nil:
		s.exit, s.res.ExitCode = true, e.Exit.Code
	case e.Fail != "":
		s.fault = fmt.Errorf("%w: %s", ErrGuest, e.Fail)
	}
}

// verdict makes one error of all that went wrong.
func (s *session) verdict(qemuErr error, stderr string) error {
	err := s.fault
	if err != nil {
		// A job that our own question ended has no exit code of its own.
		s.res.ExitCode = -1
	}
	if err == nil && !s.exit {
		err = ErrGuest
		if qemuErr != nil {
			err = fmt.Errorf("%w: qemu: %w", err, qemuErr)
		}
		if msg := strings.TrimSpace(stderr); msg != "" {
			err = fmt.Errorf("%w: %s", err, msg)
		}
	}
	if err != nil && len(s.tail) > 0 && len(s.res.Problems) == 0 && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w\nlast lines of the console:\n  %s", err, strings.Join(s.tail, "\n  "))
	}
	for _, e := range s.scan.errs {
		err = errors.Join(err, fmt.Errorf("expected kernel message: %w", e))
	}
	for _, p := range s.res.Problems {
		err = errors.Join(err, fmt.Errorf("%w: %s\n  %s", ErrKernel, p.Line, strings.Join(p.Context, "\n  ")))
	}
	return err
}

// runConsole logs and scans the console.
func (s *session) runConsole(console io.Reader, log io.Writer) {
	hangs := false
	r := bufio.NewReaderSize(console, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fmt.Fprintln(log, line)
			if s.tail = append(s.tail, line); len(s.tail) > tailLines {
				s.tail = s.tail[1:]
			}
			if s.mute.Load() {
				s.scan.Mute()
			}
			if s.scan.Line(line) && s.scan.problems[len(s.scan.problems)-1].Hang && !hangs {
				hangs = true
				close(s.hang)
			}
		}
		if err != nil {
			return
		}
	}
}

// runEvents reads the control port until it closes.
func runEvents(control io.Reader, events chan<- guest.Event) {
	defer close(events)
	for dec := json.NewDecoder(control); ; {
		var e guest.Event
		if dec.Decode(&e) != nil {
			return
		}
		events <- e
	}
}

// process is a QEMU that was started.
type process struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	exited chan error // gets how it ended, once
}

// startQEMU starts it with the console on stdout and the ports as file descriptors 3 and up, and closes
// our copies of them.
func startQEMU(args []string, console *os.File, ports ...*os.File) (*process, error) {
	defer func() {
		console.Close()
		for _, f := range ports {
			f.Close()
		}
	}()
	path, err := lookPath(qemu)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	p := &process{cmd: exec.Command(path, args...), exited: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = console, &p.stderr, ports
	// No QEMU outlives us, however we end. It is in a group of its own: a Ctrl-C is ours to deal with.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go p.runThread(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	return p, nil
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }
