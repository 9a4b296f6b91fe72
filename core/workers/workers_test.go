package workers

import (
	"sync"
	"testing"
	"testing/synctest"
)

func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		p := New(2, done)
		var group sync.WaitGroup
		all := make(chan struct{})
		ran := make(chan int, 5)
		for i := range 5 { // at once, so each has a goroutine of its own
			group.Add(1)
			p.Go(func() { <-all; ran <- i; group.Done() })
		}
		close(all)
		group.Wait()
		synctest.Wait()
		if len(ran) != 5 || p.Spares() != 2 {
			t.Errorf("%d ran, %d are kept; want 5 and 2", len(ran), p.Spares())
		}
		block := make(chan struct{})
		p.Go(func() { <-block })
		synctest.Wait()
		if p.Spares() != 1 {
			t.Errorf("%d are kept while one works again, want 1", p.Spares())
		}
		close(done)
		close(block)
		synctest.Wait()
		if p.Spares() != 0 {
			t.Errorf("%d are kept after the end", p.Spares())
		}
		after := make(chan struct{})
		p.Go(func() { close(after) })
		<-after
	})
}

// What a task costs whose stack grows: on a goroutine that is kept, and on a new one.
func BenchmarkDeepTask(b *testing.B) {
	done := make(chan struct{})
	defer close(done)
	p := New(4, done)
	ended := make(chan struct{})
	task := func() { deep(40); ended <- struct{}{} }
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			p.Go(task)
			<-ended
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			go task()
			<-ended
		}
	})
}

//go:noinline
func deep(n int) byte {
	var room [256]byte
	room[n] = byte(n)
	if n == 0 {
		return room[0]
	}
	return deep(n-1) + room[n]
}
