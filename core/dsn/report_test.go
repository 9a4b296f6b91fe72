package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// memory is a content that lies in memory.
type memory string

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}
func (m memory) Size() int64   { return int64(len(m)) }
func (m memory) Bytes() []byte { return []byte(m) }

// onDisk is one that does not, and that fails after so many bytes.
type onDisk struct {
	memory
	broken int64
	read   int64 // bytes asked for
}

func (d *onDisk) Bytes() []byte { return nil }

func (d *onDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.read += int64(len(p)); off+int64(len(p)) > d.broken {
		return 0, io.ErrClosedPipe
	}
	return d.memory.ReadAt(p, off)
}

func mustAddress(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseUTF8Address(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var day = time.Date(2026, 8, 14, 12, 0, 0, 0, time.FixedZone("", 2*3600))

const plain = "Received: from a.example by mx1.example.org; Fri, 14 Aug 2026 09:59:58 +0000\r\n" +
	"From: A user <a@a.example>\r\nTo: b@b.example\r\nSubject: hello\r\n there\r\nMessage-ID: <1@a.example>\r\n\r\nsecret body\r\n"

func newReport(t testing.TB, kind Kind, rcpts ...Rcpt) *Report {
	return &Report{
		ID: message.ID{1, 2, 3, 4, 5, 6}, Date: day.Add(time.Minute), Kind: kind, ReportingMTA: "mx1.example.org",
		Message: message.ID{1, 2, 3, 4, 5}, Arrived: day, Sender: mustAddress(t, "a@a.example"),
		Rcpts: rcpts, Original: memory(plain),
	}
}

func newRcpt(t testing.TB, kind Kind, address string, o message.Outcome) Rcpt {
	a := mustAddress(t, address)
	return NewRcpt(kind, &message.Rcpt{Address: a, Original: a}, o.Last(), day.Add(30*time.Second))
}

func compose(t testing.TB, r *Report) string {
	t.Helper()
	b, err := r.Compose()
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Compose()
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("composed again it differs, %v", err)
	}
	return string(b)
}

func TestGolden(t *testing.T) {
	unknown := message.Outcome{Host: "mx.b.example[192.0.2.1]:25", Reply: smtp.NewReply(550, "5.1.1", "no such user", "see https://b.example/help")}
	refused := message.Outcome{Host: "[2001:db8::1]:25", Reply: smtp.NewReply(554, "", strings.Repeat("we do not like this ", 8))}
	expired := message.Outcome{Reply: smtp.NewReply(451, "4.4.1", "mx.c.example[192.0.2.9]:25: connection refused")}
	busy := message.Outcome{Host: "mx.b.example[192.0.2.1]:25", Reply: smtp.NewReply(452, "4.2.2", "over quota")}

	several := newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown), newRcpt(t, Failed, "c@[192.0.2.7]", refused),
		newRcpt(t, Failed, `"d  e"@d.example`, expired))
	several.EnvelopeID = "QQ(314)159 <x>"
	several.Rcpts[0].Original = esmtp.Recipient{Type: "rfc822", Address: "List@a.example"}
	delayed := newReport(t, Delayed, newRcpt(t, Delayed, "b@b.example", busy))
	delayed.Rcpts[0].WillRetryUntil = day.Add(5 * 24 * time.Hour)
	full := newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown))
	full.ReturnFull = true
	eight := newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown))
	eight.Original = memory("From: a@a.example\r\nSubject: grüße = x\r\n\r\nbody\r\n")
	bare := newReport(t, Failed, Rcpt{Final: mustAddress(t, "b@b.example")})
	bare.Arrived, bare.Original = time.Time{}, nil

	done := message.Outcome{Host: "mx.b.example[192.0.2.1]:25", Reply: smtp.NewReply(250, "2.0.0", "queued")}
	delivered := newReport(t, Delivered, newRcpt(t, Delivered, "b@b.example", message.Outcome{Host: "plugin:archive", Reply: done.Reply}))
	delivered.ReturnFull, delivered.EnvelopeID = false, "x"
	delivered.Rcpts[0].Original = esmtp.Recipient{Type: "x400", Address: "/G=B/"}
	utf8 := newReport(t, Failed, newRcpt(t, Failed, "jos\u00e9+1@b\u00fccher.example", unknown))
	utf8.Sender = mustAddress(t, "\u00e4@a.example")
	utf8.Rcpts[0].Original = esmtp.Recipient{Type: "utf-8", Address: "jos\u00e9@b.example"}

	const wideHeader = "From: \u00e4@a.example\r\nTo: jos\u00e9@b\u00fccher.example\r\nSubject: gr\u00fc\u00dfe\r\n"
	global := newReport(t, Failed, newRcpt(t, Failed, "jos\u00e9+1@b\u00fccher.example", unknown), newRcpt(t, Failed, "b@b.example", busy))
	global.Sender, global.Global, global.Original = mustAddress(t, "\u00e4@a.example"), true, memory(wideHeader+"\r\nsecret body\r\n")
	global.Rcpts[0].Original = esmtp.Recipient{Type: "utf-8", Address: "jos\u00e9 =@b.example"}
	full7 := *global // to an address in ASCII, whose server may know no SMTPUTF8
	full7.Sender, full7.ReturnFull, full7.Original = mustAddress(t, "a@a.example"), true, memory(wideHeader+"\r\nbody = \xff\r\n.\r\n")
	plainGlobal := newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown)) // sent with SMTPUTF8, and all in ASCII
	plainGlobal.Global = true
	legacy := newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown))
	legacy.Global, legacy.Original = true, memory("Subject: gr\xfc\xdfe\r\n\r\nbody\r\n") // not UTF-8, whatever was said
	expanded := newReport(t, Expanded, newRcpt(t, Expanded, "team@b.example", done))

	for name, r := range map[string]*Report{
		"global": global, "global-seven": &full7, "global-plain": plainGlobal, "global-legacy": legacy, "expanded": expanded,
		"delivered": delivered, "relayed": newReport(t, Relayed, newRcpt(t, Relayed, "b@b.example", done)), "utf8": utf8,
		"failed": newReport(t, Failed, newRcpt(t, Failed, "b@b.example", unknown)), "several": several, "delayed": delayed,
		"full": full, "eightbit": eight, "bare": bare,
	} {
		t.Run(name, func(t *testing.T) {
			sent := compose(t, r)
			wellFormed(t, r, sent)
			got := strings.ReplaceAll(sent, "\r\n", "\n")
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
				t.Errorf("not as in %s:\n%s", file, got)
			}
		})
	}
}

func TestOwed(t *testing.T) {
	if Owed(smtp.Address{}) {
		t.Error("a notification is owed to the null reverse-path")
	}
	if !Owed(mustAddress(t, "a@a.example")) {
		t.Error("none is owed to a sender")
	}
}

func TestComposeRefuses(t *testing.T) {
	rcpt := Rcpt{Final: mustAddress(t, "b@b.example")}
	for name, c := range map[string]struct {
		change func(r *Report)
		want   string
	}{
		"null sender":  {func(r *Report) { r.Sender = smtp.Address{} }, "null reverse-path"},
		"forged field": {func(r *Report) { r.Sender.Text = "a@a.example>\r\nBcc: <x@y" }, "not an address"},
		"no kind":      {func(r *Report) { r.Kind = 0 }, "no kind"},
		"no recipient": {func(r *Report) { r.Rcpts = nil }, "without a recipient"},
		"forged host":  {func(r *Report) { r.ReportingMTA = "a\r\nBcc: x@y" }, "not a host name"},
		"failing disk": {func(r *Report) { r.Original = &onDisk{memory: plain, broken: 10} }, "closed pipe"},
	} {
		r := newReport(t, Failed, rcpt)
		c.change(r)
		b, err := r.Compose()
		if b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrNotOwed) != (name == "null sender") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNewRcpt: a recipient is named as the sender named it, and only a remote server is named to the world.
func TestNewRcpt(t *testing.T) {
	r := &message.Rcpt{Address: mustAddress(t, "hidden@c.example"), Original: mustAddress(t, "b@b.example")}
	for _, c := range []struct{ host, want string }{
		{"mx1.example.org[192.0.2.1]:25", "mx1.example.org"},
		{"[192.0.2.1]:25", "[192.0.2.1]"},
		{"[2001:db8::1]:25", "[IPv6:2001:db8::1]"},
		{"[::ffff:192.0.2.1]:25", "[192.0.2.1]"},
		{"", ""}, {"plugin:archive", ""}, {"/run/lmtp", ""}, {"mx1.example.org", ""}, {"[", ""}, {"[]:25", ""},
		{"[fe80::1%\r\nX: y]:25", ""}, {"a\r\nb[192.0.2.1]:25", ""},
	} {
		got := NewRcpt(Failed, r, message.Last{Code: 550, Enhanced: "5.1.1", Text: "no", Host: c.host}, day)
		want := Rcpt{Final: r.Original, Status: "5.1.1", Diagnostic: "550 5.1.1 no", RemoteMTA: c.want, LastAttempt: day}
		if got != want {
			t.Errorf("%q: %+v", c.host, got)
		}
	}
	if got := NewRcpt(Failed, r, message.Last{Text: "our own words"}, day); got.Diagnostic != "our own words" || got.Status != "5.0.0" {
		t.Errorf("without a reply: %+v", got)
	}
}

// TestManyRecipients: the text stays short, the report names everybody.
func TestManyRecipients(t *testing.T) {
	rcpts := make([]Rcpt, 1000)
	for i := range rcpts {
		rcpts[i] = Rcpt{Final: mustAddress(t, "b@b.example"), Diagnostic: strings.Repeat("x ", 10_000)}
	}
	r := newReport(t, Failed, rcpts...)
	sent := compose(t, r)
	wellFormed(t, r, sent)
	if n := strings.Count(sent, "\r\n<b@b.example>\r\n"); n != maxTold || !strings.Contains(sent, "lists 950 more.") {
		t.Errorf("the text tells of %d recipients", n)
	}
	if len(sent) > len(rcpts)*3<<10 {
		t.Errorf("%d bytes", len(sent))
	}
}
