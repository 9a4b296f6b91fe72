package disk

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Only a commit that began after the wait did makes durable what was written before it.
func TestRide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r ride
		waited := make(chan bool)
		wait := func() {
			go func() { waited <- r.wait() }()
			synctest.Wait()
		}
		before := r.begin()
		wait()
		r.end(before)
		if start := time.Now(); <-waited || time.Since(start) != rideWait {
			t.Error("a commit that began earlier counts")
		}
		late := r.begin()
		wait()
		r.end(r.begin())
		if start := time.Now(); !<-waited || time.Since(start) != 0 {
			t.Error("a commit that began later does not count")
		}
		if r.end(late); r.done.Load() != 3 {
			t.Errorf("the newest that is durable is %d, want 3", r.done.Load())
		}
	})
}

// An outcome is durable when Update returns: without any commit, and beside many.
func TestOutcomesRideOnCommits(t *testing.T) {
	for _, busy := range []bool{false, true} {
		fs := vfs.NewCrashableMem()
		o := options(t, "/data")
		var syncs atomic.Int64
		o.FS = &faultFS{FS: fs, fail: func(op, name string) error {
			if isLog(name) && op == "sync" {
				syncs.Add(1)
			}
			return nil
		}}
		s := mustOpen(t, o)
		env := mustCommit(t, s, []byte("text"))
		stop := make(chan struct{})
		var group sync.WaitGroup
		if busy {
			for range 4 {
				group.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							if _, err := commit(s, []byte("more")); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
		}
		mustSettle(t, s, env)
		image := fs.CrashClone(vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 2))}) // nothing that was not synced
		close(stop)
		group.Wait()
		s.Close()
		o.FS = image
		after := mustOpen(t, o)
		if _, _, err := after.Load(ctx, env.ID); err == nil {
			t.Errorf("busy %v: the message is there again", busy)
		}
		after.Close()
		t.Logf("busy %v: %d syncs of the log", busy, syncs.Load())
	}
}
