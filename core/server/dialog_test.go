package server

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// The dialogs in testdata/dialogs: adding a case is adding a file.
//
//	# a comment
//	set size 100       one of size, rcpts, junk, idle, refused; before the dialog
//	without dsn        an extension that the listener does not offer; before the dialog
//	auth PLAIN LOGIN   the mechanisms that the listener offers; before the dialog. Nobody waits for an answer
//	clear              also without TLS; before the dialog
//	role lmtp          of the listener; before the dialog
//	xclient            is believed; before the dialog
//	connect reject     the verdict at connect: reject, defer or close
//	session tls        the session is encrypted from its start, or user: somebody is logged in
//	C: a line that the client sends; lines that follow each other go in one write
//	R: "raw\n"         the same, as a quoted string, without an end of line
//	S: a line that the server sends; a final … stands for any rest
//	closed             the server closes the connection
//	queued N           messages in the queue, at the end
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d dialogs, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			hs := byName()
			if _, after, ok := strings.Cut(string(text), "\nconnect "); ok {
				word, _, _ := strings.Cut(after, "\n")
				hs = append(hs, hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict {
					for _, k := range hooks.Verdicts() {
						if k.Name == word {
							return &hooks.Verdict{Kind: k.Kind}
						}
					}
					return nil
				}))
			}
			if _, after, ok := strings.Cut(string(text), "\nsession "); ok {
				hs = append(hs, hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict {
					if strings.HasPrefix(after, "tls\n") {
						c.Session.TLS = &message.TLS{Version: "TLSv1.3"}
					} else {
						c.Session.User = "u"
					}
					return nil
				}))
			}
			r := newRig(t, hs...)
			r.srv.After = func(time.Duration) <-chan time.Time { return time.After(0) }
			dialog(t, r, string(text))
		})
	}
}

func dialog(t *testing.T, r *rig, text string) {
	var c *client
	var group strings.Builder
	for i, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		n, _ := strconv.Atoi(rest[strings.LastIndexByte(rest, ' ')+1:])
		if c == nil && (word == "C:" || word == "R:" || word == "S:" || word == "closed") {
			c = dial(t, r.listen(t))
		}
		if word == "S:" || word == "closed" {
			if group.Len() > 0 {
				c.send(group.String())
				group.Reset()
			}
		}
		switch word {
		case "", "#", "connect", "session":
		case "auth":
			r.at.Auth = strings.Fields(rest)
		case "clear":
			r.at.AuthInClear = true
		case "xclient":
			r.at.XClient = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		case "role":
			r.at.Role = message.Role(rest)
		case "without":
			r.at.Without = append(r.at.Without, rest)
		case "set":
			for name, to := range map[string]*int{"rcpts": &r.set.MaxRcpts, "junk": &r.limits.Junk, "idle": &r.limits.Idle, "refused": &r.limits.Refused} {
				if strings.HasPrefix(rest, name+" ") {
					*to = n
				}
			}
			if strings.HasPrefix(rest, "size ") {
				r.set.MaxSize = int64(n)
			}
		case "C:":
			group.WriteString(rest + "\r\n")
		case "R:":
			raw, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			group.WriteString(raw)
		case "S:":
			got := c.line()
			if prefix, any := strings.CutSuffix(rest, "…"); got != rest && !(any && strings.HasPrefix(got, prefix)) {
				t.Fatalf("line %d: the server says\n%s\nwant\n%s", i+1, got, rest)
			}
		case "closed":
			if got := c.line(); got != "closed" {
				t.Fatalf("line %d: the server says\n%s\nwant the end of the connection", i+1, got)
			}
		case "queued":
			c.conn.Close()
			r.settle(t)
			if got := len(r.queue.all(t)); got != n {
				t.Errorf("line %d: %d messages are queued, want %d", i+1, got, n)
			}
		default:
			t.Fatalf("line %d: %q is not known", i+1, word)
		}
	}
}
