package disk

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// census is what the records say at the start.
type census struct {
	newest  store.ID
	used    []slotID   // sorted
	damaged []store.ID // sorted: records that cannot be read, which may name anything
}

// sortFolder counts the messages and looks through the folders: body files that no record names go, slots that none names are
// free, and what is not ours stays and is reported. New ids come behind all that is there. What is older than the store is of
// one before it, which was lost or moved away: it may be all that is left of its mail.
func (s *Store) sortFolder() error {
	c, err := s.count()
	if err != nil {
		return err
	}
	names, err := s.fs.List(s.path(bodyFolder))
	if err != nil {
		return err
	}
	var strange []string
	for _, name := range names {
		if slices.Contains(slotFolders[:], name) {
			continue
		}
		id, err := message.ParseID(name)
		if err != nil || !s.regular(bodyName{file: id}) {
			strange = append(strange, s.path(bodyFolder, name))
			continue
		}
		if bytes.Compare(id[:], c.newest[:]) > 0 {
			c.newest = id
		}
		owner, own := s.ownerOf(id)
		used, err := s.usesFile(id, owner)
		if err != nil {
			return err
		}
		switch {
		case used:
		case s.before(id) || !own:
			strange = append(strange, s.path(bodyFolder, name))
		default:
			s.reaper.add(bodyName{file: id})
		}
	}
	open, foreign, err := s.sortSlots(c)
	if err != nil {
		return err
	}
	strange = append(strange, foreign...)
	if names, err = s.fs.List(s.opts.Dir); err != nil {
		return err
	}
	ours := append([]string{storeFolder, bodyFolder, lockName, ballastName}, s.opts.Known...)
	for _, name := range names {
		if !slices.Contains(ours, name) {
			strange = append(strange, s.path(name))
		}
	}
	s.report(strange)
	if last := message.LastAt(s.opts.Since); bytes.Compare(last[:], c.newest[:]) > 0 {
		c.newest = last
	}
	s.ids = message.NewIDs(s.now, 0, c.newest)
	s.looking.Go(func() { s.lookAt(open, c.damaged) })
	return nil
}

// before tells whether an id is older than the store.
func (s *Store) before(id store.ID) bool {
	return id.Time().Before(s.created.Truncate(time.Millisecond))
}

func (s *Store) regular(name bodyName) bool {
	info, err := s.fs.Stat(s.bodyPath(name))
	return err == nil && info.Mode().IsRegular()
}

// usesFile tells whether a message has its content in that file: the one that it is called by, or the one that its header names. Where a
// record cannot be read, it may.
func (s *Store) usesFile(file, owner store.ID) (bool, error) {
	for _, id := range []store.ID{file, owner} {
		p, exists, err := s.place(id)
		if err != nil {
			return false, err
		}
		if exists && (p.damaged || p.inFile && p.name(id).file == file) {
			return true, nil
		}
	}
	return false, nil
}

// sortSlots finds the slots that no record names, and what is called by no number. The numbers of new ones come behind all that
// are there, or were.
func (s *Store) sortSlots(c *census) (open []slotID, foreign []string, err error) {
	for _, id := range c.used {
		s.slots.next[id.class-1] = max(s.slots.next[id.class-1], id.n+1)
	}
	for i, folder := range slotFolders {
		names, err := s.fs.List(s.path(bodyFolder, folder))
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			n, err := strconv.ParseUint(name, 10, slotBits)
			if err != nil || strconv.FormatUint(n, 10) != name {
				foreign = append(foreign, s.path(bodyFolder, folder, name))
				continue
			}
			id := slotID{uint8(i + 1), n}
			s.slots.next[i] = max(s.slots.next[i], n+1)
			if _, used := slices.BinarySearchFunc(c.used, id, slotID.compare); !used {
				open = append(open, id)
			}
		}
	}
	return open, foreign, nil
}

// lookAt makes slots free that no record names, one after the other and in nobody's way: each is read at its beginning, and new
// ones are made as long as those are missing.
func (s *Store) lookAt(open []slotID, damaged []store.ID) {
	var strange []string
	for _, id := range open {
		select {
		case <-s.health.quit:
			return
		default:
		}
		sl := &slot{slotID: id, named: true}
		if !s.regular(sl.name()) {
			strange = append(strange, s.bodyPath(sl.name()))
			continue
		}
		head, err := s.beginning(sl.name())
		if err != nil {
			s.log.Warn("store: a slot cannot be read and is left alone", "file", s.bodyPath(sl.name()), "error", err)
			continue
		}
		owner, known, ours := slotOwner(head)
		_, doubt := slices.BinarySearchFunc(damaged, owner, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
		switch {
		case !ours || known && s.before(owner):
			strange = append(strange, s.bodyPath(sl.name()))
		case known && doubt: // left until that message is gone, and the next start
		default:
			s.reap(sl.name(), sl)
		}
	}
	s.report(strange)
}

// count reads all records.
func (s *Store) count() (c *census, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyMessage}, UpperBound: []byte{keyMessage + 1}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	c = &census{}
	for it.First(); it.Valid(); it.Next() {
		id, ok := idOf(it.Key())
		if !ok {
			continue
		}
		c.newest = id
		s.depth.Add(1)
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		switch p, _, err := readRecord(v); {
		case err != nil:
			c.damaged = append(c.damaged, id)
		case p.slot.class > 0:
			c.used = append(c.used, p.slot)
		}
	}
	slices.SortFunc(c.used, slotID.compare)
	return c, it.Error()
}

// report tells of files that are not ours, which are never touched.
func (s *Store) report(strange []string) {
	const most = 20
	slices.Sort(strange)
	for i, name := range strange {
		if i == most {
			s.log.Warn("store: further files in the data folder do not belong there and are left alone", "count", len(strange)-most)
			return
		}
		s.log.Warn("store: a file in the data folder does not belong there and is left alone", "file", name)
	}
}
