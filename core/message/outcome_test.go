package message

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/smtp"
)

func TestOutcomeLast(t *testing.T) {
	o := Outcome{Result: Deferred, Host: "mx1.example.org[192.0.2.1]:25", Reply: smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: []string{"greylisted,", "come back"}}}
	want := Last{Code: 451, Enhanced: "4.7.1", Host: "mx1.example.org[192.0.2.1]:25", Text: "greylisted, come back"}
	if got := o.Last(); got != want {
		t.Errorf("Last() = %+v, want %+v", got, want)
	}
	o.Reply.Text = []string{strings.Repeat("x", MaxLastText), "more"}
	if got := len(o.Last().Text); got != MaxLastText {
		t.Errorf("a long reply is kept with %d bytes", got)
	}
	for r, want := range map[Result]string{0: "unknown", Deferred: "deferred", Delivered: "delivered", Failed: "failed", Held: "held", Discarded: "discarded"} {
		if r.String() != want {
			t.Errorf("Result %d is called %s, want %s", r, r, want)
		}
	}
}
