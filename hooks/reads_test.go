package hooks

import (
	"errors"
	"slices"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

func TestReads(t *testing.T) {
	set := func(c *Call) (*Verdict, error) { return nil, c.SetFact(&c.Message.Facts, "spf.mail", "pass") }
	fail := func(*Call) (*Verdict, error) { return nil, errors.New("dns is down") }
	for _, c := range []struct {
		name   string
		setter HandlerFunc
		when   When
		want   []string
	}{
		{"set", set, When{}, []string{"spf next", "a reject 550 5.7.1"}},
		{"setter failed", fail, When{}, []string{"spf error, next", "a error, defer 451 4.3.0"}},
		{"setter not asked", set, When{Roles: []message.Role{"api"}}, nil},
		{"asked, not set", answer(nil), When{}, []string{"spf next", "a reject 550 5.7.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spf := hook("spf", Mail, c.setter)
			spf.When, spf.OnError = c.when, Next
			a := hook("a", Rcpt, answer(&Verdict{Kind: Reject}))
			a.Reads = []string{"spf.mail"}
			g := generation(t, spf, a)
			cl, rec := call(t, Mail)
			g.Run(cl)
			cl.Stage = Rcpt
			g.Run(cl)
			var got []string
			for _, s := range rec.steps {
				got = append(got, s.Plugin+" "+s.Verdict)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("steps %q, want %q", got, c.want)
			}
		})
	}
}

// TestReadsWhatSeveralStagesSet: the stage that failed counts, wherever the plugin's others stand.
func TestReadsWhatSeveralStagesSet(t *testing.T) {
	helo := hook("spf", Helo, answer(nil))
	mail := hook("spf", Mail, func(*Call) (*Verdict, error) { return nil, errors.New("dns is down") })
	mail.OnError = Next
	reader := hook("a", Rcpt, answer(nil))
	reader.Reads = []string{"spf.mail"}
	for _, order := range [][]*Hook{{helo, mail, reader}, {mail, helo, reader}} {
		g := generation(t, order...)
		cl, _ := call(t, Helo)
		m := cl.Message
		cl.Message = nil
		g.Run(cl)
		cl.Stage, cl.Message = Mail, m
		g.Run(cl)
		cl.Stage = Rcpt
		if res := g.Run(cl); !res.Failed || res.End == nil {
			t.Errorf("the reader was asked although its setter failed: %+v", res)
		}
	}
}
