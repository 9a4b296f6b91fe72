package disk

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/crashfs"
)

var (
	images = flag.Int("images", 0, "crash images that are tried; 0: so many as suit a test among others")
	seed   = flag.Uint64("seed", 0, "of what happens and what comes to the disk; 0: by the clock")
)

// Kinds of images besides those of crashfs.
const (
	clone = "4096, Pebble's maker" // CrashClone
	again = "of a store that began on an image"
)

// trial tries images until there are enough.
type trial struct {
	t      *testing.T
	jobs   chan job
	stores atomic.Int32 // begun

	mu      sync.Mutex
	left    int
	count   map[string]int
	verdict verdict
}

// job is one image with what it must hold.
type job struct {
	kind  string
	fs    vfs.FS
	diary *chronicle
	story func() string // for the message of a test that fails
	seed  uint64
}

func (tr *trial) over() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.left <= 0 || tr.verdict.wrong()
}

// TestImages cuts lives of a store at any operation of its file system, and looks at what a start finds on the images of what
// the disk may hold then: in all the ways that a file system allows (crashfs), and, for a part of them, by Pebble's own maker of
// such images. On some of them life goes on, and is cut again. scripts/soak images is the long form.
func TestImages(t *testing.T) {
	tr := &trial{t: t, jobs: make(chan job), left: *images, count: map[string]int{}}
	if tr.left == 0 {
		if tr.left = 500; testing.Short() {
			tr.left = 150
		}
	}
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	rng := rand.New(rand.NewPCG(from, 1))
	began := time.Now()
	var judges sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		judges.Go(func() {
			for j := range tr.jobs {
				tr.judge(j)
			}
		})
	}
	for n := 0; !tr.over(); n++ {
		if n%3 == 2 {
			tr.cloned(rng)
		} else {
			tr.cut(rng)
		}
	}
	close(tr.jobs)
	judges.Wait()
	v := &tr.verdict
	var text strings.Builder
	tried := 0
	for _, kind := range kinds() {
		fmt.Fprintf(&text, "%8d %s\n", tr.count[kind], kind)
		tried += tr.count[kind]
	}
	fmt.Fprintf(&text, "%8d images of the store, seed %d, in %.0f s\n", tried, from, time.Since(began).Seconds())
	fmt.Fprintf(&text, "lost %d, wrong 250s %d, duplicates %d, content damaged %d, failed opens %d, other %d",
		v.lost, v.untrue, v.repeated, v.damaged, v.unopened, v.other)
	t.Log("\n" + text.String())
	if v.wrong() {
		t.Error(v.first)
	}
}

func kinds() (all []string) {
	for _, k := range crashfs.Images() {
		all = append(all, string(k))
	}
	return append(all, clone, again)
}

// storeOn are options for a store that begins logs and tables often.
func (tr *trial) storeOn(fs vfs.FS) Options {
	o := options(tr.t, "/data")
	o.FS, o.memTable = fs, 256<<10
	n := tr.stores.Add(1)
	if o.Wipe = n%3 == 0; n%2 == 0 { // content is written to slots while it comes, and not at once
		o.BodyBudget = 640 << 10
	}
	return o
}

// lives begins some lives, and gives a function that ends them and closes the store.
func (tr *trial) lives(s *Store, d *chronicle, rng *rand.Rand, light bool) (end func()) {
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		l := &liver{t: tr.t, s: s, d: d, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), light: light}
		group.Go(func() { l.live(1<<30, stop) })
	}
	return func() {
		close(stop)
		group.Wait()
		if err := s.Close(); err != nil {
			tr.t.Error(err)
		}
	}
}

// cut takes images of crashfs after operations, from the first of a new store to the last of its end.
func (tr *trial) cut(rng *rand.Rand) {
	y, d := crashfs.New(), newChronicle()
	const most = 200 // of one life
	enough := make(chan struct{})
	made, wait := 0, 1+rng.IntN(20)
	cuts := rand.New(rand.NewPCG(rng.Uint64(), 3)) // the file system calls one at a time
	y.Watch(func(_ crashfs.Op, m *crashfs.Moment) {
		if wait--; wait > 0 || made > most+20 || tr.t.Failed() {
			return
		}
		wait = 1 + cuts.IntN(40)
		known := d.copy()
		for range 3 {
			kind := crashfs.Images()[cuts.IntN(len(crashfs.Images()))]
			image := m.Image(kind, cuts)
			log := m.Log(12)
			tr.jobs <- job{string(kind), image, known.copy(), func() string { return fmt.Sprintf("%v\n%s", log, image.Story()) }, cuts.Uint64()}
			if made++; made == most {
				close(enough)
			}
		}
	})
	s, err := Open(tr.storeOn(y))
	if err != nil {
		tr.t.Fatal(err)
	}
	end := tr.lives(s, d, rng, false)
	for made := false; !made && !tr.over(); {
		select {
		case <-enough:
			made = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	end()
}

// cloned takes images of Pebble's kind at random moments.
func (tr *trial) cloned(rng *rand.Rand) {
	fs, d := vfs.NewCrashableMem(), newChronicle()
	s, err := Open(tr.storeOn(fs))
	if err != nil {
		tr.t.Fatal(err)
	}
	end := tr.lives(s, d, rng, true) // all is copied for each image
	for range 100 {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond) // any moment will do
		before := d.copy()
		image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 25, 50, 75, 100}[rng.IntN(5)], RNG: rng})
		tr.jobs <- job{clone, image, before.later(d.copy()), func() string { return "" }, rng.Uint64()}
	}
	end()
}

// judge starts a store on an image. On one in four life goes on: what is there must outlive what is written over what is
// not, and the next crash.
func (tr *trial) judge(j job) {
	rng := rand.New(rand.NewPCG(j.seed, 4))
	v := &verdict{}
	s := tr.look(j, v)
	if s != nil && !v.wrong() && rng.IntN(4) == 0 {
		l := &liver{t: tr.t, s: s, d: j.diary, rng: rng, light: j.kind == clone}
		for _, st := range j.diary.stories {
			l.mine = append(l.mine, st)
		}
		slices.SortFunc(l.mine, func(a, b *story) int { return strings.Compare(a.env.ID.String(), b.env.ID.String()) })
		l.live(12, nil)
		j.kind = again
		switch fs := j.fs.(type) {
		case *crashfs.FS:
			fs.Stop(func(m *crashfs.Moment) {
				image := m.Image(crashfs.Images()[rng.IntN(len(crashfs.Images()))], rng)
				j.fs, j.story = image, func() string { return image.Story() }
			})
		case *vfs.MemFS:
			j.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
		}
		j.diary.copy().judge(s, v) // as it is without a crash
		tr.shut(s, v)
		s = tr.look(j, v)
	}
	if s != nil {
		tr.shut(s, v)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.verdict.add(v)
}

func (tr *trial) shut(s *Store, v *verdict) {
	if err := s.Close(); err != nil {
		v.say(&v.other, "Close: %v", err)
	}
}

// look opens a store on an image and judges what is there.
func (tr *trial) look(j job, v *verdict) *Store {
	tr.mu.Lock()
	if tr.left--; tr.count != nil {
		tr.count[j.kind]++
	}
	tr.mu.Unlock()
	s, err := Open(tr.storeOn(j.fs))
	if err != nil {
		v.say(&v.unopened, "%s: a start after a crash: %v\n%s", j.kind, err, j.story())
		return nil
	}
	was := v.first
	j.diary.judge(s, v)
	if v.first != was {
		v.first = j.kind + ": " + v.first + "\n" + j.story()
		if dir := os.Getenv("STAGEPOST_IMAGE"); dir != "" { // for a look at one that is wrong
			vfs.Clone(j.fs, vfs.Default, "/data", dir)
		}
	}
	return s
}

// TestStartIsCut cuts starts at each operation: that of a new store, and that of one whose log holds mail. The next one must
// find what there was, whichever names came to the disk.
func TestStartIsCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	tr := &trial{t: t}
	y, d := crashfs.New(), newChronicle()
	for _, name := range []string{"the first start", "a start with mail", "another"} {
		images := 0
		y.Watch(func(op crashfs.Op, m *crashfs.Moment) {
			for _, kind := range []crashfs.Image{crashfs.Names, crashfs.Names, crashfs.Removals, crashfs.Mixed} {
				image, v := m.Image(kind, rng), &verdict{}
				s, err := Open(tr.storeOn(image))
				if err != nil {
					t.Errorf("%s, cut after %s: %v\n%s", name, op, err, image.Story())
					continue
				}
				if d.copy().judge(s, v); v.wrong() {
					t.Errorf("%s, cut after %s: %s\n%s", name, op, v.first, image.Story())
				}
				tr.shut(s, v)
				images++
			}
		})
		s, err := Open(tr.storeOn(y))
		if err != nil {
			t.Fatal(err)
		}
		y.Watch(nil)
		(&liver{t: t, s: s, d: d, rng: rng}).live(20, nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d images", name, images)
		if t.Failed() {
			return
		}
	}
}

// TestSyncFailsOnce lets one sync fail, the first, the second, the third ... of a life, as kernels do it: the pages count as clean
// afterwards, and are lost. A content that could not be synced is never taken for one that is; of a log that could not be synced nobody
// hears anything any more. What was answered before is so on each image.
func TestSyncFailsOnce(t *testing.T) {
	stride := uint64(2)
	if testing.Short() {
		stride = 9
	}
	rng, ended, refused := rand.New(rand.NewPCG(11, 12)), 0, 0
	for k := uint64(1); k < 150; k += stride {
		tr := &trial{t: t}
		y, d, fatal, over := crashfs.New(), newChronicle(), make(chan string, 1), make(chan bool)
		o := tr.storeOn(y)
		o.OnFatal = func(line string) { fatal <- line }
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		y.FailSyncs(func(name string) error {
			if n++; n == k {
				return syscall.EIO
			}
			return nil
		})
		l := &liver{t: t, s: s, d: d, rng: rand.New(rand.NewPCG(k, 6)), faults: true}
		go func() {
			l.live(60, nil)
			close(over)
		}()
		select {
		case <-fatal:
			ended++
		case <-over:
			refused++
		}
		var images []*crashfs.FS
		var known *chronicle
		y.Stop(func(m *crashfs.Moment) {
			known = d.copy()
			for _, kind := range []crashfs.Image{crashfs.Synced, crashfs.Mixed, crashfs.Whole} {
				images = append(images, m.Image(kind, rng))
			}
		})
		for _, image := range images {
			v := &verdict{}
			again := tr.look(job{kind: "after a sync failed", fs: image, diary: known.copy(), story: image.Story}, v)
			if again != nil {
				tr.shut(again, v)
			}
			if v.wrong() {
				t.Fatalf("sync %d fails: %s", k, v.first)
			}
		}
		select {
		case <-over:
			s.Close()
		default: // its calls wait for the end of the process
		}
	}
	t.Logf("%d ended the process, %d did not", ended, refused)
	if ended == 0 || refused == 0 {
		t.Error("only one of the two was tried")
	}
}

// TestSyncedAtCommit: in the moment in which Commit returns nil all octets of the content are synced, and so is each name that
// leads to them.
func TestSyncedAtCommit(t *testing.T) {
	y, d := crashfs.New(), newChronicle()
	tr := &trial{t: t}
	s := mustOpen(t, tr.storeOn(y))
	var group sync.WaitGroup
	for i := range 4 {
		l := &liver{t: t, s: s, d: d, rng: rand.New(rand.NewPCG(uint64(i), 5))}
		l.check = func(id store.ID, token, content []byte) {
			p, _, err := s.place(id)
			if err != nil {
				t.Error(err)
			}
			y.Stop(func(m *crashfs.Moment) {
				synced, lacking := m.Holding(token)
				lacking = slices.DeleteFunc(lacking, func(what string) bool { // a slot that it outgrew
					return !p.inline() && strings.HasPrefix(what, "/data/body/") && !strings.HasPrefix(what, s.bodyPath(p.name(id))+":")
				})
				written := strings.Count(string(content), string(token))
				// The log cuts what it holds into blocks of 32 KiB, and so one of the tokens at each edge.
				if edges := 1; len(lacking) > 0 || synced == 0 && written > edges || synced < written-edges {
					t.Errorf("of a content of %d octets that is committed %d of %d marks are synced; %q", len(content), synced, written, lacking)
				}
			})
		}
		group.Go(func() { l.live(40, nil) })
	}
	group.Wait()
}
