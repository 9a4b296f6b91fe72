package wasm

import (
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// verdictKeys are what the map of a verdict may hold besides its kind.
var verdictKeys = map[hooks.Kind][]string{
	hooks.Accept:  {"class", "user", "groups"},
	hooks.Reject:  {"text", "code", "enhanced", "reason", "delay"},
	hooks.Defer:   {"text", "code", "enhanced", "reason", "delay", "after"},
	hooks.Close:   {"text", "code", "enhanced", "reason", "delay"},
	hooks.Discard: {"reason"},
	hooks.Hold:    {"reason"},
	hooks.RouteTo: {"via", "hosts", "mx", "helo", "sender"},
	hooks.Each:    {"verdicts"},
}

// readVerdict reads what a handler answered and checks it.
func readVerdict(raw []byte, c *hooks.Call) (*hooks.Verdict, error) {
	value, err := message.DecodeValue(append([]byte(nil), raw...))
	if err != nil {
		return nil, err
	}
	v, err := verdictOf(value, c)
	if err != nil || v == nil {
		return nil, err
	}
	return v, v.Check(c.Stage)
}

func verdictOf(value any, c *hooks.Call) (*hooks.Verdict, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a verdict is a map")
	}
	n, ok := m["kind"].(int64)
	all := hooks.Verdicts()
	if !ok || n < 0 || n >= int64(len(all)) {
		return nil, fmt.Errorf("kind must be a number from 0 to %d, not %v", len(all)-1, m["kind"])
	}
	v := &hooks.Verdict{Kind: hooks.Kind(n)}
	k := &keys{what: v.Kind.String(), m: m}
	k.known(append([]string{"kind"}, verdictKeys[v.Kind]...))
	if v.Kind == hooks.Next {
		return nil, k.err
	}
	v.Text, _ = k.text("text")
	v.Enhanced, _ = k.text("enhanced")
	v.Reason, _ = k.text("reason")
	v.User, _ = k.text("user")
	v.Groups = k.texts("groups")
	class, _ := k.text("class")
	v.Class = message.Class(class)
	if code, ok := k.number("code"); ok {
		if v.Code = int(code); float64(v.Code) != code || v.Code == 0 {
			k.fail("code %v is not an SMTP code", code)
		}
	}
	v.Delay, v.After = k.duration("delay"), k.duration("after")
	switch v.Kind {
	case hooks.RouteTo:
		v.Plan = k.plan()
	case hooks.Each:
		v.Each = k.each(c)
	}
	return v, k.err
}

func (k *keys) duration(name string) time.Duration {
	n, _ := k.number(name)
	if !(n >= 0 && n <= 1e9) {
		k.fail("%s is %v seconds", name, n)
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

func (k *keys) plan() *message.Plan {
	p := &message.Plan{Hosts: k.texts("hosts")}
	p.Via, _ = k.text("via")
	p.MX, _ = k.text("mx")
	p.Helo, _ = k.text("helo")
	if s := k.m["sender"]; s != nil {
		a, err := addressOf(s)
		if err != nil {
			k.fail("sender: %s", err)
		}
		p.Sender = &a
	}
	return p
}

// each reads one verdict for every recipient, in order; nil is none.
func (k *keys) each(c *hooks.Call) []*hooks.Verdict {
	list, ok := k.m["verdicts"].([]any)
	if n := len(c.Rcpts()); !ok || len(list) != n {
		k.fail("verdicts must be a list with one for each recipient, of which there are %d", n)
		return nil
	}
	out := make([]*hooks.Verdict, len(list))
	for i, e := range list {
		if e == nil {
			continue
		}
		if m, ok := e.(map[string]any); ok && m["kind"] == int64(hooks.Each) {
			k.fail("verdict %d is an each itself", i+1)
			return nil
		}
		v, err := verdictOf(e, c)
		if err != nil {
			k.fail("verdict %d: %s", i+1, err)
			return nil
		}
		out[i] = v
	}
	return out
}
