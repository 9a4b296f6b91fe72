package service

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/stagepost/stagepost/core/message"
)

// A snapshot is a file NAME.cbor: the line below, the entries one after the other as CBOR lists of key, value and expiry in
// milliseconds since 1970, and the CRC-32C of all that in four bytes, most significant first. It is written beside the old
// one, synced, and put in its place.
const (
	snapshotHead = "stagepost kv 1\n"
	extension    = ".cbor"
	aside        = ".damaged"
	unfinished   = ".new"
)

type record struct {
	_       struct{} `cbor:",toarray"`
	Key     string
	Value   any
	Expires int64
}

// snapshotSlack is how much larger a file may be than the bound on a space's bytes; more is not read.
const snapshotSlack = 1 << 20

// write saves what changed, until the Store is closed.
func (s *Store) write() {
	defer close(s.done)
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		err := s.save()
		if err != nil && !failed {
			s.Log.Error("plugins' values cannot be written; they live in memory and are tried again", "folder", s.Folder, "error", err)
		} else if err == nil && failed {
			s.Log.Info("plugins' values are written again", "folder", s.Folder)
		}
		failed = err != nil
	}
}

// save writes the spaces that changed. It is called by one goroutine at a time.
func (s *Store) save() error {
	s.mu.RLock()
	names := make([]string, 0, len(s.spaces))
	for name := range s.spaces {
		names = append(names, name)
	}
	s.mu.RUnlock()
	var errs []error
	for _, name := range names {
		s.mu.RLock()
		sp := s.spaces[name]
		s.mu.RUnlock()
		errs = append(errs, s.saveSpace(name, sp))
	}
	return errors.Join(errs...)
}

func (s *Store) saveSpace(name string, sp *space) error {
	now := s.Now().UnixMilli()
	sp.mu.Lock()
	sp.expire(now)
	changes := sp.changes
	if changes == sp.saved {
		sp.mu.Unlock()
		return nil
	}
	records := make([]record, 0, len(sp.entries)) // values are never changed: written without the lock
	for _, e := range sp.due {
		records = append(records, record{Key: e.key, Value: e.value, Expires: e.expires})
	}
	sp.mu.Unlock()

	path := filepath.Join(s.Folder, name+extension)
	if len(records) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		sp.saved = changes
		return nil
	}
	if err := writeSnapshot(path, records); err != nil {
		return err
	}
	sp.saved = changes
	return nil
}

func writeSnapshot(path string, records []record) (err error) {
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path + unfinished)
		}
	}()
	mode, err := cbor.EncOptions{NilContainers: cbor.NilContainerAsEmpty}.UserBufferEncMode()
	if err != nil {
		return err
	}
	sum, buf := checksum(), bytes.NewBufferString(snapshotHead)
	flush := func() error {
		sum.Write(buf.Bytes())
		_, err := buf.WriteTo(f)
		return err
	}
	for i := range records {
		if err := mode.MarshalToBuffer(&records[i], buf); err != nil {
			return err
		}
		if buf.Len() >= 64<<10 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := f.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32())); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return err
	}
	// Without this a crash may bring the old snapshot back, which is whole, too; systems that cannot sync a folder do without.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		dir.Sync()
		dir.Close()
	}
	return nil
}

func checksum() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// load reads all snapshots of the folder.
func (s *Store) load() error {
	if err := os.MkdirAll(s.Folder, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(s.Folder)
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(s.Folder, f.Name())
		if strings.HasSuffix(f.Name(), extension+unfinished) {
			os.Remove(path) // left over by a crash
			continue
		}
		name, ok := strings.CutSuffix(f.Name(), extension)
		if !ok || !spacePattern.MatchString(name) || !f.Type().IsRegular() {
			continue
		}
		sp, err := s.loadSpace(path)
		var damage *damageError
		switch {
		case errors.As(err, &damage):
			if err := os.Rename(path, path+aside); err != nil {
				return fmt.Errorf("%s is damaged and cannot be set aside: %w", path, err)
			}
			s.Log.Error("a plugin's values are damaged; it starts without them", "plugin", name, "file", path+aside, "error", err)
		case err != nil:
			return err
		case len(s.spaces) >= maxSpaces:
			return fmt.Errorf("%s holds more than %d spaces; remove those of plugins that are gone", s.Folder, maxSpaces)
		default:
			s.spaces[name] = sp
		}
	}
	return nil
}

// damageError says that a file is not what was written.
type damageError struct{ why string }

func (e *damageError) Error() string { return e.why }

func (s *Store) loadSpace(path string) (*space, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	most := int64(s.Bytes) + snapshotSlack
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, &damageError{fmt.Sprintf("the file is larger than %d bytes", most)}
	}
	records, err := readSnapshot(data)
	if err != nil {
		return nil, err
	}
	sp, now, dropped := newSpace(), s.Now().UnixMilli(), 0
	for _, r := range records {
		if r.Expires <= now {
			sp.changes++ // the file holds more than the space
		} else if err := sp.put(s, r.Key, r.Value, r.Expires); err != nil {
			dropped++
		}
	}
	if dropped > 0 {
		s.Log.Warn("a plugin's values do not fit any more", "file", path, "dropped", dropped)
	}
	if len(sp.entries) == len(records) {
		sp.saved = sp.changes
	}
	return sp, nil
}

func readSnapshot(data []byte) ([]record, error) {
	end := len(data) - crc32.Size
	if end < len(snapshotHead) || string(data[:len(snapshotHead)]) != snapshotHead {
		return nil, &damageError{"this is no snapshot, or it is cut off"}
	}
	sum := checksum()
	sum.Write(data[:end])
	if sum.Sum32() != binary.BigEndian.Uint32(data[end:]) {
		return nil, &damageError{"the checksum is wrong"}
	}
	mode, err := cbor.DecOptions{
		IntDec: cbor.IntDecConvertSignedOrFail, DefaultMapType: reflect.TypeFor[map[string]any](), UTF8: cbor.UTF8DecodeInvalid,
		TagsMd: cbor.TagsForbidden, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 16, DupMapKey: cbor.DupMapKeyEnforcedAPF,
	}.DecMode()
	if err != nil {
		return nil, err
	}
	var records []record
	d := mode.NewDecoder(bytes.NewReader(data[len(snapshotHead):end]))
	for {
		var r record
		switch err := d.Decode(&r); {
		case err == io.EOF:
			return records, nil
		case err != nil:
			return nil, &damageError{err.Error()}
		}
		if n, err := message.SizeOf(r.Value); err != nil || n > MaxValue || r.Key == "" || len(r.Key) > MaxKey {
			return nil, &damageError{"an entry is out of bounds"}
		}
		records = append(records, r)
	}
}
