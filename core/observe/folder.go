package observe

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxSegment     = 4 << 20
	minSegment     = 64 << 10
	maxSegmentFile = 16 << 20 // a bigger file is none of ours
)

// segment is one file. Its fields are guarded by the mutex of its folder, but for path, which does not change.
type segment struct {
	path   string
	size   int64 // what is written whole
	first  time.Time
	last   time.Time
	filter *filter // nil: not known yet
}

// folder is the segments in a directory, oldest first, the last of which may be written to. Writing, pruning and closing are for
// one goroutine at a time; the rest for any.
type folder struct {
	dir  string
	size atomic.Int64 // bytes of all segments
	age  atomic.Int64 // of a segment, in nanoseconds
	now  func() time.Time
	log  *slog.Logger
	seed maphash.Seed

	file    *os.File // of the last segment, when it is written to
	highest uint64   // number of a file

	mu       sync.Mutex
	segments []*segment
}

// openFolder reads what is there. Segments are numbered; a number is used once.
func openFolder(dir string, size int64, age time.Duration, now func() time.Time, log *slog.Logger) (*folder, error) {
	f := &folder{dir: dir, now: now, log: log, seed: maphash.MakeSeed()}
	f.limit(size, age)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile(`^([0-9]{16})\.rec$`)
	for _, file := range files { // sorted by name
		path := filepath.Join(dir, file.Name())
		m := name.FindStringSubmatch(file.Name())
		if m == nil {
			log.Warn("a file that is no message record lies among them; it is left alone", "file", path)
			continue
		}
		f.highest, _ = strconv.ParseUint(m[1], 10, 64)
		seg, err := inspect(path)
		if err != nil {
			log.Warn("a file among the message records cannot be used; it is left alone", "file", path, "error", err)
			continue
		}
		f.segments = append(f.segments, seg)
	}
	f.resume()
	return f, nil
}

// limit sets the bounds.
func (f *folder) limit(size int64, age time.Duration) {
	f.size.Store(size)
	f.age.Store(int64(age))
}

// segmentSize is when a segment is full.
func (f *folder) segmentSize() int64 { return min(max(f.size.Load()/8, minSegment), maxSegment) }

// inspect looks at the head of a segment.
func inspect(path string) (*segment, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSegmentFile {
		return nil, errors.New("it is not a segment")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	head := make([]byte, len(segmentHeader))
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if _, ok := body(head[:n]); !ok {
		return nil, errors.New("it is not a segment of this version")
	}
	return &segment{path: path, size: info.Size(), first: info.ModTime(), last: info.ModTime()}, nil
}

// resume goes on with the last segment, if it is whole and has room.
func (f *folder) resume() {
	if len(f.segments) == 0 {
		return
	}
	seg := f.segments[len(f.segments)-1]
	if seg.size >= f.segmentSize() || seg.size < int64(len(segmentHeader)) {
		return
	}
	b, _, err := f.read(seg, nil)
	if err != nil {
		return
	}
	ids := new(filter)
	e, rest, ok := next(b)
	if ok {
		if steps, err := e.appendSteps(nil); err == nil && len(steps) > 0 {
			seg.first = steps[0].Time
		}
	}
	for ; ok; e, rest, ok = next(rest) {
		if !e.sound() {
			return
		}
		ids.add(f.hash(e.id()))
		b = rest
	}
	if len(b) > 0 {
		return
	}
	if file, err := os.OpenFile(seg.path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		f.file, seg.filter = file, ids
	}
}

// write appends entries, beginning new segments as needed, and returns how many it wrote.
func (f *folder) write(b []byte) (count int, err error) {
	for len(b) > 0 {
		e, _, _ := next(b)
		seg, err := f.current(int64(entryHeader + len(e.payload)))
		if err != nil {
			return count, err
		}
		n, entries := f.fit(seg, b)
		if _, err := f.file.Write(b[:n]); err != nil {
			f.file.Close()
			f.file = nil // its tail may be torn
			return count, err
		}
		f.mu.Lock()
		seg.size += int64(n)
		seg.last = f.now()
		f.mu.Unlock()
		b, count = b[n:], count+entries
	}
	return count, nil
}

// fit returns how much of b goes into a segment, the first entry in any case, and adds the ids to its filter.
func (f *folder) fit(seg *segment, b []byte) (size, entries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := f.segmentSize() - seg.size
	for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
		if end := len(b) - len(rest); size == 0 || int64(end) <= room {
			size = end
		} else {
			break
		}
		entries++
		seg.filter.add(f.hash(e.id()))
	}
	return size, entries
}

// current returns the segment to write an entry to: the last one, or a new one when that has no room, or holds what should go
// soon.
func (f *folder) current(entrySize int64) (*segment, error) {
	now := f.now()
	if f.file != nil {
		f.mu.Lock()
		seg := f.segments[len(f.segments)-1]
		old := now.Sub(seg.first) > time.Duration(f.age.Load()/8) || now.Before(seg.first)
		full := seg.size+entrySize > f.segmentSize() && seg.size > int64(len(segmentHeader))
		f.mu.Unlock()
		if !full && !old {
			return seg, nil
		}
		f.file.Close()
		f.file = nil
	}
	f.highest++
	path := filepath.Join(f.dir, fmt.Sprintf("%016d.rec", f.highest))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteString(segmentHeader); err != nil {
		file.Close()
		os.Remove(path)
		return nil, err
	}
	seg := &segment{path: path, size: int64(len(segmentHeader)), first: now, last: now, filter: new(filter)}
	f.file = file
	f.mu.Lock()
	f.segments = append(f.segments, seg)
	f.mu.Unlock()
	f.prune()
	return seg, nil
}

// prune removes the oldest segments while all are too big together, or they are too old. The one that is written to goes by age
// only, when nothing was written to it for that long.
func (f *folder) prune() {
	segments := f.list()
	total := int64(0)
	if f.file != nil {
		total = f.segmentSize() // room for the last to grow
	}
	f.mu.Lock()
	for _, seg := range segments {
		total += seg.size
	}
	f.mu.Unlock()
	for i, seg := range segments {
		f.mu.Lock()
		size, old := seg.size, f.now().Sub(seg.last) > time.Duration(f.age.Load())
		f.mu.Unlock()
		active := f.file != nil && i == len(segments)-1
		if !old && (total <= f.size.Load() || active) {
			return
		}
		if active {
			f.file.Close()
			f.file = nil
		}
		if err := os.Remove(seg.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("an old segment of message records cannot be removed", "file", seg.path, "error", err)
			return
		}
		total -= size
		f.mu.Lock()
		f.segments = f.segments[1:]
		f.mu.Unlock()
	}
}

// list returns the segments, oldest first.
func (f *folder) list() []*segment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*segment(nil), f.segments...)
}

// mayHold says whether a segment has to be read to know.
func (f *folder) mayHold(seg *segment, id []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return seg.filter == nil || seg.filter.has(f.hash(id))
}

// learn sets the filter of a segment that was read whole.
func (f *folder) learn(seg *segment, ids *filter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seg.filter == nil {
		seg.filter = ids
	}
}

// read returns the entries of a segment as far as they are written whole, in buf, which it returns grown. One that was removed
// meanwhile is empty.
func (f *folder) read(seg *segment, buf []byte) (entries, grown []byte, err error) {
	f.mu.Lock()
	size := int(seg.size)
	f.mu.Unlock()
	if cap(buf) < size {
		buf = make([]byte, max(size, int(f.segmentSize())))
	}
	file, err := os.Open(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, buf, nil
	}
	if err != nil {
		return nil, buf, err
	}
	defer file.Close()
	n, err := io.ReadFull(file, buf[:size])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, buf, err
	}
	entries, _ = body(buf[:n])
	return entries, buf, nil
}

func (f *folder) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
