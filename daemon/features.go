package daemon

import "github.com/ublk-go/ublk-linear/ublk"

// Features is what this kernel's ublk driver can do. It needs root. Errors: ublk.ErrNoDriver, ublk.ErrTooOld, EACCES.
func Features() ([]ublk.Feature, error) {
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Features().List(), nil
}
