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
// magic, id, two bytes that are 1 in a content that took another's place and so is not called by the id, else 0, length of the
// content (u64), CRC-32C of the content (u32), all big-endian.
const (
	fileHeader = 32
	fileMagic  = "spbody\x00\x01"
)

// writeBody tells Pebble's disk statistics what these writes are.
const writeBody vfs.DiskWriteCategory = "stagepost-body"

func appendFileHeader(b []byte, id store.ID, instead bool, size int64, crc uint32) []byte {
	b = append(b, fileMagic...)
	b = append(b, id[:]...)
	b = append(b, 0, 0)
	if instead {
		b[len(b)-1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return binary.BigEndian.AppendUint32(b, crc)
}

func (s *Store) bodyPath(name store.ID) string { return s.path(bodyFolder, name.String()) }

func (s *Store) createFile(file store.ID) (vfs.File, error) {
	name := s.bodyPath(file)
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
	f, err := s.fs.Open(s.bodyPath(p.name(id)), vfs.SequentialReadsOption)
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
	if string(header) != string(appendFileHeader(nil, id, p.name(id) != id, p.size, p.crc)) {
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

// ownerOf finds the message that a body file was written for; own tells whether a store wrote it under that name, as far as it came:
// the header is written last, and what has none is nobody's.
func (s *Store) ownerOf(name store.ID) (owner store.ID, own bool) {
	f, err := s.fs.Open(s.bodyPath(name))
	if err != nil {
		return name, false
	}
	defer f.Close()
	const idEnd = len(fileMagic) + idLen
	have := make([]byte, idEnd+2)
	n, err := f.ReadAt(have, 0)
	if err != nil && err != io.EOF {
		return name, false
	}
	if n == len(have) && string(have[:len(fileMagic)]) == fileMagic && have[idEnd+1] == 1 {
		return store.ID(have[len(fileMagic):idEnd]), true
	}
	have = have[:n]
	return name, bytes.HasPrefix(appendFileHeader(nil, name, false, 0, 0), have) || len(bytes.Trim(have, "\x00")) == 0
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
