package daemon

import (
	"sync"
	"time"
)

// progressEvery is how often a copy's progress is told.
const progressEvery = 250 * time.Millisecond

// watchCopy tells the progress of a copy from now until stop, which waits for the last call.
func watchCopy(j *copyJob, tell func(CopyProgress)) (stop func()) {
	if tell == nil {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			tell(j.look().CopyProgress)
			select {
			case <-t.C:
			case <-end:
				return
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
	}
}
