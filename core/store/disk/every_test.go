package disk

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// answered is what the store said of one message.
type answered struct {
	id      store.ID
	content []byte
	err     error // of Commit
	settled bool  // Update was called
	gone    bool  // and returned nil
}

// live is a short life of a store: small and large mail comes, some of it goes, and logs and tables are begun.
func live(s *Store, told func(answered)) {
	for i := range 24 {
		size := 29_000
		switch i % 6 {
		case 0:
			size = 500
		case 1:
			size = 70_000 // in a slot
		case 3:
			size = 200_000 // in a larger one, or a file
		}
		content := make([]byte, size)
		content[0] = byte(i)
		b, err := s.Body(ctx, int64(size*(i%3))) // said to be larger, or nothing is said
		if err != nil {
			continue
		}
		a := answered{id: b.ID(), content: content, err: store.ErrUnknown}
		env := envelope(a.id)
		told(a)
		if i%4 == 1 { // a content that takes another's place
			b.Write(content[:len(content)/2])
			w, err := b.Instead(ctx, 0)
			if err != nil {
				b.Abort()
				a.err = err
				told(a)
				continue
			}
			b.Abort()
			b = w
		}
		if _, err := b.Write(content); err != nil {
			a.err = err
		} else {
			a.err = s.Commit(ctx, env, b)
		}
		told(a)
		b.Abort()
		if (i%3 == 2 || i%12 == 1 || i%12 == 3) && a.err == nil {
			a.settled = true
			told(a)
			stale, err := s.Update(ctx, nil, settled(env))
			a.gone = err == nil && len(stale) == 0
			told(a)
		}
	}
}

// TestEveryCallFails lets the first, second, third ... call of the file system fail, in each of the ways that disks have. The
// power goes when the store has ended its life, or the process ends for the fault: what was answered must be so.
func TestEveryCallFails(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for _, c := range []struct {
		name   string
		err    error
		sticky bool
		short  bool // half of what is to be written is
	}{
		{name: "EIO", err: syscall.EIO},
		{name: "EIO for good", err: syscall.EIO, sticky: true},
		{name: "EROFS for good", err: syscall.EROFS, sticky: true},
		{name: "ENOSPC", err: syscall.ENOSPC},
		{name: "EDQUOT, half written", err: syscall.EDQUOT, short: true},
		{name: "EMFILE", err: syscall.EMFILE},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs, ended, unopened := 0, 0, 0
			for k := 1; ; k += stride {
				hit := everyCall(t, int64(k), c.err, c.sticky, c.short, &ended, &unopened)
				runs++
				if !hit || t.Failed() {
					break
				}
			}
			runtime.GC()
			t.Logf("%d runs: %d did not open, %d ended the process, the others went on", runs, unopened, ended)
		})
	}
}

func everyCall(t *testing.T, k int64, errno error, sticky, short bool, ended, unopened *int) (hit bool) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var calls atomic.Int64
	o := options(t, "/data")
	o.pause = time.Millisecond
	o.slotClasses, o.Wipe = crashClasses, k%2 == 0
	o.FS = &faultFS{FS: mem, short: short, fail: func(op, name string) error {
		if op == "open" || op == "read" || op == "list" || errno == syscall.EMFILE && op != "create" && op != "opendir" {
			return nil
		}
		if n := calls.Add(1); n == k || sticky && n > k {
			return errno
		}
		return nil
	}}
	fatal := make(chan string, 1)
	o.OnFatal = func(line string) { fatal <- line }
	o.misuse = func(string) {}
	tell, done := make(chan answered), make(chan error, 1)
	go func() {
		s, err := Open(o)
		if err != nil {
			done <- err
			return
		}
		live(s, func(a answered) { tell <- a })
		done <- nil
		<-tell // closed when the image is taken
		s.Close()
	}()
	said := map[store.ID]answered{}
	deadline := time.After(30 * time.Second)
	for over := false; !over; {
		select {
		case a := <-tell:
			said[a.id] = a
		case err := <-done:
			if over = true; err != nil {
				*unopened++
			}
		case <-fatal:
			over = true
			*ended++
		case <-deadline:
			t.Fatalf("call %d fails with %v: the store hangs", k, errno)
		}
	}
	image := mem.CrashClone(vfs.CrashCloneCfg{})
	close(tell)

	o = options(t, "/data")
	o.FS, o.slotClasses = image, crashClasses
	s, err := Open(o)
	if err != nil {
		t.Fatalf("call %d fails with %v: the next start: %v", k, errno, err)
	}
	defer s.Close()
	for id, a := range said {
		_, _, err := s.Load(ctx, id)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			t.Errorf("call %d fails with %v: Load: %v", k, errno, err)
		case err != nil && a.err == nil && !a.settled:
			t.Errorf("call %d fails with %v: a message of %d octets is lost that was committed", k, errno, len(a.content))
		case err == nil && a.gone:
			t.Errorf("call %d fails with %v: a message is back that was settled", k, errno)
		case err == nil && (errors.Is(a.err, store.ErrFull) || errors.Is(a.err, store.ErrBusy)):
			t.Errorf("call %d fails with %v: a message is there of which nothing was to be written: %v", k, errno, a.err)
		}
		if err != nil {
			continue
		}
		r, err := s.Open(ctx, id)
		if err != nil {
			t.Errorf("call %d fails with %v: a message without its content: %v", k, errno, err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if r.Close(); err != nil || string(got) != string(a.content) {
			t.Errorf("call %d fails with %v: the content is another one: %v", k, errno, err)
		}
	}
	return calls.Load() >= k
}
