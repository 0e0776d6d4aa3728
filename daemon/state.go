package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// stateSchema is the version of the state file. It is not that of the JSON for others: nobody else reads it.
const stateSchema = 2

// Bounds of a state file. A table of a million lines has some forty bytes a line.
const (
	maxStateBytes   = 256 << 20
	maxStateDevices = 1 << 20
)

// state is what a server writes down for whoever comes after its death: all that tells whether the next one would serve the
// same devices from the same disks.
type state struct {
	Schema  int            `json:"schema"`
	Config  string         `json:"config"`
	PID     int            `json:"pid"`
	Disks   []diskRecord   `json:"disks"`
	Devices []deviceRecord `json:"devices"`
}

// StateError is returned for a state file that cannot be used: what its devices were is not known.
type StateError struct {
	Path string
	Err  error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%s: %v: what the devices that wait were made of is not known (if the configuration is what it was, `ublk-linear adopt --trust-file` takes them over; `ublk-linear remove --orphan` drops them)", e.Path, e.Err)
}

func (e *StateError) Unwrap() error { return e.Err }

// parseState reads a state, strictly: what is not understood is not guessed.
func parseState(b []byte) (*state, error) {
	var head struct {
		Schema *int `json:"schema"`
	}
	switch err := json.Unmarshal(b, &head); {
	case err != nil:
		return nil, err
	case head.Schema == nil:
		return nil, errors.New("no schema")
	case *head.Schema != stateSchema:
		return nil, fmt.Errorf("schema %d, and this program reads %d: it is another version's", *head.Schema, stateSchema)
	}
	st := &state{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(st); err != nil {
		return nil, err
	}
	return st, st.validate()
}

// validate lists all that cannot be.
func (st *state) validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if len(st.Devices) > maxStateDevices {
		return fmt.Errorf("%d devices", len(st.Devices))
	}
	if !filepath.IsAbs(st.Config) {
		bad("config %q is not an absolute path", st.Config)
	}
	if st.PID < 1 {
		bad("pid %d", st.PID)
	}
	disks, names, ids := map[string]bool{}, map[string]bool{}, map[int]bool{}
	for i := range st.Disks {
		d := &st.Disks[i]
		if err := d.validate(); err != nil {
			bad("disk %q: %w", d.Name, err)
		}
		if disks[d.Name] {
			bad("disk %q is there twice", d.Name)
		}
		disks[d.Name] = true
	}
	for i := range st.Devices {
		d := &st.Devices[i]
		if err := d.validate(); err != nil {
			bad("device %q: %w", d.Name, err)
		}
		for _, k := range d.Disks {
			if !disks[k] {
				bad("device %q: its disk %q is not there", d.Name, k)
			}
		}
		if names[d.Name] || ids[d.ID] {
			bad("device %q, id %d, is there twice", d.Name, d.ID)
		}
		names[d.Name], ids[d.ID] = true, true
	}
	return errors.Join(errs...)
}

// readState reads the state of an instance. Errors: fs.ErrNotExist when there is none; a StateError.
func readState(path string) (*state, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, &StateError{path, err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStateBytes+1))
	if err == nil && len(b) > maxStateBytes {
		err = fmt.Errorf("more than %d bytes", maxStateBytes)
	}
	if err != nil {
		return nil, &StateError{path, err}
	}
	st, err := parseState(b)
	if err != nil {
		return nil, &StateError{path, err}
	}
	return st, nil
}

// writeState puts a state in the place of the last one, in one step: whoever reads finds one of the two whole.
func writeState(path string, st *state) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("state: %w", err)
		}
	}()
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	if len(b)+1 > maxStateBytes {
		return fmt.Errorf("%d bytes, more than %d: a server that comes after could not read it", len(b)+1, maxStateBytes)
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename last. The run folder is mostly a tmpfs, where it costs nothing.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// states are those of all servers, dead ones among them, as far as they can be read: for messages and lists, not to adopt by.
func states(runDir string) []state {
	var out []state
	names, _ := filepath.Glob(filepath.Join(runDir, "*.json"))
	for _, n := range names {
		if st, err := readState(n); err == nil {
			out = append(out, *st)
		}
	}
	return out
}

// device finds what is written of an id.
func (st *state) device(id int) *deviceRecord {
	if st == nil {
		return nil
	}
	i := slices.IndexFunc(st.Devices, func(d deviceRecord) bool { return d.ID == id })
	if i < 0 {
		return nil
	}
	return &st.Devices[i]
}

// disk finds what is written of a disk.
func (st *state) disk(name string) *diskRecord {
	if st == nil {
		return nil
	}
	i := slices.IndexFunc(st.Disks, func(d diskRecord) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &st.Disks[i]
}
