package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
)

// outbox is a queue that keeps what is handed in, behind a real intake.
type outbox struct {
	*memory.Store
	err     error
	parcels []string
	keys    []string
	block   chan bool
	panics  bool
}

func (o *outbox) Once(ctx context.Context, by, key string, do func() (store.ID, error)) (store.ID, error) {
	if o.keys = append(o.keys, by+" "+key); o.block != nil {
		<-o.block
	}
	if o.err != nil {
		return store.ID{}, o.err
	}
	if o.panics {
		panic("a fault in the queue")
	}
	return do()
}

func (o *outbox) Parcel(ctx context.Context, in message.Injected, v any) (store.ID, error) {
	return o.Once(ctx, in.By, in.Key, func() (store.ID, error) {
		o.parcels = append(o.parcels, fmt.Sprintf("%+v %v", in, v))
		return store.ID{1}, nil
	})
}

func (o *outbox) Relay(context.Context, *hooks.Generation, *message.Envelope, message.Content, *message.Plan, hooks.Observer) []message.Outcome {
	return nil
}

func (o *outbox) Commit(ctx context.Context, env *message.Envelope, b store.BodyWriter) error {
	return o.Store.Commit(ctx, env, b)
}

func (*outbox) Append(string, ...observe.Step) {}

// injector gives a context that may hand in, within a call about message m, which may be nil.
func injector(t *testing.T, m *message.Envelope, hs ...*hooks.Hook) (*Context, *outbox, *hooks.Call) {
	t.Helper()
	gen, err := hooks.NewGeneration(1, hs, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &outbox{Store: memory.New(memory.Options{})}
	in := intake.New(intake.Options{Queue: o, Current: hooks.NewCurrent(gen), Records: o, Log: slog.New(slog.DiscardHandler),
		Settings: func() intake.Settings {
			return intake.Settings{Hostname: "mx.example", MaxSize: 10 << 20, MaxRcpts: 100}
		}})
	h := NewHost(Options{Now: func() time.Time { return epoch }})
	c := h.Context("vip", &capability.Needs{Inject: true}, nil)
	call := &hooks.Call{Stage: hooks.Tick}
	if m != nil {
		call.Message = &hooks.MessageView{Envelope: m}
	}
	c.Begin(call)
	if _, err := find(t, "inject").Do(c, list(mailArgs())); err == nil || !strings.Contains(err.Error(), "the server takes no mail yet") {
		t.Errorf("before there is an intake: %v", err)
	}
	h.Outbox(&Outbox{Intake: in, Queue: o})
	return c, o, call
}

// within runs f as a handler does, with a deadline.
func within(t *testing.T, c *Context, call *hooks.Call, timeout time.Duration, f func()) {
	t.Helper()
	h := &hooks.Hook{Plugin: "vip", Stage: hooks.Tick, Timeout: timeout, OnError: hooks.Next, Needs: &capability.Needs{Read: capability.ReadBody}, Handler: hooks.HandlerFunc(func(own *hooks.Call) (*hooks.Verdict, error) {
		c.Begin(own)
		f()
		return nil, nil
	})}
	gen, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, ok := gen.RunPlugin(call, "vip"); !ok || res.Failed {
		t.Fatalf("the handler failed: %+v", res)
	}
}

func mailArgs(change ...any) map[string]any {
	m := map[string]any{"sender": "a@vip.example", "rcpts": list("u@example.org", []byte("v@example.org")), "content": "Subject: x\n\ntext\n..\n"}
	for i := 0; i < len(change); i += 2 {
		if m[change[i].(string)] = change[i+1]; change[i+1] == nil {
			delete(m, change[i].(string))
		}
	}
	return m
}

func TestInjectMail(t *testing.T) {
	asked := map[string]bool{}
	watch := func(plugin string, s hooks.Stage) *hooks.Hook {
		return &hooks.Hook{Plugin: plugin, Stage: s, Timeout: time.Second, OnError: hooks.Defer, Needs: &capability.Needs{}, Handler: hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
			asked[fmt.Sprintf("%s %s %s %s", plugin, s, c.Session.Role, c.Session.Origin)] = true
			return nil, nil
		})}
	}
	var hs []*hooks.Hook
	for _, s := range []hooks.Stage{hooks.Mail, hooks.Rcpt, hooks.Data, hooks.Queue} {
		hs = append(hs, watch("vip", s), watch("other", s))
	}
	c, o, about := injector(t, nil, hs...)
	within(t, c, about, time.Minute, func() {
		got, err := find(t, "inject").Do(c, list(mailArgs("key", "k")))
		items, _, _ := o.Scan(t.Context(), nil, 10)
		if err != nil || len(items) != 1 || got != items[0].Envelope.ID.String() {
			t.Fatalf("inject gave %v, %v; queued %d", got, err, len(items))
		}
		env := items[0].Envelope
		if env.Sender.Text != "a@vip.example" || len(env.Rcpts) != 2 || *env.Injected != (message.Injected{By: "vip", Depth: 1, Key: "k"}) || o.keys[0] != "vip k" {
			t.Errorf("queued %+v, %+v", env, env.Injected)
		}
		content, err := o.Open(t.Context(), env.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <" + env.ID.String() + "@mx.example>\r\nSubject: x\r\n\r\ntext\r\n..\r\n"
		if string(content.Bytes()) != want {
			t.Errorf("content %q, want %q", content.Bytes(), want)
		}
	})
	for _, s := range []string{"mail", "rcpt", "data", "queue"} {
		if !asked["other "+s+" internal vip"] || asked["vip "+s+" internal vip"] {
			t.Errorf("asked at %s: %v", s, asked)
		}
	}
}

// TestInjectComposed: a message made of its parts, with what they leave out.
func TestInjectComposed(t *testing.T) {
	for _, tt := range []struct {
		args map[string]any
		want []string
	}{
		{mailArgs("content", map[string]any{"text": "hello\n"}), []string{"From: a@vip.example\r\nTo: undisclosed-recipients:;\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n", "Content-Type: text/plain; charset=utf-8\r\n", "\r\n\r\nhello\r\n"}},
		{mailArgs("rcpts", list("u@example.org"), "content", map[string]any{"subject": "Caf\u00e9", "html": "<p>", "text": "p", "from": "Me <me@vip.example>"}), []string{"From: Me <me@vip.example>\r\nTo: u@example.org\r\nSubject: =?utf-8?", "multipart/alternative", "text/html"}},
	} {
		c, o, about := injector(t, nil)
		within(t, c, about, time.Minute, func() {
			if _, err := find(t, "inject").Do(c, list(tt.args)); err != nil {
				t.Fatal(err)
			}
		})
		items, _, _ := o.Scan(t.Context(), nil, 10)
		content, err := o.Open(t.Context(), items[0].Envelope.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(string(content.Bytes()), want) {
				t.Errorf("%q is not in\n%s", want, content.Bytes())
			}
		}
	}
}

func TestInjectParcel(t *testing.T) {
	c, o, about := injector(t, &message.Envelope{Injected: &message.Injected{By: "x", Depth: 2}})
	within(t, c, about, time.Minute, func() {
		check(t, c, []call{{"inject", list(map[string]any{"via": "vip", "content": map[string]any{"a": int64(1)}, "key": "k"}), store.ID{1}.String(), ""}})
	})
	if len(o.parcels) != 1 || o.parcels[0] != "{By:vip Depth:3 Key:k Via:vip} map[a:1]" {
		t.Errorf("parcels %q", o.parcels)
	}
}

// TestInjectRefuses what is wrong in words for the plugin's author, and what cannot be taken.
func TestInjectRefuses(t *testing.T) {
	c, o, about := injector(t, nil)
	parcel := func(change ...any) map[string]any {
		return mailArgs(append([]any{"sender", nil, "rcpts", nil}, change...)...)
	}
	within(t, c, about, time.Minute, func() {
		for args, want := range map[*map[string]any]string{
			at(mailArgs("sneder", "x")):                                                    `unknown key "sneder"; did you mean "sender"? known: content, key, rcpts, sender`,
			at(mailArgs("sender", nil)):                                                    `sender is missing; write "" for the null sender`,
			at(mailArgs("sender", int64(1))):                                               "sender: an address is text, not a number",
			at(mailArgs("sender", "a b@x")):                                                `sender: "a b@x" is not an address`,
			at(mailArgs("rcpts", nil)):                                                     "rcpts must be a list of 1 to 100 addresses",
			at(mailArgs("rcpts", list())):                                                  "rcpts must be a list of 1 to 100 addresses",
			at(mailArgs("rcpts", list(""))):                                                `rcpts: "" is not an address`,
			at(mailArgs("content", nil)):                                                   "content is missing",
			at(mailArgs("content", map[string]any{"txet": "x"})):                           `content: unknown key "txet"; did you mean "text"? known: from, html, subject, text, to`,
			at(mailArgs("content", map[string]any{"text": true})):                          "content: text is a boolean; it must be a string",
			at(mailArgs("content", map[string]any{"subject": "x"})):                        "content: there is neither a text nor HTML",
			at(mailArgs("content", map[string]any{"text": "x", "subject": "a\r\nBcc: b"})): "content: ",
			at(mailArgs("sender", "", "content", map[string]any{"text": "x"})):             "content: from is missing, which the null sender does not tell",
			at(mailArgs("content", list("x"))):                                             "content is a list; it must be a string",
			at(mailArgs("content", "hello")):                                               "content: it is no message; it begins with header fields",
			at(mailArgs("content", "Subject: x\n")):                                        "content: the empty line between header and text is missing",
			at(mailArgs("content", "Subject: x\rBcc: y\n\n")):                              "content: it has a carriage return that ends no line",
			at(mailArgs("content", "S: x\n\n"+strings.Repeat("x", 999))):                   "content: it has a line of 999 bytes; the most is 998",
			at(mailArgs("content", "S: x\n\n"+strings.Repeat("x\n", 1<<19))):               "content: it has 1048582 bytes; it may have 1048576",
			at(mailArgs("key", true)):                                                      "key is a boolean; it must be a string",
			at(mailArgs("key", strings.Repeat("k", 513))):                                  "the key has 513 bytes; it may have 512",
			at(parcel("via", "other")):                                                     `via is "other"; a parcel goes to the plugin that hands it in, "vip"`,
			at(parcel("via", "vip", "content", nil)):                                       "content is missing",
			at(parcel("via", "vip", "content", strings.Repeat("x", 1<<20+1))):              "content has 1048577 bytes; it may have 1048576",
			at(parcel("via", "vip", "sender", "x")):                                        `unknown key "sender"; known: content, key, via`,
		} {
			c.injects = 0
			_, err := find(t, "inject").Do(c, list(*args))
			if err == nil || !strings.HasPrefix(err.Error(), "inject: "+want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
		for given, want := range map[error]string{
			store.ErrFull:    "the disk has no room for it now",
			store.ErrBusy:    "too much at once",
			store.ErrUnknown: "whether it was taken is not known",
			errors.New("oh"): "it was not taken: oh",
		} {
			c.injects, o.err = 0, given
			if _, err := find(t, "inject").Do(c, list(mailArgs())); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, given) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
	})
	if items, _, _ := o.Scan(t.Context(), nil, 10); len(items) != 0 {
		t.Errorf("%d were queued", len(items))
	}
}

func at(m map[string]any) *map[string]any { return &m }

// TestInjectIsBounded: in number, in depth, and in time.
func TestInjectIsBounded(t *testing.T) {
	c, _, about := injector(t, nil)
	within(t, c, about, time.Minute, func() {
		for i := range maxInjects + 1 {
			if _, err := find(t, "inject").Do(c, list(mailArgs())); (err != nil) != (i == maxInjects) {
				t.Errorf("call %d: %v", i+1, err)
			}
		}
	})
	c, _, about = injector(t, &message.Envelope{Injected: &message.Injected{By: "x", Depth: 3}})
	within(t, c, about, time.Minute, func() {
		if _, err := find(t, "inject").Do(c, list(mailArgs())); err == nil || !strings.Contains(err.Error(), "at the end of 3 that led to each other") {
			t.Errorf("the fourth: %v", err)
		}
	})
	c, o, about := injector(t, nil)
	o.block = make(chan bool)
	within(t, c, about, 10*time.Millisecond, func() {
		if _, err := find(t, "inject").Do(c, list(mailArgs())); err == nil || !strings.Contains(err.Error(), "whether it was taken is not known") {
			t.Errorf("a store that does not answer: %v", err)
		}
	})
	close(o.block)
	c, o, about = injector(t, nil)
	o.panics = true
	within(t, c, about, time.Minute, func() {
		if _, err := find(t, "inject").Do(c, list(mailArgs())); err == nil || !strings.Contains(err.Error(), "the server failed: a fault in the queue") {
			t.Errorf("a queue that panics: %v", err)
		}
	})
}

// TestInjectIsRefusedByPolicy: the answer of whoever refused it is the error.
func TestInjectIsRefusedByPolicy(t *testing.T) {
	no := &hooks.Hook{Plugin: "no", Stage: hooks.Rcpt, Timeout: time.Second, Needs: &capability.Needs{}, Handler: hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
		return &hooks.Verdict{Kind: hooks.Reject, Text: "not <" + c.Rcpt.Address.Text + ">"}, nil
	})}
	c, o, about := injector(t, nil, no)
	within(t, c, about, time.Minute, func() {
		_, err := find(t, "inject").Do(c, list(mailArgs()))
		if err == nil || err.Error() != "inject: it was not taken: the answer is 550 5.7.1 not <u@example.org>" {
			t.Errorf("error %v", err)
		}
	})
	if items, _, _ := o.Scan(t.Context(), nil, 10); len(items) != 0 {
		t.Errorf("%d were queued", len(items))
	}
}

// TestInjectForwards: the content of a message, and a message within it, are handed in as they are, and not when they are none.
func TestInjectForwards(t *testing.T) {
	inner := "Subject: inner\r\nDate: x\r\n\r\nold\r\n"
	whole := "Subject: x\r\nMessage-ID: <a@b>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(inner, "\r\n", "\n"))) + "\r\n--b\r\n\r\n\u00fcber\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString([]byte("Subject: x\n\na\rb\n")) + "\r\n--b--\r\n"
	const date = "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
	for _, tt := range []struct {
		text   string
		number int64
		want   string // "!" begins an error
	}{
		{whole, 0, date + whole},
		{whole, 1, "Message-ID: <ID@mx.example>\r\n" + inner},
		{whole, 2, "!inject: content: it is no message"},
		{whole, 3, "!it has a carriage return that ends no line"},
		{whole, 9, "!inject: there is no content 9 here"},
		{whole + strings.Repeat("x\r\n", 1<<20), 0, date + whole + strings.Repeat("x\r\n", 1<<20)},
		{whole + strings.Repeat("x\r\n", 4<<20), 0, "!552"},
	} {
		c, o, about := injector(t, &message.Envelope{})
		about.Message.Content = content{strings.NewReader(tt.text)}
		within(t, c, about, time.Minute, func() {
			got, err := find(t, "inject").Do(c, list(mailArgs("content", tt.number)))
			if want, bad := strings.CutPrefix(tt.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("content %d: %v, not %q", tt.number, err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			items, _, _ := o.Scan(t.Context(), nil, 10)
			made, err := o.Open(t.Context(), items[0].Envelope.ID)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(io.NewSectionReader(made, 0, made.Size()))
			if want := strings.Replace(tt.want, "ID@", got.(string)+"@", 1); err != nil || string(text) != want {
				t.Errorf("content %d: %d bytes, %v; want %d", tt.number, len(text), err, len(want))
			}
		})
	}
}
