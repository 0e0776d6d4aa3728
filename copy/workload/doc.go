// Package workload makes copy requests as real users of copy offload would, and counts what the kernel's designs do with
// them. A request is reproducible from the workload's name, a seed and an index, on any machine: what one person measures,
// another can look at with `plan`.
//
// The generators know sizes and alignment, not tables. The layouts are the devices that the designs were asked about on
// the mailing lists. Compare runs models of copy/series over both and judges every outcome by the content of the disks
// afterwards, not by what the model says of itself.
package workload
