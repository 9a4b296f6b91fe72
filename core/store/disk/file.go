package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// A body file starts with a header that names its message, so that a stale or torn file is never sent as something else:
// magic, id, two bytes 0, length of the content (u64), CRC-32C of the content (u32), all big-endian.
const (
	fileHeader = 32
	fileMagic  = "spbody\x00\x01"
)

// writeBody tells Pebble's disk statistics what these writes are.
const writeBody vfs.DiskWriteCategory = "stagepost-body"

func appendFileHeader(b []byte, id store.ID, size int64, crc uint32) []byte {
	b = append(b, fileMagic...)
	b = append(b, id[:]...)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return binary.BigEndian.AppendUint32(b, crc)
}

func (s *Store) bodyPath(id store.ID) string { return s.path(bodyFolder, id.String()) }

func (s *Store) createFile(id store.ID) (vfs.File, error) {
	name := s.bodyPath(id)
	f, err := s.fs.OpenReadWrite(name, writeBody)
	if err == nil && s.opts.FS == nil {
		if err = os.Chmod(name, 0o600); err != nil {
			f.Close()
			s.fs.Remove(name)
		}
	}
	return f, err
}

// openFile opens the body file of a message and reads all of it once: what is damaged must be known before a byte is sent.
func (s *Store) openFile(id store.ID, p place) (vfs.File, error) {
	f, err := s.fs.Open(s.bodyPath(id), vfs.SequentialReadsOption)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: message %s: its file is gone", store.ErrDamaged, id)
		}
		return nil, err
	}
	if err := checkFile(f, id, p); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: message %s: %w", store.ErrDamaged, id, err)
	}
	return f, nil
}

func checkFile(f vfs.File, id store.ID, p place) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != fileHeader+p.size {
		return fmt.Errorf("its file has %d bytes, not %d", info.Size(), fileHeader+p.size)
	}
	header := make([]byte, fileHeader)
	if _, err := io.ReadFull(f, header); err != nil {
		return err
	}
	if string(header) != string(appendFileHeader(nil, id, p.size, p.crc)) {
		return errors.New("its file begins with another header")
	}
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, make([]byte, maxInline)); err != nil {
		return err
	}
	if sum.Sum32() != p.crc {
		return errors.New("its file has another checksum")
	}
	return nil
}

// ownFile tells whether a body file was written by a store for that message, as far as it came: the header is written last.
func (s *Store) ownFile(id store.ID) bool {
	f, err := s.fs.Open(s.bodyPath(id))
	if err != nil {
		return false
	}
	defer f.Close()
	have := make([]byte, len(fileMagic)+len(id))
	n, err := f.ReadAt(have, 0)
	if err != nil && err != io.EOF {
		return false
	}
	have = have[:n]
	return bytes.HasPrefix(append([]byte(fileMagic), id[:]...), have) || len(bytes.Trim(have, "\x00")) == 0
}

// groupSync lets callers that come while a sync is under way share the next one.
type groupSync struct {
	sync func() error

	running sync.Mutex
	mu      sync.Mutex
	next    *syncRound // gathers callers until its sync starts
}

type syncRound struct {
	done chan struct{}
	err  error
}

// do returns after a sync that started after do was called.
func (g *groupSync) do() error {
	g.mu.Lock()
	if r := g.next; r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r := &syncRound{done: make(chan struct{})}
	g.next = r
	g.mu.Unlock()

	g.running.Lock()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	r.err = g.sync()
	g.running.Unlock()
	close(r.done)
	return r.err
}

func syncDir(fs vfs.FS, name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
