package transcript

import (
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// wantRoute is where a recipient is to go.
type wantRoute struct {
	hop    pattern
	names  [][2]string // fields of the plan that are names, and what they are to be
	sender *smtp.Address
	rcpt   string
}

func parseWantRoute(p *parser, rest string) action {
	if _, ok := cutWord(rest, "at"); ok {
		return parseVerdict(p, hooks.RouteTo.String(), rest)
	}
	list := strings.Fields(rest)
	if len(list) == 0 {
		p.fail("write want route mx:example.net")
		return nil
	}
	w := &wantRoute{hop: newPattern(list[0])}
	for i := 1; i < len(list); i++ {
		key, v, _ := strings.Cut(list[i], "=")
		switch {
		case v != "" && (key == "source" || key == "helo" || key == "site" || key == "tls" || key == "auth" || key == "fallback"):
			w.names = append(w.names, [2]string{key, v})
		case key == "sender":
			a, ok := p.address(v)
			if !ok {
				return nil
			}
			w.sender = &a
		case list[i] == "for" && i+1 < len(list):
			i++
			w.rcpt = strings.Trim(list[i], "<>")
		default:
			p.fail("%s", manifest.Unknown("word", list[i], "", []string{"source=NAME", "helo=NAME", "sender=ADDRESS", "site=NAME", "tls=WORD", "auth=USER:SECRET", "fallback=HOST:PORT,...", "for RCPT"}))
			return nil
		}
	}
	return w
}

func (w *wantRoute) do(r *run) error {
	m, places, err := r.copies(w.rcpt)
	if err != nil {
		return err
	}
	for _, i := range places {
		rcpt, d := m.env.Rcpts[i].Address.Text, &m.rcpts[i]
		want := "<" + rcpt + "> to " + w.hop.text
		switch {
		case d.plan == nil && d.outcome != nil:
			return wanted(want, d.outcome.Result.String()+": "+d.outcome.Reply.Error())
		case d.plan == nil:
			return wanted(want, "it was not routed; write route or attempt before")
		case !w.hop.match(d.plan.Hop()):
			return wanted(want, d.plan.Hop())
		case w.sender != nil && (d.plan.Sender == nil || d.plan.Sender.Text != w.sender.Text):
			got := "the sender of the message"
			if d.plan.Sender != nil {
				got = "sender=" + d.plan.Sender.Text
			}
			return wanted(want+" sender="+w.sender.Text, got)
		}
		has := map[string]string{"source": d.plan.Source, "helo": d.plan.Helo, "site": d.plan.Site, "tls": string(d.plan.TLS), "auth": "none", "fallback": "none"}
		if d.plan.MX != "" && len(d.plan.Hosts) > 0 {
			has["fallback"] = strings.Join(d.plan.Hosts, ",")
		}
		if a := d.plan.Auth; a.Secret != "" {
			has["auth"] = a.User + ":" + a.Secret
		}
		for _, n := range w.names {
			if has[n[0]] != n[1] {
				return wanted(want+" "+n[0]+"="+n[1], n[0]+"="+has[n[0]])
			}
		}
	}
	return nil
}
