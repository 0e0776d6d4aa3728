package daemon

import (
	"errors"
	"os"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
)

// Look checks a file against the disks it names, without opening them: whether they are there, whether their names are
// stable, and the geometry with their real sizes. It needs no root.
func Look(f *config.File) config.Problems {
	used, written := users(f)
	facts, infos := map[string]config.Facts{}, map[string]disk.Info{}
	var out config.Problems
	for _, d := range f.Disks {
		if !used[d.Name] || d.Kind == config.KindDeclared || d.Kind == config.KindMemory {
			continue
		}
		i, err := disk.Inspect(specOf(d, written[d.Name]), &disk.Options{})
		if err != nil {
			p := config.Problem{File: f.Path, Line: d.Pos.Line, Col: d.Pos.Col, Key: "disk." + d.Name, Message: err.Error()}
			if u := (*disk.UnstableError)(nil); errors.As(err, &u) {
				p.Hint = "use one of its stable names, or say unstable_path = true"
			}
			out = append(out, p)
			continue
		}
		infos[d.Name] = i
		facts[d.Name] = config.Facts{Bytes: i.Sectors * 512, LogicalBlock: i.LogicalBlock, ReadOnly: i.ReadOnly}
	}
	out = append(out, unknowable(f, os.DirFS("/sys"), infos)...)
	return append(out, f.Check(facts)...)
}
