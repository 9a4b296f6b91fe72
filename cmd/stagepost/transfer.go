package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// transfer shows on a terminal how far packages have come on their way.
type transfer struct {
	*bar
	total int

	mu    sync.Mutex
	at    int // which of them is on its way, from 1
	name  string
	bytes int64

	drawnAt time.Time
}

func newTransfer(cmd *cobra.Command, wanted bool, packages int) *transfer {
	return &transfer{bar: newBar(cmd, wanted), total: packages}
}

// next begins with one more package.
func (t *transfer) next(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.name = t.at+1, name
	t.draw()
}

// moved counts bytes; it may be called from any goroutine.
func (t *transfer) moved(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes += n; time.Since(t.drawnAt) >= drawEvery {
		t.draw()
	}
}

// drawEvery is how often bytes alone move the line.
const drawEvery = 100 * time.Millisecond

func (t *transfer) draw() {
	t.drawnAt = time.Now()
	t.line(t.words)
}

// words is how far it is.
func (t *transfer) words(took time.Duration) string {
	done, total := max(t.at-1, 0), max(t.total, t.at, 1)
	full := 20 * done / total
	return fmt.Sprintf("[%s%s] %d of %d  %s, %s, %s/s", strings.Repeat("#", full), strings.Repeat(".", 20-full), done, total, printable(t.name), size(t.bytes),
		size(int64(float64(t.bytes)/max(took.Seconds(), 0.001))))
}

func (t *transfer) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bar.clear()
}

// expect says how many there are, where that is known later.
func (t *transfer) expect(packages int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = packages
}
