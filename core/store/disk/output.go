package disk

import (
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// output is the slot or the file that a content is written to.
type output struct {
	name bodyName
	file vfs.File
	slot *slot // nil: the file is the content's own
	room int64 // what goes in, header included
}

// output makes a place for n bytes, header included: a slot of the smallest class that takes them, or the file of that name. It
// is held until letGo.
func (s *Store) output(file store.ID, n int64) (output, error) {
	o := output{name: bodyName{file: file}, room: math.MaxInt64}
	for c, room := range s.opts.slotClasses {
		if n <= room {
			sl, err := s.takeSlot(uint8(c+1), pages(n))
			if err != nil {
				return output{}, beforeCommit("taking a slot", err)
			}
			o = output{name: sl.name(), file: sl.file, slot: sl, room: s.opts.slotClasses[sl.class-1]}
			break
		}
	}
	if o.slot == nil {
		f, err := s.createFile(o.name)
		if err != nil {
			return output{}, beforeCommit("creating the body file", err)
		}
		o.file = f
	}
	s.files.hold(o.name)
	return o, nil
}

// pages rounds up to what is written to a slot at once.
func pages(n int64) int64 { return (n + slotPage - 1) / slotPage * slotPage }

func (o *output) write(b []byte, at int64) error {
	end := at + int64(len(b))
	if _, err := o.file.WriteAt(b, at); err != nil {
		o.spoil()
		return beforeCommit("writing the content", err)
	}
	if o.slot != nil {
		o.slot.size = max(o.slot.size, end)
	}
	return nil
}

// spoil notes that a write or a sync failed. What the kernel still holds of the file may not be what is on the disk, and it will
// not say so again.
func (o *output) spoil() {
	if o.slot != nil {
		o.slot.bad = true
	}
}

// sync makes all durable that was written, and the name of what it was written to, which a slot needs once.
func (s *Store) syncOutput(o *output) error {
	if err := o.file.SyncData(); err != nil {
		o.spoil()
		return beforeCommit("syncing the content", err)
	}
	if o.slot != nil && o.slot.named {
		return nil
	}
	if err := s.bodySync[o.name.slot.class].do(); err != nil {
		o.spoil()
		return beforeCommit("syncing the body folder", err)
	}
	if o.slot != nil {
		o.slot.named = true
	}
	return nil
}

// letGo ends the hold of an output; unless it is kept, no record names it, and it is free for others.
func (s *Store) letGo(o output, kept bool) (err error) {
	if !kept {
		s.files.forget(o.name)
	}
	if o.slot == nil {
		err = o.file.Close()
	}
	s.files.release(o.name, o.slot)
	return err
}
