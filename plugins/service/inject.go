package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Bounds of what is handed in.
const (
	maxInjects     = 10  // in one hook call
	maxInjectRcpts = 100 // of one mail
	maxInjectMail  = 1 << 20
	maxInjectDepth = 3
	injectSteps    = 1000
	maxLine        = 998 // RFC 5322 section 2.1.1
)

// Outbox is where mail and parcels go that plugins hand in.
type Outbox struct {
	Intake *intake.Intake
	Queue  Spool
}

// Spool is what the queue does for an Outbox; *queue.Queue is one.
type Spool interface {
	Once(ctx context.Context, by, key string, do func() (store.ID, error)) (store.ID, error)
	Parcel(ctx context.Context, in message.Injected, content any) (store.ID, error)
}

// Outbox says where inject goes from now on; until then it fails.
func (h *Host) Outbox(o *Outbox) { h.outbox.Store(o) }

func injectService() Service {
	return Service{Name: "inject", Doc: "Hands mail in, or a parcel. It has happened when the function returns, on disk, whatever the handler does then: it is no edit. " +
		"So a handler that may be called again gives a `key`: while one with that key is queued, another is not queued, and its id is the result. " +
		"What cannot be taken (the disk is full, too much mail at once, a plugin refused it) is an error. " +
		"A hook may hand in 10 times in one call; what the plugin itself writes is at most 1 MiB, and at most three deep where one leads to the next.",
		Funcs: []Func{{
			Name: "inject", Args: []Arg{{Name: "message", Kind: Map, Of: []string{contentObject}}}, Result: "string", Needs: "inject",
			Form: "inject{sender, rcpts, content[, key]} or inject{via, content[, key]}",
			Doc: "The id. Mail has `sender` (\"\" is the null one), `rcpts` and `content`, a whole message with its header, or a table of `from`, `to`, `subject`, `text` and `html`, of which it is made, or the content of the message, or of a part that is a message itself, as it came, which is not copied through the plugin (in WebAssembly its number), up to the size that the server takes; Date and Message-ID are added where they are missing. " +
				"It begins at the stage mail, with the role internal and this plugin as origin; only this plugin is not asked about it before it is queued. " +
				"A parcel is no mail: `content` is any value, and goes to the on.deliver of the plugin `via`, this one, as `delivery.parcel`. It is tried again when that defers, until it is as old as mail may become.",
			Call: func(c *Context, args []any) (any, error) { return c.inject(args[0].(map[string]any)) },
		}}}
}

var (
	mailKeys   = []string{"sender", "rcpts", "content", "key"}
	parcelKeys = []string{"via", "content", "key"}
)

func (c *Context) inject(m map[string]any) (any, error) {
	o := c.host.outbox.Load()
	if o == nil {
		return nil, errors.New("the server takes no mail yet")
	}
	in := message.Injected{By: c.Plugin, Depth: 1}
	if v := c.call.Message; v != nil && v.Envelope != nil && v.Injected != nil {
		in.Depth = v.Injected.Depth + 1
	}
	switch {
	case in.Depth > maxInjectDepth:
		return nil, fmt.Errorf("the message in question was handed in by a plugin, at the end of %d that led to each other; one more may be a loop", maxInjectDepth)
	case c.injects == maxInjects:
		return nil, fmt.Errorf("more than %d times in one hook call", maxInjects)
	}
	c.injects++
	known := mailKeys
	if _, ok := m["via"]; ok {
		known = parcelKeys
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, k) {
			return nil, errors.New(manifest.Unknown("key", k, "", known))
		}
	}
	var err error
	if in.Key, err = textKey(m, "key", false); err != nil {
		return nil, err
	}
	if len(in.Key) > MaxKey {
		return nil, fmt.Errorf("the key has %d bytes; it may have %d", len(in.Key), MaxKey)
	}
	rest := &body{} // is not read when the call is over
	defer rest.Close()
	var hand func(context.Context) (store.ID, error)
	if len(known) == len(parcelKeys) {
		hand, err = c.parcel(o, in, m)
	} else {
		hand, err = c.mail(o, in, m, rest)
	}
	if err != nil {
		return nil, err
	}
	return handIn(c.call.Context(), hand)
}

// handIn does it on a goroutine of its own: what goes wrong in the store must not be taken for a plugin's fault, and the call ends
// in time whatever the store does. A panic on it is an error, too; those within a write to the store do not get here, since after them the
// server must not go on.
func handIn(ctx context.Context, hand func(context.Context) (store.ID, error)) (any, error) {
	type result struct {
		id  store.ID
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("the server failed: %v", p)
			}
			done <- r
		}()
		r.id, r.err = hand(ctx)
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return r.id.String(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w; whether it was taken is not known", errTime)
	}
}

// parcel checks a parcel.
func (c *Context) parcel(o *Outbox, in message.Injected, m map[string]any) (func(context.Context) (store.ID, error), error) {
	var err error
	if in.Via, err = textKey(m, "via", true); err != nil {
		return nil, err
	}
	if in.Via != c.Plugin {
		return nil, fmt.Errorf("via is %q; a parcel goes to the plugin that hands it in, %q", cut(in.Via), c.Plugin)
	}
	content := m["content"]
	if content == nil {
		return nil, errors.New("content is missing")
	}
	size, err := message.SizeOf(content)
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	if size > queue.MaxParcel {
		return nil, fmt.Errorf("content has %d bytes; it may have %d", size, queue.MaxParcel)
	}
	if err := c.spend(injectSteps+size/32, 3*size); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (store.ID, error) {
		id, err := o.Queue.Parcel(ctx, in, content)
		return id, plainly(err)
	}, nil
}

// plainly says in words for a plugin's author why the queue did not take something.
func plainly(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrFull):
		return fmt.Errorf("the disk has no room for it now: %w", err)
	case errors.Is(err, store.ErrBusy):
		return fmt.Errorf("too much at once: %w", err)
	case errors.Is(err, store.ErrUnknown):
		return fmt.Errorf("whether it was taken is not known: %w", err)
	}
	return fmt.Errorf("it was not taken: %w", err)
}

// mail checks a mail.
func (c *Context) mail(o *Outbox, in message.Injected, m map[string]any, rest *body) (func(context.Context) (store.ID, error), error) {
	sub := &intake.Submission{Session: &message.Session{Role: message.RoleInternal, Origin: c.Plugin}, Injected: &in}
	from, ok := m["sender"]
	if !ok {
		return nil, errors.New(`sender is missing; write "" for the null sender`)
	}
	var err error
	if sub.Sender, err = injectAddress("sender", from, true); err != nil {
		return nil, err
	}
	rcpts, ok := m["rcpts"].([]any)
	if !ok || len(rcpts) == 0 || len(rcpts) > maxInjectRcpts {
		return nil, fmt.Errorf("rcpts must be a list of 1 to %d addresses", maxInjectRcpts)
	}
	for _, r := range rcpts {
		a, err := injectAddress("rcpts", r, false)
		if err != nil {
			return nil, err
		}
		sub.Rcpts = append(sub.Rcpts, a)
	}
	now, forwarded := c.host.Now(), &wire{}
	whole, err := c.content(m["content"])
	if err == nil && whole != nil {
		err = c.forward(o, whole, sub, rest, forwarded)
	} else if err == nil {
		var content []byte
		content, err = c.letter(m, sub)
		sub.Content = func(id message.ID) ([]byte, error) {
			return message.Complete(content, id, o.Intake.Settings().Hostname, now)
		}
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (store.ID, error) {
		id, err := o.Queue.Once(ctx, in.By, in.Key, func() (store.ID, error) {
			id, ans := o.Intake.Submit(ctx, sub)
			switch {
			case ans.Silent:
				return id, store.ErrUnknown
			case forwarded.err != nil && forwarded.err != io.EOF:
				return id, fmt.Errorf("content: %w", forwarded.err)
			case !ans.Reply.Positive():
				return id, fmt.Errorf("the answer is %w", ans.Reply)
			}
			return id, nil
		})
		return id, plainly(err)
	}, nil
}

// forward sends a content on as it came.
func (c *Context) forward(o *Outbox, whole message.Content, sub *intake.Submission, rest *body, w *wire) error {
	if err := c.spend(injectSteps+int(whole.Size()/256), 64<<10); err != nil {
		return err
	}
	h, err := message.ReadHeader(whole, message.DefaultHeaderLimits)
	if err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if h.Len() == 0 || h.Malformed() {
		return fmt.Errorf("content: %w", errNoMessage)
	}
	now := c.host.Now()
	rest.r = io.NewSectionReader(whole, 0, whole.Size())
	w.r, sub.Rest = rest, w
	sub.Content = func(id message.ID) ([]byte, error) { return h.Missing(id, o.Intake.Settings().Hostname, now), nil }
	return nil
}

// letter is the whole message, as the plugin wrote it or made of what it says.
func (c *Context) letter(m map[string]any, sub *intake.Submission) (content []byte, err error) {
	parts, said := m["content"].(map[string]any)
	if !said {
		text, err := textKey(m, "content", true)
		if err != nil {
			return nil, err
		}
		if err := c.spend(injectSteps+len(text)/16, 3*len(text)); err != nil {
			return nil, err
		}
		if content, err = wholeMessage(text); err != nil {
			return nil, fmt.Errorf("content: %w", err)
		}
		return content, nil
	}
	l := message.Letter{From: sub.Sender.Text, To: "undisclosed-recipients:;"}
	if len(sub.Rcpts) == 1 {
		l.To = sub.Rcpts[0].Text
	}
	var text, html string
	into := map[string]*string{"from": &l.From, "to": &l.To, "subject": &l.Subject, "text": &text, "html": &html}
	size := 0
	for _, k := range slices.Sorted(maps.Keys(parts)) {
		if into[k] == nil {
			return nil, errors.New("content: " + manifest.Unknown("key", k, "", slices.Collect(maps.Keys(into))))
		}
		if *into[k], err = textKey(parts, k, true); err != nil {
			return nil, fmt.Errorf("content: %w", err)
		}
		size += len(*into[k])
	}
	if parts["text"] != nil {
		l.Text = &text
	}
	if parts["html"] != nil {
		l.HTML = &html
	}
	if l.From == "" {
		return nil, errors.New("content: from is missing, which the null sender does not tell")
	}
	if err := c.spend(injectSteps+size/4, 6*size); err != nil {
		return nil, err
	}
	if content, err = l.Compose(); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return content, nil
}

var errNoMessage = errors.New("it is no message; it begins with header fields, as \"Subject: hello\", an empty line, and then the text")

// wholeMessage gives a message the line ends of the wire (RFC 5321 section 2.3.8), and refuses what is none.
func wholeMessage(text string) ([]byte, error) {
	if len(text) > maxInjectMail {
		return nil, fmt.Errorf("it has %d bytes; it may have %d", len(text), maxInjectMail)
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.Contains(text, "\r") {
		return nil, errBareCR
	}
	for line := range strings.Lines(text) {
		if n := len(strings.TrimSuffix(line, "\n")); n > maxLine {
			return nil, fmt.Errorf("it has a line of %d bytes; the most is %d", n, maxLine)
		}
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	content := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	h, err := message.ParseHeader(content, message.DefaultHeaderLimits)
	switch {
	case err != nil:
		return nil, err
	case h.Len() == 0 || h.Malformed():
		return nil, errNoMessage
	case !bytes.Contains(content, []byte("\r\n\r\n")):
		return nil, errors.New("the empty line between header and text is missing")
	}
	return content, nil
}

func injectAddress(what string, v any, null bool) (smtp.Address, error) {
	s, ok := v.(string)
	if b, is := v.([]byte); is {
		s, ok = string(b), true
	}
	switch {
	case !ok:
		return smtp.Address{}, fmt.Errorf("%s: an address is text, not %s", what, TypeName(v))
	case s == "" && null:
		return smtp.Address{}, nil
	}
	a, err := smtp.ParseUTF8Address(s)
	if err != nil || a.IsNull() {
		return a, fmt.Errorf("%s: %q is not an address", what, cut(s))
	}
	return a, nil
}

// textKey reads a text out of a table.
func textKey(m map[string]any, key string, required bool) (string, error) {
	switch v := m[key].(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case nil:
		if !required {
			return "", nil
		}
		return "", fmt.Errorf("%s is missing", key)
	default:
		return "", fmt.Errorf("%s is %s; it must be a string", key, TypeName(v))
	}
}
