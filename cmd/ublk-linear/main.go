// Command ublk-linear serves block devices composed of linear and striped targets, described in a TOML file.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	base := context.Background()
	if servesDevices(os.Args[1:]) {
		base = withProcess(base, prepareProcess())
	}
	ctx, stop := signal.NotifyContext(base, unix.SIGINT, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
