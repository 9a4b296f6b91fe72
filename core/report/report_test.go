package report

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/bounce"
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
}

func (d onDisk) Bytes() []byte { return nil }

func (d onDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.broken {
		return 0, io.ErrClosedPipe
	}
	return d.memory.ReadAt(p, off)
}

func parse(t testing.TB, c message.Content) (*Report, error) {
	t.Helper()
	h, err := message.ReadHeader(c, message.DefaultHeaderLimits)
	if err != nil {
		return nil, err
	}
	return Parse(c, h)
}

// TestMails reads each mail of testdata/mails, in memory and from a disk, and compares what it reports, with the classes, with the
// file beside it.
func TestMails(t *testing.T) {
	files, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	table := bounce.New(nil)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			mail, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var was string
			for where, c := range map[string]message.Content{"memory": memory(mail), "disk": onDisk{memory(mail), 1 << 30}, "LF": memory(strings.ReplaceAll(string(mail), "\r\n", "\n"))} {
				r, err := parse(t, c)
				if err != nil {
					t.Fatal(err)
				}
				got, err := json.MarshalIndent(r, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				text := string(got) + "\n"
				if r != nil {
					for _, rcpt := range r.Rcpts {
						text += "class " + string(table.Of(rcpt.Reply())) + "\n"
					}
				}
				if was != "" && text != was {
					t.Errorf("%s:\n%s\nelsewhere:\n%s", where, text, was)
				}
				was = text
			}
			golden := strings.TrimSuffix(file, ".eml") + ".json"
			if *update {
				if err := os.WriteFile(golden, []byte(was), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != was {
				t.Errorf("got\n%s\nwant\n%s\n%v", was, want, err)
			}
		})
	}
}

// TestBounds: what is large, long, many or deep is cut, and does not cost more for it.
func TestBounds(t *testing.T) {
	head := "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
	rcpt := "Final-Recipient: rfc822; u@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
	for _, c := range []struct {
		name, mail string
		rcpts      int
		more       bool
	}{
		{"as many recipients as are told", head + strings.Repeat(rcpt, MaxRcpts), MaxRcpts, false},
		{"one more", head + strings.Repeat(rcpt, MaxRcpts+1), MaxRcpts, true},
		{"many more", head + strings.Repeat(rcpt, 100*MaxRcpts), MaxRcpts, true},
		{"too many fields in a block", head + strings.Repeat("X: y\r\n", maxFields) + rcpt + rcpt, 1, false},
		{"a block that is too large", head + "X: " + strings.Repeat("y", maxBlocks) + "\r\n\r\n" + rcpt, 0, false},
		{"beyond what is looked at", head + strings.Repeat("\r\n", MaxContent/2) + rcpt, 0, false},
		{"a part that begins beyond", strings.Replace(head, "--b\r\n", "text\r\n"+strings.Repeat("x\r\n", MaxContent/3)+"--b\r\n", 1) + rcpt, -1, false},
	} {
		for _, content := range []message.Content{memory(c.mail), onDisk{memory(c.mail), max(MaxContent, 1)}} {
			r, err := parse(t, content)
			switch {
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.rcpts < 0:
				if r != nil {
					t.Errorf("%s: %+v", c.name, r)
				}
			case r == nil || len(r.Rcpts) != c.rcpts || r.More != c.more:
				t.Errorf("%s: %+v", c.name, r)
			}
		}
	}
}

// TestUnreadable: a disk that fails is an error, and not a mail that reports nothing.
func TestUnreadable(t *testing.T) {
	mail, err := os.ReadFile("testdata/mails/postfix.eml")
	if err != nil {
		t.Fatal(err)
	}
	h, err := message.ReadHeader(memory(mail), message.DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	for broken := range int64(len(mail)) {
		if r, err := Parse(onDisk{memory(mail), broken}, h); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("broken after %d of %d bytes: %+v, %v", broken, len(mail), r, err)
		}
	}
}

// sound checks what holds of every report: text without control characters, within the bounds.
func sound(t *testing.T, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if len(v) > maxValue || !utf8.ValidString(v) || strings.ContainsFunc(v, smtp.IsControl) {
				t.Errorf("%q", v)
			}
		case []any:
			if len(v) > MaxRcpts {
				t.Errorf("%d elements", len(v))
			}
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	walk(all)
}

// FuzzParse: whatever comes back, what is told of it is sound.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		mail, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(mail))
	}
	table := bounce.New(nil)
	f.Fuzz(func(t *testing.T, mail string) {
		r, err := parse(t, memory(mail))
		var limit *message.HeaderLimitError
		if err != nil && !errors.As(err, &limit) {
			t.Fatal(err)
		}
		if r == nil {
			return
		}
		sound(t, r)
		for _, rcpt := range r.Rcpts {
			class := table.Of(rcpt.Reply())
			if failed := rcpt.Action == "failed" || rcpt.Action == "delayed"; failed && class == "" && rcpt.Code/100 != 2 && !strings.HasPrefix(rcpt.Status+rcpt.Enhanced, "2") {
				t.Errorf("%+v has no class", rcpt)
			}
			for _, a := range []string{rcpt.Final, rcpt.Original} {
				if a == "" {
					continue
				}
				if _, err := smtp.ParseUTF8Address(a); err != nil {
					t.Errorf("%q is no address: %v", a, err)
				}
			}
		}
	})
}
