package server

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/idle"
)

// strays are the forms of an end of data that some server somewhere takes for one. None of them is.
var strays = map[string]string{
	"E1": "\n.\n", "E2": "\n.\r\n", "E3": "\r.\r", "E4": "\r.\r\n", "E5": "\r\n.\n", "E6": "\r\n.\r", "E7": "\n.\r", "E8": "\r.\n",
	"E9": "\r\n\x00.\r\n", "E10": "\r\n.\x00\r\n", "E11": "\r\x00\n.\r\n", "E12": "\r\n.\r\x00\n", "E15": "\r\n.\r\r\n", "E16": "\r\r\n.\r\r\n",
	"E21": "x\n\n.\n", "E22a": "\r\n..\r\n", "E22b": "\r\n.x\r\n", "E22c": "\r\n.\rx\r\n",
}

const smuggled = "MAIL FROM:<evil@client.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"

// talk sends a whole transaction over a new session, cut as how says, and returns what the server replied in it.
func talk(r *rig, content string, how func(conn io.Writer, content string)) string {
	conn := r.pipe()
	var replies strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(&replies, conn) })
	wait := func() { synctest.Wait() }
	wait()
	io.WriteString(conn, "EHLO client.example\r\n")
	wait()
	io.WriteString(conn, "MAIL FROM:<ok@client.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\n")
	wait()
	how(conn, content)
	wait()
	io.WriteString(conn, "QUIT\r\n")
	wait()
	conn.Close()
	reading.Wait()
	return replies.String()
}

func TestNoSmuggling(t *testing.T) {
	const text = "From: a@client.example\r\n\r\ntext"
	cuts := map[string]func(x string) (string, func(io.Writer, string)){
		"whole": func(x string) (string, func(io.Writer, string)) {
			return text + x + smuggled, func(c io.Writer, s string) { io.WriteString(c, s) }
		},
		"bytes": func(x string) (string, func(io.Writer, string)) {
			return text + x + smuggled, func(c io.Writer, s string) {
				for i := range len(s) {
					io.WriteString(c, s[i:i+1])
				}
			}
		},
		"pause": func(x string) (string, func(io.Writer, string)) {
			return text + x + smuggled, func(c io.Writer, s string) {
				io.WriteString(c, s[:len(text)+len(x)])
				time.Sleep(200 * time.Millisecond)
				io.WriteString(c, s[len(text)+len(x):])
			}
		},
	}
	for k := range 7 { // the first octets of the stray end are the last of a buffer
		cuts[fmt.Sprint("edge ", k)] = func(x string) (string, func(io.Writer, string)) {
			pad := strings.Repeat("0123456789abcde\r\n", idle.Content/16)
			return text + pad[len(pad)-(idle.Content-len(text)-k):] + x + smuggled, func(c io.Writer, s string) { io.WriteString(c, s) }
		}
	}
	for name, x := range strays {
		for how, cut := range cuts {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, byName()...)
					content, send := cut(x)
					replies := talk(r, content, send)
					r.settle(t)
					all := r.queue.all(t)
					if len(all) > 1 || len(all) == 1 && all[0].env.Sender.Local != "ok" || strings.Count(replies, "354") != 1 {
						t.Fatalf("%d messages; the server said\n%s", len(all), replies)
					}
					if clean := strings.HasPrefix(name, "E22") && name != "E22c"; clean != (len(all) == 1) {
						t.Errorf("%d messages; the server said\n%s", len(all), replies)
					} else if clean {
						want := strings.TrimSuffix(strings.Replace(content, x, "\r\n"+x[3:], 1), ".\r\n")
						if all[0].content != want {
							t.Errorf("content is\n%q\nwant\n%q", all[0].content, want)
						}
					}
				})
			})
		}
	}
}

// An empty content is one (E18), and what follows it is commands.
func TestEmptyContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byName()...)
		talk(r, ".\r\n", func(c io.Writer, s string) { io.WriteString(c, s) })
		r.settle(t)
		if all := r.queue.all(t); len(all) != 1 || all[0].content != "" {
			t.Errorf("%+v", all)
		}
	})
}
