package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// defaultQueues bounds the queues of a device that does not say: more than four rarely help one device, and every queue
// is a thread and its buffers.
const defaultQueues = 4

// diskWait is how long a disk may be held by the I/O of a server that was killed.
const diskWait = 10 * time.Second

// fenceWait is diskWait where devices wait for this server: their users would see what diskWait cuts short.
const fenceWait = time.Minute

// Options of Up. The zero value is what `ublk-linear up` wants.
type Options struct {
	Logger *slog.Logger
	RunDir string // "": RunDir
	// Adopt takes over what a dead server left, and adds nothing: devices of the file that nobody left are not served.
	Adopt bool
	// TrustFile takes devices over whose state is lost, by the id that the file gives them: nothing tells whether their
	// table and disks are what they were.
	TrustFile bool

	// Exec becomes another program in this process, with more in its environment: for upgrades. It returns only when that
	// fails. nil: there are none.
	Exec    func(binary string, env []string) error
	Version string // of this program
	Handoff string // the value of HandoffEnv; "": no program was here before
	// Started is called for every device as soon as it can be opened and has lost its I/O scheduler, or cannot lose it, in file
	// order, from one goroutine.
	Started func(DeviceInfo)
	// NoScheduler is the command line of a program that does NoSchedulers with its stdin and stdout: it takes out the I/O
	// scheduler of devices that come. nil: they keep it.
	NoScheduler []string
	// Queues is called before a device is started, with how many queues all devices will have; nil: nobody is told.
	Queues func(n int)
	// AllowFaults injects the file's faults. Without it a file that has some is refused.
	AllowFaults bool
	Group       string        // group whose members may look, by name or number; "": none
	Stalled     time.Duration // a command in flight for longer is told of; 0: 10 s
	Alive       func()        // called about every second while the server's own loop runs; must not block
}

// Server serves the devices of one configuration file.
type Server struct {
	file     *config.File
	inst     *Instance
	log      *slog.Logger
	control  *ublk.Control
	disks    disks
	faults   *injection // nil: none
	lock     *os.File
	clear    bool // what a dead server left is gone: its state may be, too
	api      *listener
	world    *copyWorld
	engine   *blkcopy.Engine
	regions  regions
	copies   copies
	changing changing // reload, suspend, resume
	leases   leases   // of suspended devices
	access   access
	dog      watchdog
	scheds   schedulers
	health   health
	keeper   *keeper
	events   events
	queues   func(int) // Options.Queues

	upgrade upgrades
	live    map[string]int64 // when each device came, CLOCK_MONOTONIC in nanoseconds: told by the start
	stateMu sync.Mutex       // of writing the state

	mu      sync.Mutex
	devices []*device // guarded by mu
	// What the state has besides the devices that are served: devices that wait to be taken over, or are about to start.
	waiting      []deviceRecord // guarded by mu
	waitingDisks []diskRecord   // of a dead server's state
	down         chan struct{}
	once         sync.Once
}

// device is one served device.
type device struct {
	conf  *config.Device
	table *remap.Table
	dev   *ublk.Device
	lost  []string
	epoch atomic.Uint64 // how often the table was replaced
}

// Up serves every device of a checked file. The order: the instance is taken, what a dead server of it left is compared with
// the file (adopt.go), disks are opened and checked against the file, and only then is the driver asked for devices: first
// for those that somebody waits for. When anything fails, everything is taken back, what waited waits again, and all that is
// wrong is reported.
func Up(ctx context.Context, f *config.File, o *Options) (_ *Server, err error) {
	s := &Server{file: f, log: o.Logger, down: make(chan struct{}), live: map[string]int64{}, upgrade: upgrades{exec: o.Exec, version: o.Version}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.queues = o.Queues
	s.scheds.command, s.scheds.limit, s.scheds.log = o.NoScheduler, schedulerWait, s.log
	if err := FaultsAllowed(f, o.AllowFaults); err != nil {
		return nil, err
	}
	tables, err := Tables(f)
	if err != nil {
		return nil, err
	}
	if s.access, err = newAccess(o.Group); err != nil {
		return nil, err
	}
	if s.inst, err = NewInstance(f.Path, o.RunDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.leaveAdopted(context.WithoutCancel(ctx)), s.Close())
		}
	}()
	s.health.start(s.log, &s.events)
	s.keeper = s.newKeeper()
	var before *handoff
	if o.Handoff != "" {
		before = s.inst.takeHandoff()
		if s.lock, err = s.inst.inherit(o.Handoff); err != nil {
			s.log.Warn("the lock of the program before is not there", "err", err)
		}
	}
	if s.lock == nil {
		if s.lock, err = s.inst.lockSoon(ctx); err != nil {
			return nil, err
		}
	}
	if s.control, err = ublk.OpenControl(&ublk.Options{Logger: s.log}); err != nil {
		return nil, err
	}
	if ps := lacking(f, s.control.Features()); len(ps) > 0 {
		return nil, ps
	}
	adopted, err := s.adopt(ctx, tables, o.TrustFile)
	if err != nil {
		return nil, err
	}
	if o.Adopt {
		if len(adopted) == 0 {
			return nil, fmt.Errorf("%s: %w", f.Path, ErrNotOrphaned)
		}
		f, tables, adopted = adopted.only(f, tables)
		s.file = f
	}
	opt := &disk.Options{Logger: s.log, Wait: diskWait, Served: servedBy(o.RunDir)}
	if len(adopted) > 0 {
		opt.Wait = fenceWait
	}
	if s.disks, err = openDisks(ctx, f, opt); err != nil {
		return nil, err
	}
	if ps := f.Check(s.disks.facts(f)).Errors(); len(ps) > 0 {
		return nil, ps
	}
	if ps := unknowable(f, s.keeper.sys, s.disks.infos()); len(ps) > 0 {
		return nil, ps
	}
	specs, err := s.specs(tables)
	if err != nil {
		return nil, err
	}
	if err := adopted.fit(f, specs); err != nil {
		return nil, err
	}
	if err := devLinks.check(f, adopted.nodes(f)); err != nil {
		return nil, err
	}
	s.faults = newInjection(f)
	s.faults.warn(s.log)
	s.prepareCopies(tables, specs)
	s.keeper.start()
	order := adopted.order(len(tables))
	announce, announced := s.announcing(ctx, len(tables), o.Started)
	err = s.startAll(ctx, len(tables),
		func(i int) error {
			at := order[i]
			_, recover := adopted[at]
			return s.start(ctx, f.Devices[at], tables[at], specs[at], recover)
		},
		func(i int) {
			if d := s.device(f.Devices[order[i]].Name); d != nil { // a reload may have come first
				announce(d)
			}
		})
	announced()
	if err != nil {
		return nil, err
	}
	s.clear = true
	s.dog.events = &s.events
	s.dog.start(o.Stalled, o.Alive, s.watched, s.log)
	if before != nil {
		r := before.upgraded(s.List(), s.live, o.Version)
		s.upgrade.end(r)
		s.log.Warn("upgraded", "from", r.From, "to", r.To, "stall_ms", r.Stall)
		s.events.publish(Event{Kind: Upgraded, From: r.From, To: r.To, Seconds: r.Stall / 1e3})
	}
	return s, nil
}

// startAll starts n devices and announces each. By then the control socket answers and the state is written: who reads
// the announcement may ask, or take all down, at once. What is asked to end meanwhile starts no more devices.
func (s *Server) startAll(ctx context.Context, n int, start func(i int) error, announce func(i int)) (err error) {
	if s.api, err = listen(s); err != nil {
		return err
	}
	for i := range n {
		select {
		case <-s.down:
			return nil
		default:
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := start(i); err != nil {
			return err
		}
		if err := s.saveState(); err != nil {
			return err
		}
		announce(i)
	}
	return nil
}

// start starts one device, a new one or one that waits, and gives it its link. What it is stands in the state before anybody
// can open it.
func (s *Server) start(ctx context.Context, conf *config.Device, t *remap.Table, spec ublk.Spec, adopt bool) error {
	wrap := func(err error) error {
		if spec.ID >= 0 && errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("id %d is taken (ublk-linear ls shows ours): %w: %w", spec.ID, err, unix.EBUSY)
		}
		return fmt.Errorf("device %s: %w", conf.Name, err)
	}
	spec.DiskFailed = s.health.failing(conf.Name)
	spec.DiskSuspect = s.health.suspecting(s.keeper.suspect)
	var d *ublk.Device
	var err error
	if adopt {
		d, err = s.control.Recover(ctx, spec.ID, &spec)
	} else {
		d, err = s.control.Add(ctx, &spec)
	}
	if err != nil {
		return wrap(err)
	}
	entry := &device{conf: conf, table: t, dev: d}
	for _, l := range d.Lost() {
		entry.lost = append(entry.lost, l.String())
	}
	if err := s.await(s.record(entry)); err != nil {
		return wrap(errors.Join(err, s.takeBack(ctx, d, adopt)))
	}
	s.tellQueues(d)
	if err := d.Start(ctx, t, s.faults.backings(s.health.backings(s.disks))); err != nil {
		if !adopt {
			s.awaited(d.ID())
		}
		return wrap(err)
	}
	s.live[conf.Name] = monotonic()
	if t.Sectors() > spec.Sectors { // a reload that grew it was broken off
		if err := d.Resize(ctx, t.Sectors()); err != nil {
			return wrap(errors.Join(err, s.takeBack(ctx, d, adopt)))
		}
	}
	s.serve(entry)
	s.park() // not before: a start reads the device and waits for it, and the keeper did not know whose disk it is
	if err := devLinks.add(conf.Name, d.Node()); err != nil {
		return wrap(err)
	}
	if !adopt && d.Spec().Queues == 1 { // of one that was there before it is what its users have made it
		s.scheds.ask(filepath.Base(d.Node()))
	}
	said, kind := "device is up", DeviceUp
	if adopt {
		said, kind = "device is recovered", DeviceRecovered
	}
	s.log.Info(said, "name", conf.Name, "node", d.Node(), "sectors", t.Sectors())
	s.events.publish(Event{Kind: kind, Device: conf.Name, Node: d.Node()})
	go s.watch(entry, conf.Name)
	return nil
}

// takeBack gives up a device that was never started.
func (s *Server) takeBack(ctx context.Context, d *ublk.Device, adopted bool) error {
	if adopted {
		return d.Detach(context.WithoutCancel(ctx))
	}
	s.awaited(d.ID())
	return d.Stop(context.WithoutCancel(ctx))
}

// serve puts a started device among the served ones, which are in file order.
func (s *Server) serve(e *device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w deviceRecord) bool { return w.ID == e.dev.ID() })
	s.devices = append(s.devices, e)
	s.inOrder()
}

// inOrder sorts the devices as the file has them. The caller has mu.
func (s *Server) inOrder() {
	place := func(d *device) int { return slices.Index(s.file.Devices, d.conf) }
	slices.SortStableFunc(s.devices, func(a, b *device) int { return place(a) - place(b) })
}

// device finds a served device by name; nil when there is none.
func (s *Server) device(name string) *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.conf.Name == name {
			return d
		}
	}
	return nil
}

// watch reports a device that ends by itself.
func (s *Server) watch(e *device, name string) {
	<-e.dev.Ended()
	if err := e.dev.Err(); err != nil {
		s.log.Error("device failed", "name", name, "node", e.dev.Node(), "err", err)
		s.events.publish(Event{Kind: DeviceFailed, Device: name, Node: e.dev.Node(), Error: err.Error()})
	}
}

// Down is closed when somebody asked the server to stop by the control socket.
func (s *Server) Down() <-chan struct{} { return s.down }

// Close ends the copies, stops every device, newest first, and gives everything back. I/O under way finishes first.
// Whatever fails, the rest goes on.
func (s *Server) Close() error {
	var errs []error
	s.upgrade.close()
	s.keeper.end()
	s.copies.end()
	s.events.end()
	if s.api != nil {
		s.api.close()
	}
	s.mu.Lock()
	devices := s.devices
	s.devices = nil
	s.mu.Unlock()
	ctx := context.Background()
	for i := len(devices) - 1; i >= 0; i-- {
		d := devices[i]
		devLinks.remove(d.conf.Name, d.dev.Node())
		if err := d.dev.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", d.conf.Name, err))
			continue
		}
		if err := d.dev.Err(); err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", d.conf.Name, err))
		}
		s.log.Info("device is down", "name", d.conf.Name, "node", d.dev.Node())
	}
	s.scheds.end()
	s.dog.stop()
	s.health.stop()
	if s.control != nil {
		_ = s.control.Close()
		s.control = nil
	}
	if s.engine != nil {
		s.engine.Close()
	}
	for _, k := range s.disks.open() {
		i := k.Info()
		s.waitingDisks = append(s.waitingDisks, identify(&i, k.FD()))
	}
	s.disks.close()
	s.disks = nil
	if s.lock != nil {
		switch {
		case len(errs) > 0 || !s.clear:
		case len(s.waiting) > 0:
			errs = append(errs, s.saveState())
			_ = os.Remove(s.inst.Socket())
		default:
			s.inst.forget()
		}
		_ = s.lock.Close()
		s.lock = nil
	}
	return errors.Join(errs...)
}

// List is every device, in file order.
func (s *Server) List() []DeviceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []DeviceInfo{}
	for _, d := range s.devices {
		out = append(out, s.info(d))
	}
	return out
}

func (s *Server) info(d *device) DeviceInfo {
	state := "live"
	select {
	case <-d.dev.Ended():
		state = "failed"
	default:
	}
	left := s.leases.left(d.conf.Name)
	if left > 0 && state == "live" {
		state = "suspended"
	}
	return DeviceInfo{Name: d.conf.Name, Suspended: left.Seconds(), Node: d.dev.Node(), Link: devLinks.path(d.conf.Name), ID: d.dev.ID(), State: state,
		Bytes: d.table.Sectors() * 512, PID: os.Getpid(), Config: s.inst.Config, Recovered: d.dev.Recovered()}
}

// Status is one device in full; false when there is none of that name.
func (s *Server) Status(name string) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.conf.Name == name {
			return s.status(d), true
		}
	}
	return Status{}, false
}

func (s *Server) status(d *device) Status {
	spec := d.dev.Spec()
	out := Status{Schema: Schema, DeviceInfo: s.info(d), Sectors: d.table.Sectors(), ReadOnly: spec.ReadOnly, Queues: spec.Queues, Depth: spec.Depth,
		MaxIO: spec.MaxIO, DataPath: spec.DataPath.String(), Features: []string{}, Table: d.table.Lines(DiskName(s.file)), Disks: []DiskStatus{},
		IO: map[string]IOCount{}, Inexpressible: append([]string{}, d.lost...), Copies: s.copyList(d.conf.Name)}
	out.Features = append(out.Features, strings.FieldsFunc(d.dev.Flags().String(), func(r rune) bool { return r == '|' })...)
	out.Disks = append(out.Disks, s.diskStatus(d)...)
	out.Faults = s.faults.status(func(name string) bool {
		return slices.ContainsFunc(out.Disks, func(d DiskStatus) bool { return d.Name == name })
	})
	for _, q := range d.dev.Stats() {
		for op := range q.Requests {
			c := out.IO[opName(op)]
			c.Requests += q.Requests[op].Load()
			c.Bytes += q.Bytes[op].Load()
			out.IO[opName(op)] = c
		}
		out.Errors += q.Errors.Load()
		out.Commands += q.Commands.Load()
		out.Retries += q.Retries.Load()
	}
	out.Stalled, out.Process = s.dog.of(d.conf.Name), Process()
	if err := d.dev.Err(); err != nil {
		out.Failure = err.Error()
	}
	return out
}
