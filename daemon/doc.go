// Package daemon joins the rooms: a configuration becomes disks, tables and ublk devices, which live until they are
// stopped. It keeps what outlives a request (the instance's lock, links in /dev/ublk-linear, the control socket) and
// knows nothing of rings.
package daemon
