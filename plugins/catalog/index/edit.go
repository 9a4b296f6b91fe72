package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog"
)

// Add enters a version, signed with a key, or unsigned with none. One that is there already with the same content gets the new places and the
// new signature: so entries are signed anew when a key is changed.
func (x *Index) Add(p *catalog.Package, places []string, key *Secret, now time.Time) error {
	s := p.Summary
	e := Entry{
		ID: s.ID, Version: s.Version, API: s.API, Digest: p.Digest, Description: s.Description, Engine: s.Engine,
		Places: slices.Clone(places), Issued: now.UTC().Truncate(time.Second),
	}
	var err error
	if e.Needs, err = plainNeeds(s.Needs); err != nil {
		return err
	}
	if key != nil {
		e.Sign(key)
	}
	if err := e.check(); err != nil {
		return err
	}
	if i := x.at(s.ID, s.Version); i >= 0 {
		old := &x.Entries[i]
		if old.Digest != e.Digest {
			return fmt.Errorf("%s %s is in the index with other content (%s, and not %s); a version never changes, so raise it", e.ID, e.Version, old.Digest, e.Digest)
		}
		e.Issued, e.Yanked = old.Issued, old.Yanked
		*old = e
		return nil
	}
	if len(x.Entries) >= maxEntries {
		return fmt.Errorf("the index has %d entries already, the most of one", len(x.Entries))
	}
	x.Entries = append(x.Entries, e)
	slices.SortFunc(x.Entries, order)
	return nil
}

// plainNeeds gives needs as they are after they were read.
func plainNeeds(needs map[string]any) (out map[string]any, err error) {
	text, err := json.Marshal(needs)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// Sign signs the entry's statement, in the place of who did before.
func (e *Entry) Sign(key *Secret) {
	statement := e.Statement()
	e.Signature = string(key.Sign(statement, string(statement[:len(statement)-1])))
}

// Yank marks a version as one that should not be installed any more. It stays in the index, for those that have it.
func (x *Index) Yank(id, version, reason string) error {
	i := x.at(id, version)
	switch {
	case i < 0:
		return fmt.Errorf("there is no %s %s in the index", id, version)
	case reason == "" || !validText(reason, maxText):
		return fmt.Errorf("the reason why %s %s is yanked has to be a line of at most %d bytes", id, version, maxText)
	}
	x.Entries[i].Yanked = reason
	return nil
}

// Renew makes the next serial of the index, which may be used for some time from now.
func (x *Index) Renew(now time.Time, life time.Duration) error {
	now = now.UTC().Truncate(time.Second)
	switch {
	case life < time.Second || life > MaxLife:
		return fmt.Errorf("an index may be used for up to %d days, and not for %s", MaxLife/(24*time.Hour), life)
	case now.Before(x.Issued):
		return fmt.Errorf("the index was issued on %s, and the clock of this machine says that it is %s", stamp(x.Issued), stamp(now))
	case x.Serial >= maxSerial:
		return errors.New("there is no serial after that of the index")
	}
	x.Serial++
	x.Issued, x.Expires = now, now.Add(life.Truncate(time.Second))
	return nil
}

// Signed gives the file and its signature, once it is sure that Decode takes it.
func (x *Index) Signed(key *Secret) (data, signature []byte, err error) {
	data = x.Encode()
	if _, err := Decode(data); err != nil {
		return nil, nil, err
	}
	if key != nil {
		signature = key.Sign(data, fmt.Sprintf("stagepost index %s %d", x.Name, x.Serial))
	}
	return data, signature, nil
}

// at finds an entry; -1 is none.
func (x *Index) at(id, version string) int {
	return slices.IndexFunc(x.Entries, func(e Entry) bool { return e.ID == id && e.Version == version })
}
