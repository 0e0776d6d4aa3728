// Package uring is an io_uring: two shared rings, a system call, and nothing above them. It knows neither ublk nor
// what its entries mean.
//
// A Ring belongs to one thread. The goroutine that makes it locks itself to its thread first, and no other may
// touch it: with IORING_SETUP_SINGLE_ISSUER the kernel refuses.
package uring
