package crashfs

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// Image is a kind of crash image: which of what was not synced came to the disk.
type Image string

// The kinds. In all of them what was synced is there.
const (
	Synced   Image = "synced only"          // and nothing else
	Whole    Image = "all of it"            // as after the end of the process alone
	Torn1    Image = "torn at octets"       // each write absent, there, or in parts of any size; names by chance
	Torn512  Image = "torn at 512"          // the same in sectors
	Torn4096 Image = "torn at 4096"         // the same in pages
	Lengths  Image = "lengths without data" // and all names
	Names    Image = "names without data"   // each name by chance
	Removals Image = "removals alone"       // removals and renames, each by chance
	Mixed    Image = "mixed"                // everything by chance, each write torn in its own way
)

// Images lists the kinds in the order of reports.
func Images() []Image {
	return []Image{Synced, Whole, Torn1, Torn512, Torn4096, Lengths, Names, Removals, Mixed}
}

// Moment is a file system at rest, for as long as the function runs that was given it.
type Moment struct{ fs *FS }

// Image makes an image of the kind.
func (m *Moment) Image(kind Image, rng *rand.Rand) *FS {
	percent := []int{0, 25, 50, 75, 100}[rng.IntN(5)]
	return m.image(&chance{kind, rng, percent})
}

// Every makes all images there are, one after the other. Their number is a power of what is pending, so it is for histories of
// a few operations. Of a write longer than 16 octets not all tears at octets are made, but the first, the middle and the last.
func (m *Moment) Every() iter.Seq[*FS] {
	return func(yield func(*FS) bool) {
		e := &every{}
		for more := true; more; more = e.next() {
			if !yield(m.image(e)) {
				return
			}
		}
	}
}

// Log is the last of what was done before the moment.
func (m *Moment) Log(n int) []Op { return slices.Clone(m.fs.log[max(0, len(m.fs.log)-n):]) }

// Holding counts how often token is on the disk for certain, in files whose names are, and tells which files have it in a write
// that is not synced, or have a name that is not.
func (m *Moment) Holding(token []byte) (synced int, lacking []string) {
	var walk func(name string, n *inode, lasts bool)
	walk = func(name string, n *inode, lasts bool) {
		for base, child := range n.names {
			walk(path.Join(name, base), child, lasts && n.syncedNames[base] == child)
		}
		if n.folder {
			return
		}
		for _, c := range n.pending {
			if bytes.Contains(c.data, token) {
				lacking = append(lacking, name+": a write is not synced")
			}
		}
		all := make([]byte, n.synced.size)
		n.synced.readAt(all, 0)
		switch count := bytes.Count(all, token); {
		case count > 0 && !lasts:
			lacking = append(lacking, name+": its name is not synced")
		default:
			synced += count
		}
	}
	walk("/", m.fs.root, true)
	return synced, lacking
}

// chooser decides what came to the disk.
type chooser interface {
	// name tells whether a step of names came; half: a rename left the old name.
	name(m *move) (came, half bool)
	// truncation tells whether one came.
	truncation() bool
	// length tells whether a file is as long as a write made it that did not come whole.
	length() bool
	// write gives the parts of a write that came, as offsets into it.
	write(off int64, n int) []span
}

type span struct{ from, to int }

// image builds what the chooser says. fs.mu is held.
func (m *Moment) image(ch chooser) *FS {
	b := &builder{chooser: ch, moves: map[*move][2]bool{}, nodes: map[*inode]*inode{}}
	return &FS{root: b.node("/", m.fs.root), locks: map[string]bool{}, story: b.story}
}

type builder struct {
	chooser
	moves map[*move][2]bool
	nodes map[*inode]*inode // hard links stay one file
	story []choice
}

// choice is one thing that was decided.
type choice struct {
	name string
	what string
	off  int64
	n    int
	came []span
}

func (b *builder) note(c choice) { b.story = append(b.story, c) }

// Story tells what of the unsynced came to an image, for the message of a test that fails.
func (y *FS) Story() string {
	var s strings.Builder
	for _, c := range y.story {
		fmt.Fprintf(&s, "%s: %s", c.name, c.what)
		if c.n > 0 {
			fmt.Fprintf(&s, " of %d at %d, of which came %v", c.n, c.off, c.came)
		}
		s.WriteString("\n")
	}
	return s.String()
}

func (b *builder) node(name string, n *inode) *inode {
	if made := b.nodes[n]; made != nil {
		return made
	}
	made := &inode{folder: n.folder, modified: n.modified}
	b.nodes[n] = made
	if n.folder {
		made.syncedNames = map[string]*inode{}
		for base, child := range b.names(name, n) {
			made.syncedNames[base] = b.node(path.Join(name, base), child)
		}
		made.names = maps.Clone(made.syncedNames)
		return made
	}
	made.synced = b.content(name, n)
	made.now = made.synced.clone()
	return made
}

// names decides what a folder lists.
func (b *builder) names(folder string, n *inode) map[string]*inode {
	names := maps.Clone(n.syncedNames)
	for _, m := range n.moves {
		d, known := b.moves[m]
		if !known {
			d = [2]bool{true, false}
			if !m.kept {
				d[0], d[1] = b.name(m)
			}
			b.moves[m] = d
		}
		for i, p := range m.parts {
			what := "made"
			switch {
			case p.folder != n:
				continue
			case !d[0]:
				what = "a change of the name did not come"
			case d[1] && i == 1:
				what = "the old name is left"
			case p.node == nil:
				what = "removed"
				delete(names, p.name)
			default:
				names[p.name] = p.node
			}
			b.note(choice{name: path.Join(folder, p.name), what: what})
		}
	}
	return names
}

// content decides what a file holds.
func (b *builder) content(name string, n *inode) content {
	c := n.synced.clone()
	for _, p := range n.pending {
		if p.data == nil {
			if b.truncation() {
				c = c.cut(p.off)
				b.note(choice{name: name, what: fmt.Sprintf("cut to %d", p.off)})
			}
			continue
		}
		end := p.off + int64(len(p.data))
		came := b.write(p.off, len(p.data))
		if end > c.size && (len(came) == 0 || came[len(came)-1].to < len(p.data)) && b.length() {
			c = c.grow(end)
		}
		for _, s := range came {
			c = c.write(p.data[s.from:s.to], p.off+int64(s.from))
		}
		b.note(choice{name, "a write", p.off, len(p.data), came})
	}
	return c
}

// chance is the chooser of a kind.
type chance struct {
	kind    Image
	rng     *rand.Rand
	percent int // of what is decided by chance
}

func (c *chance) luck() bool { return c.rng.IntN(100) < c.percent }

func (c *chance) name(m *move) (came, half bool) {
	switch c.kind {
	case Synced:
		return false, false
	case Whole, Lengths:
		return true, false
	case Removals:
		gone := m.rename || m.parts[0].node == nil
		return gone && c.rng.IntN(4) > 0, false
	}
	return c.luck(), m.rename && c.rng.IntN(4) == 0
}

func (c *chance) truncation() bool {
	switch c.kind {
	case Synced, Removals, Names:
		return false
	case Whole, Lengths:
		return true
	}
	return c.luck()
}

func (c *chance) length() bool {
	switch c.kind {
	case Synced, Removals, Names:
		return false
	case Lengths:
		return true
	}
	return c.rng.IntN(2) == 0
}

func (c *chance) write(off int64, n int) []span {
	unit := 0
	switch c.kind {
	case Synced, Removals, Names, Lengths:
		return nil
	case Torn1:
		unit = 1
	case Torn512:
		unit = 512
	case Torn4096:
		unit = 4096
	case Mixed:
		unit = []int{1, 512, 4096}[c.rng.IntN(3)]
	}
	switch {
	case c.kind == Whole:
		return []span{{0, n}}
	case c.rng.IntN(3) > 0:
		if c.luck() {
			return []span{{0, n}}
		}
		return nil
	case unit == 1:
		from, to := c.rng.IntN(n+1), c.rng.IntN(n+1)
		switch c.rng.IntN(3) {
		case 0:
			from = 0
		case 1:
			to = n
		}
		if from >= to { // the middle is what did not come
			return []span{{0, to}, {from, n}}
		}
		return []span{{from, to}}
	}
	var came []span
	for _, b := range blocks(off, n, unit) {
		if c.rng.IntN(2) == 0 {
			came = append(came, b)
		}
	}
	return came
}

// blocks cuts a write where units of the file begin.
func blocks(off int64, n, unit int) (all []span) {
	for from := 0; from < n; {
		to := min(n, from+unit-int((off+int64(from))%int64(unit)))
		all = append(all, span{from, to})
		from = to
	}
	return all
}

// every is the chooser that makes all choices in turn: it counts, with a digit for each choice, the last one fastest.
type every struct {
	digits []digit
	at     int
}

type digit struct{ now, of int }

func (e *every) pick(of int) int {
	if e.at == len(e.digits) {
		e.digits = append(e.digits, digit{0, of})
	}
	d := e.digits[e.at]
	e.at++
	return d.now
}

// next goes on to the next row of choices; false: there is none.
func (e *every) next() bool {
	e.digits = e.digits[:e.at]
	for e.at = 0; len(e.digits) > 0; e.digits = e.digits[:len(e.digits)-1] {
		if d := &e.digits[len(e.digits)-1]; d.now+1 < d.of {
			d.now++
			return true
		}
	}
	return false
}

func (e *every) name(m *move) (came, half bool) {
	if m.rename {
		n := e.pick(3)
		return n > 0, n == 2
	}
	return e.pick(2) == 1, false
}

func (e *every) truncation() bool { return e.pick(2) == 1 }
func (e *every) length() bool     { return e.pick(2) == 1 }

func (e *every) write(off int64, n int) []span {
	ways := [][]span{nil, {{0, n}}}
	cuts := []int{1, n / 2, n - 1}
	if n <= 16 {
		cuts = cuts[:0]
		for k := 1; k < n; k++ {
			cuts = append(cuts, k)
		}
	}
	slices.Sort(cuts)
	for _, k := range slices.Compact(cuts) {
		if k > 0 && k < n {
			ways = append(ways, []span{{0, k}}, []span{{k, n}})
		}
	}
	for _, unit := range []int{512, 4096} {
		all := blocks(off, n, unit)
		for set := 1; len(all) > 1 && len(all) <= 8 && set < 1<<len(all)-1; set++ {
			var came []span
			for i, b := range all {
				if set&(1<<i) != 0 {
					came = append(came, b)
				}
			}
			ways = append(ways, came)
		}
	}
	return ways[e.pick(len(ways))]
}
