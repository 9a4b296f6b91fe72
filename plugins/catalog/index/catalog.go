package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

const (
	maxSignature = 2 << 10
	// skew is how far clocks may differ: an index may seem to be issued in the future by that.
	skew = time.Hour
	// A server that is given a new index has got its signature a moment before or after.
	tries    = 3
	tryAfter = time.Second
)

// Catalog is the indexes of a trust.toml, kept in a folder. It is safe for concurrent use, also by several processes.
type Catalog struct {
	trust  *trust.Trust
	folder string
	o      catalog.Options
	now    func() time.Time
	wait   time.Duration // before another try

	mu   sync.Mutex
	kept map[string]*kept // by name
}

// kept is one index as it is kept, or why it cannot be used.
type kept struct {
	index *Index
	err   error
}

// Open gives the catalog that trusts what t says and keeps indexes in a folder. Nothing is read yet.
func Open(t *trust.Trust, folder string, o catalog.Options, now func() time.Time) *Catalog {
	return &Catalog{trust: t, folder: folder, o: o, now: now, wait: tryAfter, kept: map[string]*kept{}}
}

// Problem is what went wrong with one index.
type Problem struct {
	Index   string
	Err     error
	Missed  bool // it could not be fetched; that it was refused is worse
	Usable  bool // what was kept before is used on
	Expires time.Time
}

func (p *Problem) Error() string {
	line := fmt.Sprintf("index %s: %v", p.Index, p.Err)
	if p.Usable {
		line += fmt.Sprintf("; the one that is kept is used on, until %s", stamp(p.Expires))
	}
	return line
}

func (p *Problem) Unwrap() error { return p.Err }

// Problems are what went wrong with several indexes, one line for each.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i := range p {
		errs[i] = p[i]
	}
	return errs
}

// Usable tells whether one can go on with what is kept of all indexes that could not be fetched, and none was refused.
func (p Problems) Usable() bool {
	for _, one := range p {
		if !one.Missed || !one.Usable {
			return false
		}
	}
	return true
}

func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Refresh fetches each index, and keeps those that are newer. Its error is of type Problems; indexes that are not in it are up to date.
func (c *Catalog) Refresh(ctx context.Context) error {
	var problems Problems
	for i := range c.trust.Indexes {
		x := &c.trust.Indexes[i]
		if err := c.refresh(ctx, x); err != nil {
			p := &Problem{Index: x.Name, Err: err, Missed: errors.As(err, new(missed))}
			if old, err := c.load(x); err == nil {
				p.Usable, p.Expires = true, old.Expires
			}
			problems = append(problems, p)
		}
	}
	return problems.orNil()
}

// RefreshOne is Refresh of one index.
func (c *Catalog) RefreshOne(ctx context.Context, name string) error {
	x, err := c.named(name)
	if err == nil {
		err = c.refresh(ctx, x)
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", name, err)
	}
	return nil
}

// Text gives an index as it is kept: its file and its signature, nil if it needs none, to be handed on.
func (c *Catalog) Text(name string) (x *Index, data, signature []byte, err error) {
	of, err := c.named(name)
	if err == nil {
		var text []byte
		if text, err = config.ReadFile(c.file(of), maxSignature+MaxBytes); err == nil {
			if x, err = c.read(of, text); err == nil {
				signature, data, err = unpack(text)
			}
		}
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("index %s: %w", name, err)
	}
	return x, data, signature, nil
}

func (c *Catalog) named(name string) (*trust.Index, error) {
	for i := range c.trust.Indexes {
		if c.trust.Indexes[i].Name == name {
			return &c.trust.Indexes[i], nil
		}
	}
	return nil, fmt.Errorf("%s does not name it", c.trust.File)
}

// missed is that something could not be fetched.
type missed struct{ error }

func (m missed) Unwrap() error { return m.error }

func (c *Catalog) refresh(ctx context.Context, x *trust.Index) (err error) {
	var data, signature []byte
	for try := 1; ; try++ {
		if data, signature, err = c.fetch(ctx, x); err != nil {
			return missed{err}
		}
		_, err = c.trust.VerifyIndex(x, data, signature)
		if err == nil {
			break
		}
		if try == tries {
			return err
		}
		select {
		case <-time.After(c.wait):
		case <-ctx.Done():
			return missed{context.Cause(ctx)}
		}
	}
	next, err := c.check(x, data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.folder, 0o755); err != nil {
		return err
	}
	if err := c.keep(ctx, x, next, pack(signature, data)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, x.Name)
	return nil
}

// keep puts an index in the place of the one that is kept, if it is newer. Only who has the desk looks and writes, so of two that do so at
// once, the older does not win.
func (c *Catalog) keep(ctx context.Context, x *trust.Index, next *Index, text []byte) error {
	d, err := desk.Take(ctx, c.folder, filepath.Base(c.file(x)), desk.Options{})
	if err != nil {
		return err
	}
	defer d.Leave()
	old, err := config.ReadFile(c.file(x), maxSignature+MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(old, text):
		return nil
	default:
		if was, err := c.read(x, old); err == nil { // otherwise it counts for nothing
			if err := newer(was, next); err != nil {
				return err
			}
		}
	}
	return d.WriteData(filepath.Join(d.Dir, filepath.Base(c.file(x))), text)
}

// newer tells why an index cannot take the place of another.
func newer(was, next *Index) error {
	switch {
	case next.Serial < was.Serial:
		return fmt.Errorf("it is an old one: its serial is %d, and that of the one that is kept %d; somebody may be replaying it, or else it is another index, which needs another name", next.Serial, was.Serial)
	case next.Serial == was.Serial && !bytes.Equal(next.Encode(), was.Encode()):
		return fmt.Errorf("it has the serial %d, as the one that is kept, and other content; whoever keeps it has to raise the serial", next.Serial)
	case next.Issued.Before(was.Issued):
		return fmt.Errorf("its serial %d is newer than the %d of the one that is kept, but it was issued before, on %s", next.Serial, was.Serial, stamp(next.Issued))
	}
	return nil
}

// check decodes an index whose signature is right, and tells why it cannot be used now.
func (c *Catalog) check(x *trust.Index, data []byte) (*Index, error) {
	next, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if next.Name != x.Name {
		return nil, fmt.Errorf("it calls itself %s; the name in %s has to be the same", next.Name, c.trust.File)
	}
	return next, c.current(next)
}

// current tells why an index cannot be used at this time.
func (c *Catalog) current(x *Index) error {
	now := c.now()
	switch {
	case !now.Before(x.Expires):
		return fmt.Errorf("it expired on %s; whoever keeps it has to renew it", stamp(x.Expires))
	case now.Add(skew).Before(x.Issued):
		return fmt.Errorf("it was issued on %s, and the clock of this machine says that it is %s; set the clock right", stamp(x.Issued), stamp(now))
	}
	return nil
}

func (c *Catalog) fetch(ctx context.Context, x *trust.Index) (data, signature []byte, err error) {
	if !x.Unsigned {
		signature, err = catalog.Fetch(ctx, x.Place+SignatureSuffix, maxSignature, c.o)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; an index needs its signature beside it", err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	data, err = catalog.Fetch(ctx, x.Place, MaxBytes, c.o)
	return data, signature, err
}

// file is where an index is kept.
func (c *Catalog) file(x *trust.Index) string { return filepath.Join(c.folder, "index-"+x.Name) }

// unsigned is the line in the place of the signature of an index that needs none.
const unsigned = "unsigned\n"

// pack makes one file of a signature and what it signs, so that they are changed at once: the four lines of the signature, and the index.
func pack(signature, data []byte) []byte {
	if signature == nil {
		return append([]byte(unsigned), data...)
	}
	return slices.Concat(signature, data)
}

// unpack takes apart what pack made.
func unpack(text []byte) (signature, data []byte, err error) {
	if data, free := bytes.CutPrefix(text, []byte(unsigned)); free {
		return nil, data, nil
	}
	lines := bytes.SplitAfterN(text, []byte("\n"), 5)
	if len(lines) < 5 {
		return nil, nil, errors.New("what is kept of it is damaged")
	}
	data = lines[4]
	return text[:len(text)-len(data)], data, nil
}

// read reads what is kept of an index. What is not signed with a key that is trusted now counts for nothing.
func (c *Catalog) read(x *trust.Index, text []byte) (*Index, error) {
	signature, data, err := unpack(text)
	if err != nil {
		return nil, err
	}
	if signature == nil && !x.Unsigned {
		return nil, errors.New("what is kept of it is not signed")
	}
	if _, err := c.trust.VerifyIndex(x, data, signature); err != nil {
		return nil, fmt.Errorf("what is kept of it does not count: %w", err)
	}
	kept, err := Decode(data)
	if err == nil && kept.Name != x.Name {
		err = fmt.Errorf("what is kept of it calls itself %s", kept.Name)
	}
	return kept, err
}

// load gives an index as it is kept, if it can be used now.
func (c *Catalog) load(x *trust.Index) (*Index, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept[x.Name]
	if k == nil {
		k = &kept{}
		var text []byte
		if text, k.err = config.ReadFile(c.file(x), maxSignature+MaxBytes); k.err == nil {
			k.index, k.err = c.read(x, text)
		} else if errors.Is(k.err, fs.ErrNotExist) {
			k.err = errors.New("it has never been fetched")
		}
		c.kept[x.Name] = k
	}
	if k.err != nil {
		return nil, k.err
	}
	if err := c.current(k.index); err != nil {
		return nil, err
	}
	return k.index, nil
}
