// Package target has the words that the rooms of the data plane share: Op, Range, Segment, and the
// Target interface that dm-linear and dm-stripe arithmetic implement.
//
// All positions and lengths are in 512-byte sectors.
package target
