package main

import (
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// TestTransfer: bytes are counted from any goroutine, and the line says how far it is.
func TestTransfer(t *testing.T) {
	b := newTransfer(&cobra.Command{}, false, 0)
	b.expect(4)
	b.next("vip 1.0.0")
	b.next("other\x1b 1.0.0")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { b.moved(150_000) })
	}
	all.Wait()
	if got, want := b.words(2*time.Second), `[#####...............] 1 of 4  other\x1b 1.0.0, 1.5 MB, 750.0 kB/s`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	b.clear()
}
