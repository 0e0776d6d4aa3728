package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
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

// Options of Up. The zero value is what `ublk-linear up` wants.
type Options struct {
	Logger *slog.Logger
	RunDir string // "": RunDir
	// Started is called for every device as soon as it can be opened, in file order.
	Started func(DeviceInfo)
	// AllowFaults injects the file's faults. Without it a file that has some is refused.
	AllowFaults bool
}

// Server serves the devices of one configuration file.
type Server struct {
	file    *config.File
	inst    *Instance
	log     *slog.Logger
	control *ublk.Control
	disks   disks
	faults  *injection // nil: none
	lock    *os.File
	clear   bool // what a dead server left is gone: its state may be, too
	api     *listener
	world   *copyWorld
	engine  *blkcopy.Engine
	regions regions
	copies  copies

	mu      sync.Mutex
	devices []*device // guarded by mu
	down    chan struct{}
	once    sync.Once
}

// device is one served device.
type device struct {
	conf  *config.Device
	table *remap.Table
	dev   *ublk.Device
	lost  []string
}

// Up serves every device of a checked file. The order: the instance is taken, what a dead server of it left is removed,
// disks are opened and checked against the file, and only then is the driver asked for devices. When anything fails,
// everything is taken back and all that is wrong is reported.
func Up(ctx context.Context, f *config.File, o *Options) (_ *Server, err error) {
	s := &Server{file: f, log: o.Logger, down: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := FaultsAllowed(f, o.AllowFaults); err != nil {
		return nil, err
	}
	tables, err := Tables(f)
	if err != nil {
		return nil, err
	}
	if s.inst, err = NewInstance(f.Path, o.RunDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = s.inst.Lock(); err != nil {
		return nil, err
	}
	if s.control, err = ublk.OpenControl(&ublk.Options{Logger: s.log}); err != nil {
		return nil, err
	}
	removed, err := removeStale(ctx, s.control, s.inst)
	for _, id := range removed {
		s.log.Info("removed a device of a server that is gone", "dev", id)
	}
	if err != nil {
		return nil, err
	}
	s.clear = true
	opt := &disk.Options{Logger: s.log, Wait: diskWait, Served: servedBy(o.RunDir)}
	if s.disks, err = openDisks(ctx, f, opt); err != nil {
		return nil, err
	}
	if ps := f.Check(s.disks.facts(f)).Errors(); len(ps) > 0 {
		return nil, ps
	}
	specs, err := s.specs(tables)
	if err != nil {
		return nil, err
	}
	if err := devLinks.check(f); err != nil {
		return nil, err
	}
	s.faults = newInjection(f)
	s.faults.warn(s.log)
	s.prepareCopies(tables, specs)
	err = s.startAll(ctx, len(tables),
		func(i int) error { return s.start(ctx, f.Devices[i], tables[i], specs[i]) },
		func(i int) {
			if o.Started != nil {
				o.Started(s.info(s.devices[i]))
			}
		})
	if err != nil {
		return nil, err
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

// specs says every device in the driver's words; all that do not fit are reported.
func (s *Server) specs(tables []*remap.Table) ([]ublk.Spec, error) {
	var errs []error
	out := make([]ublk.Spec, len(tables))
	bottoms := s.disks.bottoms(s.file)
	for i, t := range tables {
		dev := s.file.Devices[i]
		l, err := s.disks.stack(t, bottoms)
		if err == nil && l.Zoned {
			err = errors.New("a zoned disk can be mapped and stacked, not served")
		}
		if err == nil {
			out[i] = ublk.Spec{ID: dev.ID, Queues: dev.Queues, Depth: dev.Depth, MaxIO: uint32(dev.MaxIO), Sectors: t.Sectors(), Limits: l,
				ReadOnly: dev.ReadOnly || l.ReadOnly, Mark: s.inst.Mark()}
			if out[i].Queues == 0 {
				out[i].Queues = min(runtime.NumCPU(), defaultQueues)
			}
			err = out[i].Validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: device %s: %w", s.file.Path, dev.Pos.Line, dev.Pos.Col, dev.Name, err))
		}
	}
	return out, errors.Join(errs...)
}

// start adds and starts one device and gives it its link.
func (s *Server) start(ctx context.Context, conf *config.Device, t *remap.Table, spec ublk.Spec) error {
	wrap := func(err error) error {
		if spec.ID >= 0 && errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("id %d is taken (ublk-linear ls shows ours): %w: %w", spec.ID, err, unix.EBUSY)
		}
		return fmt.Errorf("device %s: %w", conf.Name, err)
	}
	d, err := s.control.Add(ctx, &spec)
	if err != nil {
		return wrap(err)
	}
	entry := &device{conf: conf, table: t, dev: d}
	for _, l := range d.Lost() {
		entry.lost = append(entry.lost, l.String())
	}
	if err := d.Start(ctx, t, s.faults.backings(s.disks.backings())); err != nil {
		return wrap(err)
	}
	s.mu.Lock()
	s.devices = append(s.devices, entry)
	s.mu.Unlock()
	if err := devLinks.add(conf.Name, d.Node()); err != nil {
		return wrap(err)
	}
	s.log.Info("device is up", "name", conf.Name, "node", d.Node(), "sectors", t.Sectors())
	go s.watch(entry)
	return nil
}

// watch reports a device that ends by itself.
func (s *Server) watch(e *device) {
	<-e.dev.Ended()
	if err := e.dev.Err(); err != nil {
		s.log.Error("device failed", "name", e.conf.Name, "node", e.dev.Node(), "err", err)
	}
}

// Down is closed when somebody asked the server to stop by the control socket.
func (s *Server) Down() <-chan struct{} { return s.down }

// Close ends the copies, stops every device, newest first, and gives everything back. I/O under way finishes first.
// Whatever fails, the rest goes on.
func (s *Server) Close() error {
	var errs []error
	s.copies.end()
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
	if s.control != nil {
		_ = s.control.Close()
		s.control = nil
	}
	if s.engine != nil {
		s.engine.Close()
	}
	s.disks.close()
	s.disks = nil
	if s.lock != nil {
		if len(errs) == 0 && s.clear {
			s.inst.forget()
		}
		_ = s.lock.Close()
		s.lock = nil
	}
	return errors.Join(errs...)
}

// inUse is who has a served device mounted, claimed or open.
func (s *Server) inUse() []error {
	var errs []error
	opt := &disk.Options{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if hs := disk.Holders(d.dev.Node(), opt); len(hs) > 0 {
			errs = append(errs, fmt.Errorf("device %s: %w", d.conf.Name, &disk.BusyError{Node: d.dev.Node(), Holders: hs}))
		}
	}
	return errs
}

// requestDown asks for the end, unless a device is in use.
func (s *Server) requestDown(r DownRequest) (DownResult, error) {
	if !r.Force {
		if errs := s.inUse(); len(errs) > 0 {
			return DownResult{}, errors.Join(errs...)
		}
	}
	out := DownResult{Schema: Schema, Stopped: s.List()}
	s.once.Do(func() { close(s.down) })
	return out, nil
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
	return DeviceInfo{Name: d.conf.Name, Node: d.dev.Node(), Link: devLinks.path(d.conf.Name), ID: d.dev.ID(), State: state,
		Bytes: d.table.Sectors() * 512, PID: os.Getpid(), Config: s.inst.Config}
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
		MaxIO: spec.MaxIO, DataPath: "buffer", Features: []string{}, Table: d.table.Lines(DiskName(s.file)), Disks: []DiskStatus{},
		IO: map[string]IOCount{}, Inexpressible: append([]string{}, d.lost...), Copies: s.copyList(d.conf.Name)}
	out.Features = append(out.Features, strings.FieldsFunc(d.dev.Flags().String(), func(r rune) bool { return r == '|' })...)
	for _, i := range d.table.Disks() {
		k := s.disks[i]
		out.Disks = append(out.Disks, DiskStatus{Name: k.Name(), Kind: k.Kind().String(), Node: k.Node(), Bytes: k.Sectors() * 512,
			Serial: k.Identity().Serial, WWID: k.Identity().WWID})
	}
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
	if err := d.dev.Err(); err != nil {
		out.Failure = err.Error()
	}
	return out
}
