package service

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/hooks"
)

// measured keeps the measures that were taken.
type measured struct {
	list []queue.Measure
	kept []string
}

func (m *measured) Measure(one queue.Measure) (bool, error) {
	if one.Site == "full.example" {
		return false, errors.New("there are 1000 measures in force")
	}
	m.list = append(m.list, one)
	return len(m.list) == 1, nil
}

func (m *measured) KeepMeasures(plugins []string) { m.kept = plugins }

func TestShape(t *testing.T) {
	m := &measured{}
	h := NewHost(Options{Now: func() time.Time { return epoch }})
	may := &capability.Needs{Shape: []string{"site:*.example", "next-hop:mx:*", "tenant:*"}, Route: []string{"*:25", "transport:*"}, Asked: &capability.Needs{Shape: []string{"*"}}, Given: &capability.Needs{Shape: []string{"site:*", "next-hop:*", "tenant:acme"}, Route: []string{"relay.example:25", "transport:archive"}}}
	c := h.Context("vip", may, nil)
	c.Begin(&hooks.Call{Stage: hooks.Deferred})
	type table = map[string]any
	one := func(name string, arg table) call { return call{name: "shape." + name, args: list(arg)} }
	bad := func(name, err string, arg table) call {
		x := one(name, arg)
		x.err = err
		return x
	}
	check(t, c, []call{bad("suspend", "there is no queue yet", table{"site": "a.example", "time": int64(60)})})
	h.Shaper(m)
	yes, no := true, false
	for _, x := range []struct {
		do   string
		arg  table
		want bool
		said string
	}{
		{"slow", table{"site": "A.example", "source": "one", "rate": "100/h", "time": int64(60), "reason": "much", "rule": "r:1"}, yes, "vip r:1 much 1m0s site A.example from one: slowed to rate 100 in 1h0m0s"},
		{"slow", table{"tenant": "Acme", "concurrency": int64(2), "connection_messages": 3.0, "time": 1.5}, no, "vip   1.5s tenant Acme: slowed to concurrency 2, connection_messages 3"},
		{"slow", table{"site": "b.example", "rate": "5/30s", "concurrency": int64(1), "time": int64(604800)}, no, "vip   168h0m0s site b.example: slowed to rate 5 in 30s, concurrency 1"},
		{"suspend", table{"next_hop": "mx:a.example", "time": int64(1)}, no, "vip   1s next hop mx:a.example: suspended"},
		{"reroute", table{"site": "a.example", "to": table{"source": "spare"}, "time": int64(1)}, no, "vip   1s site a.example: sent from spare"},
		{"reroute", table{"site": "a.example", "to": table{"hosts": "Relay.example"}, "time": int64(1)}, no, "vip   1s site a.example: sent to smtp:relay.example:25"},
		{"reroute", table{"site": "a.example", "to": table{"via": "archive"}, "time": int64(1)}, no, "vip   1s site a.example: sent to transport:archive"},
	} {
		got := one(x.do, x.arg)
		got.want = x.want
		check(t, c, []call{got})
		l := m.list[len(m.list)-1]
		if said := fmt.Sprint(l.By, " ", l.Rule, " ", l.Reason, " ", l.Until.Sub(l.Since), " ", l.String()); said != x.said {
			t.Errorf("%v: %s, want %s", x.arg, said, x.said)
		}
	}
	n := len(m.list)
	check(t, c, []call{
		bad("suspend", `unknown key "sites"; did you mean "site"?`, table{"sites": "a.example", "time": int64(1)}),
		bad("suspend", `unknown key "rate"`, table{"site": "a.example", "rate": "1/h", "time": int64(1)}),
		bad("suspend", "time is missing", table{"site": "a.example"}),
		bad("suspend", "time is 0.5; it is from 1 to 604800 seconds", table{"site": "a.example", "time": 0.5}),
		bad("suspend", "time is 604801", table{"site": "a.example", "time": int64(604801)}),
		bad("suspend", "site is a number; it must be a string", table{"site": int64(1), "time": int64(1)}),
		bad("suspend", "there are 1000 measures in force", table{"site": "full.example", "time": int64(1)}),
		bad("suspend", `a measure about the site a.other is not granted`, table{"site": "a.other", "time": int64(1)}),
		bad("suspend", `a measure about the tenant Bulk is not granted: the plugin asks for it, and the operator's grant leaves it out`, table{"tenant": "Bulk", "time": int64(1)}),
		bad("suspend", `a measure about the next-hop smtp:a.example:25 is not granted`, table{"next_hop": "smtp:a.example:25", "time": int64(1)}),
		bad("suspend", `a measure about the tenant bulk is not granted`, table{"site": "a.example", "tenant": "bulk", "time": int64(1)}),
		bad("slow", `rate: "many" is no rate`, table{"site": "a.example", "rate": "many", "time": int64(1)}),
		bad("slow", `rate: "1/1y" is no rate`, table{"site": "a.example", "rate": "1/y", "time": int64(1)}),
		bad("slow", `concurrency: 0 is not a whole number`, table{"site": "a.example", "concurrency": int64(0), "time": int64(1)}),
		bad("slow", `connection_messages: 1.5 is not a whole number`, table{"site": "a.example", "connection_messages": 1.5, "time": int64(1)}),
		bad("reroute", "to is missing", table{"site": "a.example", "time": int64(1)}),
		bad("reroute", "to: name either source, or hosts, or mx", table{"site": "a.example", "time": int64(1), "to": table{"source": "a", "mx": "b.example"}}),
		bad("reroute", "to: name either source, or hosts, or mx", table{"site": "a.example", "time": int64(1), "to": table{"via": "smtp"}}),
		bad("reroute", `to: unknown key "host"; did you mean "hosts"?`, table{"site": "a.example", "time": int64(1), "to": table{"host": "a"}}),
		bad("reroute", "to: hosts is not a list of strings", table{"site": "a.example", "time": int64(1), "to": table{"hosts": list(int64(1))}}),
		bad("reroute", `to: via: "a b" is not the name of a [transport.NAME]`, table{"site": "a.example", "time": int64(1), "to": table{"via": "a b"}}),
		bad("reroute", "to: a measure has no secret to sign requests with", table{"site": "a.example", "time": int64(1), "to": table{"hosts": "https://in.example/x"}}),
		bad("reroute", "to: route to transport:other is not granted", table{"site": "a.example", "time": int64(1), "to": table{"via": "other"}}),
		bad("reroute", `to: via names the transport "pipe", beside which neither hosts nor mx stand`, table{"site": "a.example", "time": int64(1), "to": table{"via": "pipe", "hosts": "a.example"}}),
		bad("reroute", `to: hosts: port "x"`, table{"site": "a.example", "time": int64(1), "to": table{"hosts": "a.example:x"}}),
		bad("reroute", `to: source: "A B" is not the name`, table{"site": "a.example", "time": int64(1), "to": table{"source": "A B"}}),
		bad("reroute", "to: route to other.example:25 is not granted", table{"site": "a.example", "time": int64(1), "to": table{"hosts": "other.example"}}),
		bad("reroute", "to: route to mx is not granted", table{"site": "a.example", "time": int64(1), "to": table{"mx": "other.example"}}),
	})
	if len(m.list) != n {
		t.Errorf("%d measures were taken by calls that failed", len(m.list)-n)
	}
	none := h.Context("other", &capability.Needs{}, nil)
	none.Begin(&hooks.Call{Stage: hooks.Deferred})
	check(t, none, []call{bad("suspend", `it is not granted: ask with needs = { shape = {"site:*", "tenant:*"} }`, table{"site": "a.example", "time": int64(1)})})
	if h.Keep([]string{"vip", "other"}); strings.Join(m.kept, " ") != "vip other" {
		t.Errorf("kept %q", m.kept)
	}
}
