package transcript

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// What the plugin hands in by inject: mail goes the way of all mail, up to the queue of the transcript, which also keeps parcels.

type (
	givenInject struct{ state string } // "up", "full", "busy"
	wantInject  struct {
		form    string
		parcel  bool
		from    smtp.Address
		to      []smtp.Address
		key     string
		content any
		none    bool
	}
)

func injectLines() []Line {
	return []Line{
		{"given inject", "given inject up | full | busy", "What the plugin hands in is taken, or is not: the disk is full, or there is too much mail at once.", parseGivenInject},
		{"want inject", "want inject mail FROM to RCPT ... [key=KEY] | parcel VALUE [key=KEY] | none",
			"What the plugin handed in. Mail that was taken is the message that was kept last, which other lines look at; a parcel is delivered by `attempt`.", parseWantInject},
	}
}

func parseGivenInject(p *parser, rest string) action {
	if !p.oneOf("state", rest, []string{"up", "full", "busy"}) {
		return nil
	}
	return &givenInject{rest}
}

func (g *givenInject) do(r *run) error {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	r.spool.state = g.state
	return nil
}

func parseWantInject(p *parser, rest string) action {
	w := &wantInject{form: rest}
	if rest == "none" {
		w.none = true
		return w
	}
	if before, key, found := cutLast(rest, " key="); found {
		rest, w.key = before, bareKey(key)
	}
	kind, rest, _ := strings.Cut(rest, " ")
	if !p.oneOf("sort", kind, []string{"mail", "parcel", "none"}) {
		return nil
	}
	if w.parcel = kind == "parcel"; w.parcel {
		if rest = strings.TrimSpace(rest); rest == "" {
			p.fail("write what is in it: want inject parcel VALUE [key=KEY]")
			return nil
		}
		var ok bool
		if w.content, ok = p.value(rest); !ok {
			return nil
		}
		return w
	}
	s, ok := parseSend(p, "", rest).(*send)
	if !ok {
		return nil
	}
	w.from, w.to = s.from, s.to
	return w
}

func (w *wantInject) do(r *run) error {
	r.spool.mu.Lock()
	handed := slices.Clone(r.spool.handed)
	r.spool.mu.Unlock()
	var got []string
	for _, id := range handed {
		env, _, err := r.spool.Load(r.ctx, id)
		if err != nil {
			return err
		}
		text, fits, err := w.fits(r, env)
		if err != nil || fits {
			return err
		}
		got = append(got, text)
	}
	if w.none && len(got) == 0 {
		return nil
	}
	if len(got) == 0 {
		got = []string{"nothing was handed in"}
	}
	return wanted("inject "+w.form, strings.Join(got, "; "))
}

// fits tells whether a message is the one that is wanted, and what it is.
func (w *wantInject) fits(r *run, env *message.Envelope) (text string, fits bool, err error) {
	if env.IsParcel() {
		content, err := r.spool.Open(r.ctx, env.ID)
		if err != nil {
			return "", false, err
		}
		defer content.Close()
		v, err := message.DecodeValue(content.Bytes())
		return fmt.Sprintf("parcel %v%s", v, keyWord(env)), !w.none && w.parcel && reflect.DeepEqual(v, w.content) && env.Injected.Key == w.key, err
	}
	same := env.Sender == w.from
	text = "mail <" + env.Sender.Text + "> to"
	for _, to := range env.Rcpts {
		text += " " + to.Original.Text
		same = same && slices.Contains(w.to, to.Original)
	}
	return text + keyWord(env), !w.none && !w.parcel && same && len(env.Rcpts) == len(w.to) && env.Injected.Key == w.key, nil
}

func keyWord(env *message.Envelope) string {
	if env.Injected.Key == "" {
		return ""
	}
	return " key=" + env.Injected.Key
}

// Once implements service.Spool.
func (s *spool) Once(_ context.Context, by, key string, do func() (store.ID, error)) (store.ID, error) {
	s.mu.Lock()
	state := s.state
	id, queued := s.keys[by+" "+key]
	s.mu.Unlock()
	switch {
	case state == "full":
		return store.ID{}, store.ErrFull
	case state == "busy":
		return store.ID{}, store.ErrBusy
	case key != "" && queued:
		return id, nil
	}
	return do()
}

// Parcel implements service.Spool.
func (s *spool) Parcel(ctx context.Context, in message.Injected, v any) (store.ID, error) {
	gen := s.run.current.Acquire()
	defer gen.Release()
	if gen.Plugin(hooks.Deliver, in.Via) == nil {
		return store.ID{}, fmt.Errorf("the plugin %s has no on.deliver", in.Via)
	}
	return s.Once(ctx, in.By, in.Key, func() (store.ID, error) {
		content, err := message.EncodeValue(v)
		if err != nil {
			return store.ID{}, err
		}
		body, err := s.Body(ctx, int64(len(content)))
		if err != nil {
			return store.ID{}, err
		}
		defer body.Abort()
		if _, err := body.Write(content); err != nil {
			return store.ID{}, err
		}
		env := queue.Pack(body.ID(), in, len(content), s.run.clock.Now())
		return env.ID, s.Commit(ctx, env, body)
	})
}

// handedIn notes a message that a plugin handed in. s.mu is held.
func (s *spool) handedIn(env *message.Envelope) {
	if in := env.Injected; in != nil {
		s.handed = append(s.handed, env.ID)
		if in.Key != "" {
			s.keys[in.By+" "+in.Key] = env.ID
		}
	}
}

// settled forgets the key of a message that is done.
func (s *spool) settled(env *message.Envelope) {
	if in := env.Injected; in != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.keys, in.By+" "+in.Key)
	}
}
