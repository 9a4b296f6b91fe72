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

// Slots and body files start with a header that names their message, so that a stale or torn one is never sent as something
// else: magic, id, two bytes, length of the content (u64), CRC-32C of the content (u32), all big-endian. The two bytes of a file
// are 1 in a content that took another's place and so is not called by the id, else 0. Those of a slot are a sum of the other
// bytes: a header whose write was cut short by a crash says nothing.
const (
	fileHeader = 32
	fileMagic  = "spbody\x00\x01"
	slotMagic  = "spslot\x00\x01"
	idEnd      = len(fileMagic) + idLen
)

// writeBody tells Pebble's disk statistics what these writes are.
const writeBody vfs.DiskWriteCategory = "stagepost-body"

// appendHeader appends the header of a content with that name. The message's own name is id.
func appendHeader(b []byte, name bodyName, id store.ID, size int64, crc uint32) []byte {
	start := len(b)
	if name.slot.class > 0 {
		b = append(b, slotMagic...)
	} else {
		b = append(b, fileMagic...)
	}
	b = append(b, id[:]...)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint32(b, crc)
	switch h := b[start:]; {
	case name.slot.class > 0:
		copy(h[idEnd:], headerSum(h))
	case name.file != id:
		h[idEnd+1] = 1
	}
	return b
}

// headerSum is the sum of a slot's header.
func headerSum(h []byte) []byte {
	sum := crc32.Update(crc32.Checksum(h[:idEnd], castagnoli), castagnoli, h[idEnd+2:fileHeader])
	return binary.BigEndian.AppendUint16(nil, uint16(sum))
}

// slotOwner reads the beginning of a slot that no record names. ours is false for what no store can have written there, not
// even half; known tells that the header is whole, and of message id.
func slotOwner(h []byte) (id store.ID, known, ours bool) {
	for i := range min(len(h), len(slotMagic)) {
		if h[i] != 0 && h[i] != slotMagic[i] {
			return id, false, false
		}
	}
	if len(h) < fileHeader || string(h[:len(slotMagic)]) != slotMagic || !bytes.Equal(h[idEnd:idEnd+2], headerSum(h)) {
		return id, false, true
	}
	return store.ID(h[len(slotMagic):idEnd]), true, true
}

// createFile opens what has that name for reading and writing; it makes what is not there.
func (s *Store) createFile(name bodyName) (vfs.File, error) {
	path := s.bodyPath(name)
	f, err := s.fs.OpenReadWrite(path, writeBody)
	if err == nil && s.opts.FS == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			f.Close()
			s.fs.Remove(path)
		}
	}
	return f, err
}

// openFile opens the content of a message for reading, and reads all of it once: what is damaged must be known before a byte is
// sent.
func (s *Store) openFile(id store.ID, p place) (vfs.File, error) {
	f, err := s.fs.Open(s.bodyPath(p.name(id)), vfs.SequentialReadsOption)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: message %s: its file is gone", store.ErrDamaged, id)
		}
		return nil, err
	}
	if err := s.checkFile(f, id, p); err != nil {
		f.Close()
		if unread := (*fs.PathError)(nil); errors.As(err, &unread) { // what lies there nobody knows: another time it may be read
			return nil, err
		}
		return nil, fmt.Errorf("%w: message %s: %w", store.ErrDamaged, id, err)
	}
	return f, nil
}

func (s *Store) checkFile(f vfs.File, id store.ID, p place) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if have, want := info.Size(), fileHeader+p.size; have < want || have > want && p.slot.class == 0 {
		return fmt.Errorf("its file has %d bytes, not %d", have, want)
	}
	header := make([]byte, fileHeader)
	if _, err := io.ReadFull(f, header); err != nil {
		return err
	}
	if string(header) != string(appendHeader(nil, p.name(id), id, p.size, p.crc)) {
		return errors.New("its file begins with another header")
	}
	piece := s.piece()
	defer s.pieces.Put(piece)
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(sum, io.LimitReader(f, p.size), piece[:]); err != nil {
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
	have, err := s.beginning(bodyName{file: name})
	if err != nil {
		return name, false
	}
	if len(have) > idEnd+1 && string(have[:len(fileMagic)]) == fileMagic && have[idEnd+1] == 1 {
		return store.ID(have[len(fileMagic):idEnd]), true
	}
	have = have[:min(len(have), idEnd+2)]
	return name, bytes.HasPrefix(appendHeader(nil, bodyName{file: name}, name, 0, 0), have) || len(bytes.Trim(have, "\x00")) == 0
}

// beginning reads where a header is, as far as there is something.
func (s *Store) beginning(name bodyName) ([]byte, error) {
	f, err := s.fs.Open(s.bodyPath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	have := make([]byte, fileHeader)
	n, err := f.ReadAt(have, 0)
	if err == io.EOF {
		err = nil
	}
	return have[:n], err
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
