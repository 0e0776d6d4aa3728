package target

import "errors"

// MaxSectors is the largest end of any range: dm refuses a table that ends past LLONG_MAX bytes (dm_table_add_target).
const MaxSectors = (1<<63 - 1) >> 9

var (
	// ErrZeroLength is returned for a target or segment without sectors.
	ErrZeroLength = errors.New("zero-length target")
	// ErrTooLong is returned when a range would end past MaxSectors.
	ErrTooLong = errors.New("range ends past 2^63 bytes")
)
