package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

func TestShape(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	aged := func(minutes int, tenant string) func(*message.Envelope) {
		return func(e *message.Envelope) { e.Arrived, e.Tenant = noon.Add(-time.Duration(minutes)*time.Minute), tenant }
	}
	w.put(t, "", aged(4, "acme"), "a@one.example", "b@one.example", "c@two.example")
	w.put(t, "", aged(5, "acme"), "a@one.example")
	w.put(t, "", func(e *message.Envelope) { aged(3000, "")(e); e.Sender = smtp.Address{} }, "a@two.example")
	id := w.put(t, "", aged(1279, "x"), "a@three.example", "done@four.example")
	w.set(t, id, nil, store.RcptState{Result: message.Deferred, Lane: "mx:three.example", Next: noon.Add(time.Hour)}, store.RcptState{Result: message.Delivered})
	for query, want := range map[string][]string{
		"":                   {" 6 [3 1 0 0 0 0 0 0 1 1]", "one.example 3 [2 1 0 0 0 0 0 0 0 0]", "two.example 2 [1 0 0 0 0 0 0 0 0 1]", "three.example 1 [0 0 0 0 0 0 0 0 1 0]"},
		"by=next-hop":        {" 6 [3 1 0 0 0 0 0 0 1 1]", " 5 [3 1 0 0 0 0 0 0 0 1]", "mx:three.example 1 [0 0 0 0 0 0 0 0 1 0]"},
		"by=site":            {" 6 [3 1 0 0 0 0 0 0 1 1]", " 5 [3 1 0 0 0 0 0 0 0 1]", "mail.example 1 [0 0 0 0 0 0 0 0 1 0]"},
		"site=mail.example":  {" 1 [0 0 0 0 0 0 0 0 1 0]", "three.example 1 [0 0 0 0 0 0 0 0 1 0]"},
		"by=sender":          {" 4 [1 1 0 0 0 0 0 0 1 1]", "a.example 3 [1 1 0 0 0 0 0 0 1 0]", "<> 1 [0 0 0 0 0 0 0 0 0 1]"},
		"by=tenant&older=5m": {" 3 [0 1 0 0 0 0 0 0 1 1]", " 1 [0 0 0 0 0 0 0 0 0 1]", "acme 1 [0 1 0 0 0 0 0 0 0 0]", "x 1 [0 0 0 0 0 0 0 0 1 0]"},
		"domain=two.example": {" 2 [1 0 0 0 0 0 0 0 0 1]", "two.example 2 [1 0 0 0 0 0 0 0 0 1]"},
		"domain=none":        {" 0 [0 0 0 0 0 0 0 0 0 0]"},
	} {
		q, _ := url.ParseQuery(query)
		var got []string
		for s, err := range w.client.Shape(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(s.Name, " ", s.Total, " ", s.Ages))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if x.looked != 4 { // twice for what is not routed, and for the one next hop
		t.Errorf("%d sites were looked for", x.looked)
	}
	for query, want := range map[string]string{"by=age": "none of domain", "by=domain&x=y": `called "x"`, "%": "cannot be read", "older=x": "not a duration"} {
		err := w.client.get(t.Context(), "GET", "/shape?"+query, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}
