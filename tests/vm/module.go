package vm

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// moduleDeps is a kernel's modules.dep: what has to be loaded before what.
type moduleDeps struct {
	path map[string]string   // module name → file, relative to the module folder
	deps map[string][]string // file → files it needs, the innermost last, as depmod writes it
}

// parseModulesDep reads lines of the form "kernel/a.ko.xz: kernel/b.ko.xz kernel/c.ko.xz".
func parseModulesDep(r io.Reader) (*moduleDeps, error) {
	d := &moduleDeps{path: map[string]string{}, deps: map[string][]string{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		if strings.TrimSpace(sc.Text()) == "" {
			continue
		}
		file, deps, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep line %d: no colon", n)
		}
		d.path[moduleName(file)] = file
		d.deps[file] = strings.Fields(deps)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("modules.dep: %w", err)
	}
	return d, nil
}

// closure returns the files of the named modules and of all they need, in the order to load them.
// Modules the kernel has no file for are left out: a kernel may have them built in.
func (d *moduleDeps) closure(names []string) []string {
	var (
		out  []string
		seen = map[string]bool{}
		add  func(string)
	)
	add = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		// depmod names all of them, but only in the end-to-front order are they safe to load.
		deps := d.deps[file]
		for i := len(deps) - 1; i >= 0; i-- {
			add(deps[i])
		}
		out = append(out, file)
	}
	for _, n := range names {
		if file, ok := d.path[moduleName(n)]; ok {
			add(file)
		}
	}
	return out
}

// moduleName returns the name the kernel knows a module file by.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
