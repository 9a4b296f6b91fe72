package disk

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// onDisks runs a benchmark on the disk, and in memory, which leaves what the code costs.
func onDisks(b *testing.B, size string, run func(b *testing.B, s *Store)) {
	for _, where := range []string{"disk", "memory"} {
		b.Run(where+"/"+size, func(b *testing.B) {
			o := options(b, b.TempDir())
			if where == "memory" {
				o.FS = vfs.NewMem()
			}
			s, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			b.ResetTimer()
			run(b, s)
		})
	}
}

// BenchmarkCommit is the way to 250, from 20 sessions at once.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"4KB", 4000}, {"100KB", 100_000}} {
		onDisks(b, c.name, func(b *testing.B, s *Store) {
			content := make([]byte, c.size)
			b.SetParallelism(10) // of GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := commit(s, content); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkLife is commit and settle, as of mail delivered at the first attempt; done marks go in batches.
func BenchmarkLife(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"4KB", 4000}, {"100KB", 100_000}} {
		onDisks(b, c.name, func(b *testing.B, s *Store) {
			content := make([]byte, c.size)
			done := make(chan *message.Envelope, 4096)
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				for env := range done {
					batch := []store.Change{settled(env)}
					for len(batch) < 256 && len(done) > 0 {
						batch = append(batch, settled(<-done))
					}
					if stale, err := s.Update(ctx, nil, batch...); err != nil || len(stale) > 0 {
						b.Error(stale, err)
					}
				}
			}()
			b.SetParallelism(10)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					env, err := commit(s, content)
					if err != nil {
						b.Error(err)
						return
					}
					done <- env
				}
			})
			close(done)
			<-finished
		})
	}
}

// BenchmarkDefer moves messages to another time, 256 in a batch.
func BenchmarkDefer(b *testing.B) {
	onDisks(b, "256", func(b *testing.B, s *Store) {
		envs := make([]*message.Envelope, 256)
		for i := range envs {
			env, err := commit(s, make([]byte, 1000))
			if err != nil {
				b.Fatal(err)
			}
			envs[i] = env
		}
		state := store.RcptState{Result: message.Deferred, Attempts: 1, First: base}
		b.ResetTimer()
		for i := range b.N {
			ch := make([]store.Change, len(envs))
			old := store.Entry{Lane: "mx:example.org", At: base.Add(time.Duration(i) * time.Second)}
			next := store.Entry{Lane: "mx:example.org", At: old.At.Add(time.Second)}
			for j, env := range envs {
				ch[j] = store.Change{ID: env.ID, Rev: store.Rev(i), Del: []store.Entry{old}, Add: []store.Entry{next}, Rcpts: []store.RcptChange{{RcptState: state}}}
			}
			if stale, err := s.Update(ctx, nil, ch...); err != nil || len(stale) > 0 {
				b.Fatal(len(stale), err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(envs)), "ns/change")
	})
}
