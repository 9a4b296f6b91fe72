package deliver

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

// memory is a content that lies in memory.
type memory []byte

func (m memory) Size() int64   { return int64(len(m)) }
func (m memory) Bytes() []byte { return m }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

// onDisk is a content that does not.
type onDisk struct {
	io.ReaderAt
	size int64
}

func (c onDisk) Size() int64   { return c.size }
func (c onDisk) Bytes() []byte { return nil }

const plain = "Subject: hello\r\n\r\nHello.\r\n"

func address(tb testing.TB, s string) smtp.Address {
	tb.Helper()
	if s == "" {
		return smtp.Address{}
	}
	a, err := smtp.ParseUTF8Address(s)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// newJob makes a job for a content of the sender a@x.test, by MX of y.test unless a plan says otherwise.
func newJob(tb testing.TB, content message.Content, rcpts ...string) *Job {
	tb.Helper()
	job := &Job{Env: &message.Envelope{Sender: address(tb, "a@x.test")}, Content: content, Plan: &message.Plan{MX: "y.test"}}
	for i, r := range rcpts {
		a := address(tb, r)
		job.Env.Rcpts = append(job.Env.Rcpts, &message.Rcpt{Address: a, Original: a})
		job.Rcpts = append(job.Rcpts, i)
	}
	return job
}

// zone has two exchangers of y.test, at 192.0.2.1 and 192.0.2.2.
var zone = map[string][]string{
	"y.test":     {"MX 10 mx1.y.test", "MX 20 mx2.y.test"},
	"mx1.y.test": {"A 192.0.2.1"},
	"mx2.y.test": {"A 192.0.2.2"},
}

func newSender(tb testing.TB, network *remotetest.Net, o Options) *Sender {
	tb.Helper()
	if o.Resolver == nil {
		o.Resolver = resolvetest.New(tb, zone)
	}
	if o.Dial == nil {
		o.Dial = network.Dial
	}
	o.Hostname = func() string { return "out.x.test" }
	s := New(o)
	tb.Cleanup(s.Close)
	return s
}

// brief writes an outcome as tests compare it.
func brief(o message.Outcome) string {
	s := word(o.Result, o.Reply)
	if o.Unknown {
		s += " unknown"
	}
	return s
}

func briefs(outcomes []message.Outcome) string {
	var all []string
	for _, o := range outcomes {
		all = append(all, brief(o))
	}
	return strings.Join(all, ", ")
}

// Each recipient has its own outcome, whatever becomes of the others.
func TestRecipients(t *testing.T) {
	rcpts := []string{"a@y.test", "b@y.test", "c@y.test", "d@y.test"}
	mixed := remotetest.Script{"RCPT <b@y.test>": "450 4.2.1 busy", "RCPT <c@y.test>": "550 5.1.1 unknown", "RCPT <d@y.test>": "552 too many"}
	with := func(s remotetest.Script, key, action string) remotetest.Script {
		m := remotetest.Script{key: action}
		for k, v := range s {
			m[k] = v
		}
		return m
	}
	stepwise := "250-remote.test\n250 SIZE"
	for _, c := range []struct {
		name     string
		script   remotetest.Script
		want     string
		second   string // RCPTs at the second host
		commands string // of the first connection, after EHLO
	}{
		{"mixed", mixed, "delivered, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "", "MAIL RCPT RCPT RCPT RCPT DATA ."},
		{"mixed, stepwise", with(mixed, "EHLO", stepwise), "delivered, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "", "MAIL RCPT RCPT RCPT RCPT DATA ."},
		{"mixed, DATA refused", with(mixed, "DATA", "554 5.7.1 no"), "failed 554 5.7.1, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "", "MAIL RCPT RCPT RCPT RCPT DATA"},
		{"mixed, dot refused", with(mixed, "dot", "451 later"), "deferred 451, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "", "MAIL RCPT RCPT RCPT RCPT DATA ."},
		{"mixed, lost after dot", with(mixed, "dot", "close"), "deferred 451 4.4.2 unknown, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "", "MAIL RCPT RCPT RCPT RCPT DATA ."},
		{"mixed, lost at DATA", with(mixed, "DATA", "close"), "delivered, deferred 450 4.2.1, failed 550 5.1.1, deferred 552", "a@y.test", "MAIL RCPT RCPT RCPT RCPT DATA"},
		{"closed at the third", remotetest.Script{"RCPT <b@y.test>": "550 5.1.1 unknown", "RCPT#3": "close"},
			"delivered, failed 550 5.1.1, delivered, delivered", "a@y.test c@y.test d@y.test", ""},
		{"421 at the third", remotetest.Script{"RCPT <b@y.test>": "550 5.1.1 unknown", "RCPT#3": "421 bye | close"},
			"deferred 421, failed 550 5.1.1, deferred 421, deferred 421", "", ""},
		{"all refused", remotetest.Script{"RCPT": "550 5.1.1 unknown"}, "failed 550 5.1.1, failed 550 5.1.1, failed 550 5.1.1, failed 550 5.1.1", "", "MAIL RCPT RCPT RCPT RCPT DATA"},
		{"all refused, stepwise", remotetest.Script{"RCPT": "550 5.1.1 unknown", "EHLO": stepwise}, "failed 550 5.1.1, failed 550 5.1.1, failed 550 5.1.1, failed 550 5.1.1", "", "MAIL RCPT RCPT RCPT RCPT"},
		{"sender refused, stepwise", remotetest.Script{"MAIL": "450 4.1.8 no", "EHLO": stepwise}, "deferred 450 4.1.8, deferred 450 4.1.8, deferred 450 4.1.8, deferred 450 4.1.8", "", "MAIL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second := remotetest.New(t, c.script), remotetest.New(t)
			network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": first, "192.0.2.2:25": second}}
			s := newSender(t, network, Options{})
			if got := briefs(s.Send(t.Context(), newJob(t, memory(plain), rcpts...))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var again []string
			for _, m := range second.Messages() {
				for _, r := range m.Rcpts {
					again = append(again, strings.Trim(r, "TO:<>"))
				}
			}
			if got := strings.Join(again, " "); got != c.second {
				t.Errorf("the second host got %q, want %q", got, c.second)
			}
			if got := verbs(first.Conns()[0].Commands()[1:]); c.commands != "" && got != c.commands {
				t.Errorf("commands %s, want %s", got, c.commands)
			}
		})
	}
}

func verbs(commands []string) string {
	var all []string
	for _, c := range commands {
		verb, _, _ := strings.Cut(c, " ")
		all = append(all, verb)
	}
	return strings.Join(all, " ")
}

// A server that asks for content although it has no recipient gets an empty one, unless it kept recipients of a sender that
// it refused: that would be a message.
func TestContentForNobody(t *testing.T) {
	for _, c := range []struct {
		name   string
		script remotetest.Script
		want   string
	}{
		{"no recipients", remotetest.Script{"RCPT": "550 5.1.1 unknown", "DATA": "354 go ahead"}, "MAIL RCPT DATA . QUIT"},
		{"no sender", remotetest.Script{"MAIL": "550 5.1.1 unknown", "DATA": "354 go ahead"}, "MAIL RCPT DATA . QUIT"},
		{"no sender, recipients", remotetest.Script{"MAIL": "550 5.1.1 unknown", "RCPT": "250 ok", "DATA": "354 go ahead"}, "MAIL RCPT DATA"},
	} {
		synctest.Test(t, func(t *testing.T) {
			remote := remotetest.New(t, c.script)
			s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}, Options{})
			if got := briefs(s.Send(t.Context(), newJob(t, memory(plain), "u@y.test"))); got != "failed 550 5.1.1" {
				t.Errorf("%s: %s", c.name, got)
			}
			synctest.Wait()
			if got := verbs(remote.Conns()[0].Commands()[1:]); got != c.want {
				t.Errorf("%s: commands %s, want %s", c.name, got, c.want)
			}
			for _, m := range remote.Messages() {
				if string(m.Content) != ".\r\n" {
					t.Errorf("%s: content %q was sent", c.name, m.Content)
				}
			}
		})
	}
}

// In LMTP each accepted recipient has a reply of its own after the dot.
func TestLMTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		script remotetest.Script
		want   string
	}{
		{"all taken", nil, "delivered, delivered, delivered"},
		{"over quota", remotetest.Script{"RCPT <a@y.test>": "550 5.1.1 unknown", "dot <b@y.test>": "552 5.2.2 full"}, "failed 550 5.1.1, failed 552 5.2.2, delivered"},
		{"later", remotetest.Script{"dot <a@y.test>": "451 4.2.1 later"}, "deferred 451 4.2.1, delivered, delivered"},
		{"lost half-way", remotetest.Script{"dot <b@y.test>": "close"}, "delivered, deferred 451 4.4.2 unknown, deferred 451 4.4.2 unknown"},
		{"421 half-way", remotetest.Script{"dot <b@y.test>": "421 4.3.2 bye | silent"}, "delivered, deferred 421 4.3.2, deferred 451 4.4.2 unknown"},
		{"no LHLO", remotetest.Script{"LHLO": "500 what"}, "failed 500, failed 500, failed 500"},
	} {
		remote := remotetest.New(t, c.script)
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.9:24": remote}}, Options{})
		job := newJob(t, memory(plain), "a@y.test", "b@y.test", "c@y.test")
		job.Plan = &message.Plan{Via: "lmtp", Hosts: []string{"192.0.2.9:24"}}
		if got := briefs(s.Send(t.Context(), job)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
		if got := remote.Conns()[0].Commands()[0]; got != "LHLO out.x.test" {
			t.Errorf("%s: greeted with %s", c.name, got)
		}
	}
}

// What the server offers decides what is declared.
func TestExtensions(t *testing.T) {
	eight := plain + "\xe9\r\n"
	for _, c := range []struct {
		name    string
		ehlo    string
		content message.Content
		params  smtp.Params
		want    string // MAIL
		outcome string
	}{
		{"all", "250-x\n250-SIZE 100000\n250 8BITMIME", memory(eight), nil, "MAIL FROM:<a@x.test> SIZE=29 BODY=8BITMIME", "delivered"},
		{"7-bit content", "250-x\n250-SIZE\n250 8BITMIME", memory(plain), nil, "MAIL FROM:<a@x.test> SIZE=26", "delivered"},
		{"8BITMIME declared", "250-x\n250 8bitmime", memory(plain), smtp.Params{{Key: "BODY", Value: "8bitmime"}}, "MAIL FROM:<a@x.test> BODY=8BITMIME", "delivered"},
		{"7BIT declared, not true", "250-x\n250 8bitmime", memory(eight), smtp.Params{{Key: "BODY", Value: "7BIT"}}, "MAIL FROM:<a@x.test> BODY=8BITMIME", "delivered"},
		{"on disk", "250-x\n250 8bitmime", onDisk{strings.NewReader(plain), int64(len(plain))}, nil, "MAIL FROM:<a@x.test> BODY=8BITMIME", "delivered"},
		{"none", "250 x", memory(eight), smtp.Params{{Key: "BODY", Value: "8BITMIME"}}, "MAIL FROM:<a@x.test>", "delivered"},
		{"as large as may be", "250-x\n250 SIZE 26", memory(plain), nil, "MAIL FROM:<a@x.test> SIZE=26", "delivered"},
		{"too large", "250-x\n250 SIZE 25", memory(plain), nil, "QUIT", "failed 552 5.3.4"},
		{"no limit", "250-x\n250 SIZE 0", memory(plain), nil, "MAIL FROM:<a@x.test> SIZE=26", "delivered"},
		{"no size understood", "250-x\n250 SIZE -1", memory(plain), nil, "MAIL FROM:<a@x.test> SIZE=26", "delivered"},
		{"HELO", "500 what", memory(eight), nil, "HELO out.x.test", "delivered"},
	} {
		remote, second := remotetest.New(t, remotetest.Script{"EHLO": c.ehlo}), remotetest.New(t)
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote, "192.0.2.2:25": second}}, Options{})
		job := newJob(t, c.content, "u@y.test")
		job.Env.Params = c.params
		if got := briefs(s.Send(t.Context(), job)); got != c.outcome || len(second.Conns()) > 0 {
			t.Errorf("%s: %s, want %s", c.name, got, c.outcome)
		}
		s.Close()
		if got := remote.Conns()[0].Commands()[1]; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// The envelope's parts and the plan's own say what is sent, and the server's words come back.
func TestEnvelope(t *testing.T) {
	remote := remotetest.New(t, remotetest.Script{"dot": "250-2.6.0 first\n250 2.6.0 queued as 7"})
	s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"[2001:db8::5]:2525": remote}}, Options{})
	job := newJob(t, memory("Old: 1\r\nSubject: x\r\n\r\nHello.\r\n"), "u@y.test", "\"odd name\"@y.test", "w@y.test")
	job.Rcpts = []int{2, 1}
	job.Env.Prefix, job.Env.Skip = []byte("Received: by x\r\nNew: 1\r\n"), 8
	sender := address(t, "bounces@x.test")
	job.Plan = &message.Plan{Hosts: []string{"[2001:db8::5]:2525"}, Helo: "other.x.test", Sender: &sender}
	var steps []observe.Step
	job.Record = func(s observe.Step) { steps = append(steps, s) }
	got := s.Send(t.Context(), job)
	if briefs(got) != "delivered, delivered" || got[0].Host != "[2001:db8::5]:2525" || got[0].Reply.Error() != "250 2.6.0 first queued as 7" {
		t.Errorf("got %+v", got)
	}
	want := []string{"EHLO other.x.test", "MAIL FROM:<bounces@x.test> SIZE=46", "RCPT TO:<w@y.test>", "RCPT TO:<\"odd name\"@y.test>", "DATA", "."}
	if commands := remote.Conns()[0].Commands(); !slices.Equal(commands, want) {
		t.Errorf("commands %q, want %q", commands, want)
	}
	content := "Received: by x\r\nNew: 1\r\nSubject: x\r\n\r\nHello.\r\n.\r\n"
	if m := remote.Messages(); len(m) != 1 || string(m[0].Content) != content {
		t.Errorf("content %q", m)
	}
	if len(steps) != 1 || steps[0].Stage != "deliver" || steps[0].Verdict != "delivered" ||
		steps[0].Detail != "[2001:db8::5]:2525 new, 250 2.6.0 first queued as 7" {
		t.Errorf("steps %+v", steps)
	}
	job.Plan.Sender = &smtp.Address{}
	s.Send(t.Context(), job)
	if commands := remote.Conns()[0].Commands(); commands[6] != "MAIL FROM:<> SIZE=46" {
		t.Errorf("null sender: %q", commands[6])
	}
}

// What is added to one recipient's copy is sent and counted.
func TestOwnFields(t *testing.T) {
	for _, c := range []message.Content{memory(plain), onDisk{strings.NewReader(plain), int64(len(plain))}} {
		remote := remotetest.New(t)
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}, Options{})
		job := newJob(t, c, "u@y.test", "v@y.test")
		job.Env.Prefix, job.Env.Rcpts[1].Prefix, job.Rcpts = []byte("Received: by x\r\n"), []byte("X-Own: v\r\n"), []int{1}
		if got := briefs(s.Send(t.Context(), job)); got != "delivered" {
			t.Fatal(got)
		}
		if got, want := string(remote.Messages()[0].Content), "X-Own: v\r\nReceived: by x\r\n"+plain+".\r\n"; got != want {
			t.Errorf("sent %q", got)
		}
		if got := remote.Conns()[0].Commands()[1]; !strings.HasPrefix(got, "MAIL FROM:<a@x.test> SIZE=52") {
			t.Error(got)
		}
	}
}

// Octets that do not belong on a line are replaced, and one end of data is sent, whatever the content and however it is cut.
func TestWire(t *testing.T) {
	carrier := "Subject: x\r\n\r\n%s" + "MAIL FROM:<evil@v.test>\r\nRCPT TO:<u@y.test>\r\nDATA\r\nx\r\n.\r\n"
	contents := []string{"", ".", ".\r\n", "\r\n.\r\n", "a\r\n..\r\n.\r\nb", "no end", "end in CR\r", strings.Repeat("\r\n.", 50_000)}
	for _, x := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
		"\r\x00\n.\r\n", "\r\n.\r\x00\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n.\r\n"} {
		contents = append(contents, strings.Replace(carrier, "%s", x, 1))
		for pad := 4; pad > 0; pad-- { // across the edge of a block
			contents = append(contents, strings.Repeat("x", blockSize-pad)+x+"tail\r\n")
		}
	}
	for i, content := range contents {
		for _, c := range []message.Content{memory(content), onDisk{strings.NewReader(content), int64(len(content))}} {
			remote := remotetest.New(t)
			s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}, Options{})
			job := newJob(t, c, "u@y.test")
			job.Env.Prefix = []byte("Received: by x\r\n")
			var step observe.Step
			job.Record = func(s observe.Step) { step = s }
			if got := briefs(s.Send(t.Context(), job)); got != "delivered" {
				t.Fatalf("content %d: %s", i, got)
			}
			s.Close()
			if got := verbs(remote.Conns()[0].Commands()); got != "EHLO MAIL RCPT DATA . QUIT" {
				t.Fatalf("content %d: the server saw %s", i, got)
			}
			wire := remote.Messages()[0].Content
			if n := bytes.Count(wire, []byte("\r\n.\r\n")); n != 1 {
				t.Errorf("content %d: %d ends of data", i, n)
			}
			bare := bytes.ReplaceAll(wire, []byte("\r\n"), nil)
			if bytes.ContainsAny(bare, "\r\n\x00") {
				t.Errorf("content %d: stray octets on the wire", i)
			}
			if strays := strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n\x00"); strays != strings.Contains(step.Detail, "stray") {
				t.Errorf("content %d: detail %q", i, step.Detail)
			}
			unstuffed := strings.TrimSuffix(strings.ReplaceAll(string(wire), "\r\n.", "\r\n"), "\r\n\r\n")
			if want := strings.TrimSuffix("Received: by x\r\n"+content, "\r\n"); len(unstuffed) != len(want) {
				t.Errorf("content %d: %d octets arrived, want %d", i, len(unstuffed), len(want))
			}
		}
	}
}

// A content that cannot be read to its end is never ended with a dot, and no other host gets it.
func TestDamagedContent(t *testing.T) {
	for name, content := range map[string]message.Content{
		"short": onDisk{strings.NewReader(plain), 100_000},
		"fails": onDisk{failing{}, 100_000},
	} {
		first, second := remotetest.New(t), remotetest.New(t)
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": first, "192.0.2.2:25": second}}, Options{})
		if got := briefs(s.Send(t.Context(), newJob(t, content, "u@y.test"))); got != "deferred 451 4.3.0" {
			t.Errorf("%s: %s", name, got)
		}
		if len(first.Messages()) > 0 || len(second.Conns()) > 0 {
			t.Errorf("%s: it was sent all the same", name)
		}
	}
	job := newJob(t, memory(plain), "u@y.test")
	job.Env.Skip = int64(len(plain)) + 1
	remote := remotetest.New(t)
	s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}, Options{})
	if got := briefs(s.Send(t.Context(), job)); got != "deferred 451 4.3.0" || len(remote.Messages()) > 0 {
		t.Errorf("skip beyond the end: %s", got)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, io.ErrNoProgress }

// Many recipients are sent in groups: neither side may wait with full buffers.
func TestManyRecipients(t *testing.T) {
	var rcpts []string
	for i := range 1000 {
		rcpts = append(rcpts, strings.Repeat("x", 50)+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676))+"@y.test")
	}
	remote := remotetest.New(t, remotetest.Script{"RCPT#150": "450 4.2.1 busy", "RCPT#1000": "550 5.1.1 unknown"})
	s := newSender(t, nil, Options{Dial: new(net.Dialer).DialContext})
	job := newJob(t, memory(plain), rcpts...)
	job.Plan = &message.Plan{Private: granted, Hosts: []string{remote.Listen()}}
	counts := map[string]int{}
	for i, o := range s.Send(t.Context(), job) {
		counts[brief(o)]++
		if i == 149 && o.Result != message.Deferred || i == 999 && o.Result != message.Failed {
			t.Errorf("recipient %d: %s", i, brief(o))
		}
	}
	if counts["delivered"] != 998 || len(remote.Messages()[0].Rcpts) != 998 {
		t.Errorf("outcomes %v", counts)
	}
}
