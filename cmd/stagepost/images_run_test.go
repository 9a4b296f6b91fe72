package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/store/crashfs"
)

// imageJob is one image of a server's disk with what both ends knew at that moment.
type imageJob struct {
	cut, kind string
	fs        *crashfs.FS
	account   *account
	from      string // the folder of the server that was cut
}

// imageTrial tries images until there are enough.
type imageTrial struct {
	t       *testing.T
	mu      sync.Mutex
	cuts    map[string]int
	kinds   map[string]int
	tried   int
	verdict imageVerdict
}

// TestServerImages cuts whole servers under mail, at chosen moments and at any operation of the disk, and starts a server on each
// image of what the disk may hold then. It must bring to an end what was acknowledged: source and sink of both lives are compared. On
// one in six the second life is cut, too. scripts/soak images is the long form.
func TestServerImages(t *testing.T) {
	tr := &imageTrial{t: t, cuts: map[string]int{}, kinds: map[string]int{}}
	most := *imageCount
	if most == 0 {
		if most = 30; testing.Short() {
			most = 12
		}
	}
	seed := *imageSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 1))
	for tr.tried < most && !tr.verdict.wrong() && !t.Failed() {
		jobs := make(chan imageJob, most)
		for _, j := range tr.life(rng, min(120, most-tr.tried)) {
			jobs <- j
		}
		close(jobs)
		var group sync.WaitGroup
		for range 8 { // they mostly wait until something is due
			seed := rng.Uint64()
			group.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 2))
				for j := range jobs {
					if tr.fine() {
						tr.try(j, rng)
					}
				}
			})
		}
		group.Wait()
	}
	v := &tr.verdict
	var text strings.Builder
	for _, k := range crashfs.Images() {
		fmt.Fprintf(&text, "%8d %s\n", tr.kinds[string(k)], k)
	}
	for _, c := range cuts() {
		fmt.Fprintf(&text, "%8d cut when: %s\n", tr.cuts[c], c)
	}
	fmt.Fprintf(&text, "%8d images of the server, seed %d, in %.0f s; %d deliveries and refusals repeated because of the cut (N4: C)\n", tr.tried, seed, time.Since(began).Seconds(), v.excused)
	fmt.Fprintf(&text, "lost %d, wrong 250s %d, duplicates beyond N4 %d, content damaged %d, failed opens %d, other %d",
		v.lost, v.untrue, v.duplicates, v.damaged, v.unopened, v.other)
	t.Log("\n" + text.String())
	if v.wrong() {
		t.Error(v.first)
	}
}

func (tr *imageTrial) fine() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return !tr.verdict.wrong()
}

// life lets mail flow through a server and takes images of its disk.
func (tr *imageTrial) life(rng *rand.Rand, images int) (jobs []imageJob) {
	s := &imageServer{account: newAccount(), t: tr.t, fs: crashfs.New(), rough: true}
	var mu sync.Mutex
	enough := make(chan struct{})
	pick := rand.New(rand.NewPCG(rng.Uint64(), 3))
	take := func(cut string, m *crashfs.Moment) {
		mu.Lock()
		defer mu.Unlock()
		if len(jobs) >= images || !s.begun.Load() {
			return
		}
		kind := crashfs.Images()[pick.IntN(len(crashfs.Images()))]
		jobs = append(jobs, imageJob{cut, string(kind), m.Image(kind, pick), s.copy(), s.dir})
		if len(jobs) == images {
			close(enough)
		}
	}
	// Each moment has its turn: what is rare is taken when it comes.
	var wanted [16]atomic.Bool
	turn := func(cut string) bool {
		for i, c := range cuts() {
			if c == cut {
				return wanted[i].Swap(false)
			}
		}
		return false
	}
	s.moment = func(cut string) {
		if turn(cut) {
			s.fs.Stop(func(m *crashfs.Moment) { take(cut, m) })
		}
	}
	s.fs.Watch(func(op crashfs.Op, m *crashfs.Moment) {
		ext := filepath.Ext(op.Name)
		if (op.Kind == crashfs.Create || op.Kind == crashfs.Reuse) && (ext == ".sst" || ext == ".log") && turn(cutFlush) {
			take(cutFlush, m)
		} else if turn(cutAny) {
			take(cutAny, m)
		}
	})
	if err := s.start(""); err != nil {
		tr.t.Fatal(err)
	}
	stop := make(chan struct{})
	var sources sync.WaitGroup
	var next atomic.Int64
	address := s.daemon.status().Listeners[0].Address
	for range 6 {
		seed := rng.Uint64()
		sources.Go(func() { s.send(address, &next, rand.New(rand.NewPCG(seed, 4)), stop) })
	}
	for end, made := time.Now().Add(2*faultPatience), false; !made; {
		wanted[rng.IntN(len(cuts()))].Store(true)
		select {
		case <-enough:
			made = true
		case <-time.After(time.Duration(5+rng.IntN(15)) * time.Millisecond):
			made = time.Now().After(end) || tr.t.Failed()
		}
	}
	close(stop)
	sources.Wait()
	if err := s.close(); err != nil {
		tr.t.Error(err)
	}
	return jobs
}

// try starts a server on an image, lets it come to an end, and judges.
func (tr *imageTrial) try(j imageJob, rng *rand.Rand) {
	v := &imageVerdict{}
	s := &imageServer{account: j.account, t: tr.t, fs: j.fs}
	var second *imageJob
	var wait atomic.Int64
	if wait.Store(-1); j.cut != cutStart && rng.IntN(6) == 0 {
		wait.Store(1 + rng.Int64N(200)) // operations of the disk, with the start
		kind := crashfs.Images()[rng.IntN(len(crashfs.Images()))]
		pick := rand.New(rand.NewPCG(rng.Uint64(), 5))
		s.fs.Watch(func(op crashfs.Op, m *crashfs.Moment) {
			if s.begun.Load() && wait.Add(-1) == 0 {
				second = &imageJob{cutStart, string(kind), m.Image(kind, pick), s.copy(), s.dir}
			}
		})
	}
	story := j.fs.Story()
	switch err := s.start(j.from); {
	case err != nil:
		v.say(&v.unopened, "a start after a crash: %v", err)
	default:
		switch left, held := s.drained(); {
		case held: // so is what has another content than it came with
			v.say(&v.damaged, "held is: %s", left)
		case left != "":
			v.say(&v.other, "there is in the queue: %s", left)
		}
		if err := s.close(); err != nil {
			v.say(&v.other, "%v", err)
		}
		s.judge(v)
	}
	if v.wrong() {
		v.first = fmt.Sprintf("cut when: %s, image: %s: %s\n%s\n%s", j.cut, j.kind, v.first, story, strings.Join(s.said.lines(10), ""))
	}
	tr.mu.Lock()
	tr.tried++
	tr.cuts[j.cut]++
	tr.kinds[j.kind]++
	tr.verdict.add(v)
	tr.mu.Unlock()
	var again *imageJob
	s.fs.Stop(func(*crashfs.Moment) { again = second })
	if again != nil && !v.wrong() {
		tr.try(*again, rng)
	}
}

// TestImageRules: each rule sees what breaks it, and nothing in what does not.
func TestImageRules(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	good, never := "good.0@d0.example", "never.0@d1.example"
	try := func(life, ms int, rcpt string, dot int) *tried {
		return &tried{life: life, rcpts: []string{rcpt}, codes: []int{250}, seen: true, dot: dot, id: "A", replied: at(ms), confirmed: true}
	}
	refuse := func(life, ms int) *tried {
		return &tried{life: life, rcpts: []string{never}, codes: []int{550}, replied: at(ms), confirmed: true}
	}
	notice := func(id string) *tried {
		return &tried{rcpts: []string{"sender.0@src.example"}, codes: []int{250}, seen: true, dot: 250, id: id, notice: never + " failed", replied: at(20), confirmed: true}
	}
	for _, c := range []struct {
		name   string
		end    postEnd
		null   bool
		taken  []string
		later  int // other messages were acknowledged until so long after the first
		tries  []*tried
		wanted imageVerdict
	}{
		{name: "delivered", end: postAck, taken: []string{good}, tries: []*tried{try(0, 10, good, 250)}},
		{name: "lost", end: postAck, taken: []string{good}, wanted: imageVerdict{lost: 1, untrue: 1}},
		{name: "lost for one", end: postAck, taken: []string{good, never}, tries: []*tried{try(0, 10, good, 250)}, wanted: imageVerdict{lost: 1}},
		{name: "unknown and not there", end: postDot, taken: []string{good}},
		{name: "unknown and there for one", end: postDot, taken: []string{good, never}, tries: []*tried{try(1, 10, good, 250)}, wanted: imageVerdict{lost: 1}},
		{name: "a ghost", end: postNak, taken: []string{good}, tries: []*tried{try(1, 10, good, 250)}, wanted: imageVerdict{other: 1}},
		{name: "again after a cut at once", end: postAck, taken: []string{good}, tries: []*tried{try(0, 10, good, 250), try(1, 30, good, 250)}, wanted: imageVerdict{excused: 1}},
		{name: "again, and the mark was late", end: postAck, taken: []string{good}, later: 3000, tries: []*tried{try(0, 10, good, 250), try(1, 30, good, 250)}, wanted: imageVerdict{duplicates: 1}},
		{name: "again without a cut", end: postAck, taken: []string{good}, tries: []*tried{try(1, 10, good, 250), try(1, 30, good, 250)}, wanted: imageVerdict{duplicates: 1}},
		{name: "again after the connection broke", end: postAck, taken: []string{good}, tries: []*tried{try(0, 10, good, 0), try(0, 30, good, 250)}},
		{name: "refused and told", end: postAck, taken: []string{never}, tries: []*tried{refuse(0, 10), notice("N")}},
		{name: "refused and not told", end: postAck, taken: []string{never}, tries: []*tried{refuse(0, 10)}, wanted: imageVerdict{lost: 1}},
		{name: "refused, of the null sender", end: postAck, null: true, taken: []string{never}, tries: []*tried{refuse(0, 10)}},
		{name: "told by two notices", end: postAck, taken: []string{never}, tries: []*tried{refuse(0, 10), notice("N"), notice("M")}, wanted: imageVerdict{duplicates: 1}},
		{name: "told by one notice twice, without a cut", end: postAck, taken: []string{never}, tries: []*tried{refuse(0, 10), notice("N"), notice("N")}, wanted: imageVerdict{duplicates: 1}},
		{name: "told of one that did not fail", end: postAck, taken: []string{never}, tries: []*tried{try(0, 10, never, 250), notice("N")}, wanted: imageVerdict{other: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount()
			a.posts[0] = &post{rcpts: []string{good, never}, taken: c.taken, end: c.end, sender: "sender.0@src.example", dot: at(0), at: at(1)}
			if c.null {
				a.posts[0].sender = ""
			}
			for i := 1; i*100 <= c.later; i++ {
				rcpt := fmt.Sprintf("good.%d@d0.example", i)
				a.posts[i] = &post{n: i, rcpts: []string{rcpt}, taken: []string{rcpt}, end: postAck, dot: at(i * 100), at: at(i*100 + 1)}
				other := try(0, i*100+2, rcpt, 250)
				other.id = fmt.Sprint("B", i)
				a.tries = append(a.tries, other)
			}
			a.tries = append(a.tries, c.tries...)
			v := imageVerdict{}
			a.judge(&v)
			said := v.first
			if v.first = ""; v != c.wanted {
				t.Errorf("%+v, want %+v: %s", v, c.wanted, said)
			}
		})
	}
	a, p := newAccount(), newPost(7, rand.New(rand.NewPCG(1, 2)))
	a.posts[7] = p
	for _, c := range []struct {
		content string
		fine    bool
	}{
		{"Received: from a\r\n by mx.example.org (x)\r\n\twith ESMTP id 06abc; now\r\n" + string(p.content), true},
		{"Received: from a\r\n by mx.example.org (x)\r\n\twith ESMTP id 06abc; now\r\n" + string(p.content[1:]), false},
		{"Received: from a\r\n by mx.example.org (x)\r\n\twith ESMTP id 06abc; now\r\nnonsense\r\n" + string(p.content), false},
		{string(p.content), false},
	} {
		got := &tried{rcpts: p.rcpts}
		if a.examine(got, []byte(c.content)); (got.fault == "") != c.fine {
			t.Errorf("of %.120q it says %q", c.content, got.fault)
		}
	}
}
