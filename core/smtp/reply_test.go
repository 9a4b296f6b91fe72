package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestReplyAppend(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, c := range []struct {
		reply Reply
		wire  string
		check string // part of the error of Check
	}{
		{NewReply(250, "2.1.0", "ok"), "250 2.1.0 ok\r\n", ""},
		{NewReply(220, "", "mx.example.org ESMTP"), "220 mx.example.org ESMTP\r\n", ""},
		{NewReply(250, "", "mx", "SIZE 10", "8BITMIME"), "250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n", ""},
		{NewReply(550, "5.7.1", "no", "", "never"), "550-5.7.1 no\r\n550-5.7.1\r\n550 5.7.1 never\r\n", ""},
		{NewReply(250, ""), "250\r\n", ""},
		{NewReply(250, "2.0.0"), "250 2.0.0\r\n", ""},
		{NewReply(250, "", "", "x"), "250-\r\n250 x\r\n", ""},
		{NewReply(354, "", "go\tahead"), "354 go\tahead\r\n", ""},
		{NewReply(250, "", long[:506]), "250 " + long[:506] + "\r\n", ""},
		{NewReply(250, "", long), "250 " + long[:506] + "\r\n", "line 1 has 600 octets"},
		{NewReply(250, "2.0.0", long), "250 2.0.0 " + long[:500] + "\r\n", "at most 500"},
		{NewReply(550, "5.7.1", "a\r\n250 ok"), "550 5.7.1 a??250 ok\r\n", `holds "\r"`},
		{NewReply(550, "", "\x00\x1b\x7f\u00e9"), "550 ?????\r\n", `holds "\x00"`},
		{NewReply(0, "5.0.0", "x"), "451 x\r\n", "code 0"},
		{NewReply(600, "", "x"), "451 x\r\n", "code 600"},
		{NewReply(550, "4.7.1", "x"), "550 x\r\n", "want 5.x.y"},
		{NewReply(354, "3.0.0", "x"), "354 x\r\n", "does not fit"},
		{NewReply(550, "5.7.1\r\n", "x"), "550 x\r\n", "does not fit"},
		{NewReply(550, "5.7.", "x"), "550 x\r\n", "does not fit"},
		{NewReply(550, "5.1234.1", "x"), "550 x\r\n", "does not fit"},
		{NewReply(550, "5.7.1.1", "x"), "550 x\r\n", "does not fit"},
		{NewReply(250, "", make([]string, 101)...), strings.Repeat("250-\r\n", 99) + "250\r\n", "101 lines"},
	} {
		if got := string(c.reply.Append([]byte("220 x\r\n"))); got != "220 x\r\n"+c.wire {
			t.Errorf("%+v: got %q, want %q", c.reply, got, c.wire)
		}
		if err := c.reply.Check(); (err == nil) != (c.check == "") || !strings.Contains(errorText(err), c.check) {
			t.Errorf("%+v: Check returns %v, want %q", c.reply, err, c.check)
		}
	}
}

func TestReplyClass(t *testing.T) {
	for code, want := range map[int]string{0: "false false", 250: "true false", 354: "true false", 451: "false true", 550: "false false"} {
		r := Reply{Code: code}
		if got := fmt.Sprint(r.Positive(), r.Temporary()); got != want {
			t.Errorf("%d: got %s, want %s", code, got, want)
		}
	}
	if got := NewReply(550, "5.7.1", "no", "never").Error(); got != "550 5.7.1 no never" {
		t.Errorf("Error returns %q", got)
	}
}

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		wire string
		want Reply
	}{
		{"250 2.1.0 ok\r\n", NewReply(250, "2.1.0", "ok")},
		{"250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n", NewReply(250, "", "mx", "SIZE 10", "8BITMIME")},
		{"550-5.7.1 no\r\n550-5.7.1\r\n550 5.7.1 never\r\n", NewReply(550, "5.7.1", "no", "", "never")},
		{"550-no\r\n550 5.7.1 never\r\n", NewReply(550, "5.7.1", "no", "never")},
		{"550-5.1.1 no\r\n550 5.7.1 never\r\n", NewReply(550, "5.1.1", "no", "5.7.1 never")},
		{"550 4.7.1 class of another code\r\n", NewReply(550, "", "4.7.1 class of another code")},
		{"250\r\n", NewReply(250, "", "")},
		{"250 \r\n", NewReply(250, "", "")},
		{"250 2.0.0\r\n", NewReply(250, "2.0.0", "")},
		{"354 go\r\n", NewReply(354, "", "go")},
		{"550 caf\u00e9 \x1b[0m\r\n", NewReply(550, "", "caf?? ?[0m")},
		{"599 x\r\n", NewReply(599, "", "x")},
	} {
		everySplit([]byte(c.wire+"220 next\r\n"), func(split string, src io.Reader) {
			r := newTestReader(src, DefaultMaxLine)
			got, err := r.ReadReply()
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q, %s: got %+v, %v, want %+v", c.wire, split, got, err, c.want)
			}
			if next, err := r.ReadReply(); err != nil || next.Code != 220 {
				t.Errorf("%q, %s: the next reply is %+v, %v", c.wire, split, next, err)
			}
		})
	}
}

// L10: whatever a server answers is bounded and, when it is not a reply, a temporary failure.
func TestReadReplyRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		src  io.Reader
	}{
		{"code 099", strings.NewReader("099 x\r\n")},
		{"code 150", strings.NewReader("150 x\r\n")},
		{"code 600", strings.NewReader("600 x\r\n")},
		{"no code", strings.NewReader("hello\r\n")},
		{"short", strings.NewReader("25\r\n")},
		{"empty", strings.NewReader("\r\n")},
		{"four digits", strings.NewReader("2500 x\r\n")},
		{"mixed codes", strings.NewReader("250-a\r\n550 b\r\n")},
		{"NUL", strings.NewReader("250 a\x00b\r\n")},
		{"bare LF", strings.NewReader("250 ok\n")},
		{"bare CR", strings.NewReader("250 ok\r250 ok\r\n")},
		{"long line", strings.NewReader("250 " + strings.Repeat("x", 3000) + "\r\n")},
		{"endless line", endless('2')},
		{"endless lines", &repeating{text: "250-\r\n"}},
		{"endless long lines", &repeating{text: "250-" + strings.Repeat("x", 2000) + "\r\n"}},
	} {
		src := &countingReader{src: c.src}
		_, err := newTestReader(src, 4096).ReadReply()
		var reply Reply
		var fault *Fault
		if !errors.As(err, &fault) || !errors.As(err, &reply) || !fault.Fatal || !reply.Temporary() || reply.Check() != nil {
			t.Errorf("%s: got %v, want a fatal fault with a temporary reply", c.name, err)
		}
		if src.n > DefaultMaxDiscard+4096 {
			t.Errorf("%s: %d octets were read", c.name, src.n)
		}
	}
	for _, cut := range []string{"250", "250 ok\r", "250-a\r\n25"} {
		if _, err := newTestReader(strings.NewReader(cut), 64).ReadReply(); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: got %v, want unexpected EOF", cut, err)
		}
	}
}

type repeating struct {
	text string
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{"250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n", "550-5.7.1 no\r\n550 5.7.1 never\r\n", "250\r\n", "250-a\r\n550 b\r\n", "250 a\n"} {
		f.Add([]byte(seed), uint64(1), uint8(3))
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64, segment uint8) {
		got, err := newTestReader(bytes.NewReader(wire), DefaultMaxLine).ReadReply()
		split, err2 := newTestReader(randomSplit(wire, seed, 1+int(segment)), DefaultMaxLine).ReadReply()
		if !reflect.DeepEqual(got, split) || errorText(err) != errorText(err2) {
			t.Fatalf("%q: %+v, %v whole, %+v, %v in segments", wire, got, err, split, err2)
		}
		if err != nil {
			var reply Reply
			if errors.As(err, &reply) && !reply.Temporary() {
				t.Fatalf("%q: %v is not temporary", wire, err)
			}
			return
		}
		// What is sent on is read alike, as far as it may be sent. Without a code of its own, a text that looks
		// like one would be taken for it.
		if got.Check() != nil || got.Enhanced == "" && strings.Contains(fmt.Sprint(got.Text), ".") {
			got.Append(nil)
			return
		}
		again, err := newTestReader(bytes.NewReader(got.Append(nil)), DefaultMaxLine).ReadReply()
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q: %+v, then %+v, %v", wire, got, again, err)
		}
	})
}

func FuzzReplyAppend(f *testing.F) {
	f.Add(550, "5.7.1", "a\r\n250 ok", "b")
	f.Fuzz(func(t *testing.T, code int, enhanced, a, b string) {
		reply := NewReply(code, enhanced, a, b)
		wire := reply.Append(nil)
		r := newTestReader(bytes.NewReader(wire), DefaultMaxLine)
		got, err := r.ReadReply()
		if err != nil || r.Buffered() > 0 || len(got.Text) != 2 || len(wire) > 2*maxReplyLine {
			t.Fatalf("%+v is sent as %q, read as %+v, %v", reply, wire, got, err)
		}
	})
}

func BenchmarkReplyAppend(b *testing.B) {
	reply := NewReply(250, "2.1.5", "recipient ok")
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = reply.Append(buf[:0])
	}
}

func BenchmarkReadReply(b *testing.B) {
	src := &repeating{text: "250 2.1.5 recipient ok\r\n"}
	r := newTestReader(src, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ReadReply(); err != nil {
			b.Fatal(err)
		}
	}
}
