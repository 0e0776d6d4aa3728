package config

import "slices"

// DataPath is how the data of a device's requests goes between the driver and the disks.
type DataPath string

// The words of data_path.
const (
	PathAuto     DataPath = "auto"      // what is best where the server runs
	PathBuffer   DataPath = "buffer"    // through buffers of the server
	PathZeroCopy DataPath = "zero-copy" // the disks are given the requests' own pages; Linux 6.16
)

func dataPaths() []string {
	return []string{string(PathAuto), string(PathBuffer), string(PathZeroCopy)}
}

// readDataPath reads data_path; auto when it is not said.
func readDataPath(t *table) DataPath {
	word, ok := t.str("data_path")
	if !ok {
		return PathAuto
	}
	if !slices.Contains(dataPaths(), word) {
		t.limit("data_path", suggest(word, dataPaths()), "unknown data path %s", clip(word))
		return PathAuto
	}
	return DataPath(word)
}
