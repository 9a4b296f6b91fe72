package deliver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// answering is a Carrier that gives its outcomes by turns, and notes whom it was asked for.
type answering struct {
	url     string
	answers []message.Outcome
	asked   *[]string
}

func (a answering) Carry(_ context.Context, j *Job) (out []message.Outcome) {
	*a.asked = append(*a.asked, fmt.Sprint(a.url, " ", j.Rcpts))
	for k := range j.Rcpts {
		if k < len(a.answers) {
			out = append(out, a.answers[k])
		}
	}
	return out
}

func (a answering) String() string { return "https " + a.url }

// TestPost: an answer about the message counts for the whole plan, and so does none where it may have come through; whom nobody answered for, or a
// server that has trouble of its own, is posted to the next URL.
func TestPost(t *testing.T) {
	const one, two = "https://one.test/in", "https://two.test:8443/in"
	yes := message.Outcome{Result: message.Delivered, Host: "one.test", Reply: smtp.NewReply(250, "2.0.0", "HTTP 200")}
	no := message.Outcome{Result: message.Failed, Host: "one.test", Reply: smtp.NewReply(550, "5.1.1", "HTTP 404")}
	later := message.Outcome{Result: message.Deferred, Host: "one.test", Reply: smtp.NewReply(451, "4.3.0", "HTTP 429")}
	broken := message.Outcome{Result: message.Deferred, Host: "one.test", Reply: smtp.NewReply(451, "4.3.0", "HTTP 503"), After: time.Hour, Onward: true}
	gateway := message.Outcome{Result: message.Deferred, Host: "one.test", Reply: smtp.NewReply(451, "4.3.0", "HTTP 504"), Unknown: true}
	down := message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.4.2", "one.test: connection refused"), Away: true}
	lost := message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.4.2", "one.test: EOF"), Unknown: true}
	for _, tt := range []struct {
		name         string
		first        []message.Outcome // of the first URL; the second takes all
		want, asked  string
		record       string
		away, nobody bool
		host         string // of the outcome; not looked at where it is empty
		after        time.Duration
	}{
		{name: "taken", first: []message.Outcome{yes, yes}, want: "delivered, delivered", asked: one + " [0 1]", record: "delivered: " + one + " posted, 250 2.0.0 HTTP 200"},
		{name: "refused", first: []message.Outcome{no, no}, want: "failed 550 5.1.1, failed 550 5.1.1", asked: one + " [0 1]", record: "failed 550 5.1.1: " + one + " posted, 550 5.1.1 HTTP 404; 0 delivered, 0 deferred, 2 failed"},
		{name: "put off", first: []message.Outcome{later, later}, want: "deferred 451 4.3.0, deferred 451 4.3.0", asked: one + " [0 1]", record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 HTTP 429; 0 delivered, 2 deferred, 0 failed"},
		{name: "an error of the server", first: []message.Outcome{broken, broken}, want: "delivered, delivered", asked: one + " [0 1]|" + two + " [0 1]",
			record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 HTTP 503|delivered: " + two + " posted, 250 2.0.0 HTTP 200"},
		{name: "an error of the server after a part of the recipients", first: []message.Outcome{no, broken}, want: "failed 550 5.1.1, delivered", asked: one + " [0 1]|" + two + " [1]",
			record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 HTTP 503|delivered: " + two + " posted, 250 2.0.0 HTTP 200"},
		{name: "an error of all servers", first: []message.Outcome{broken, broken}, nobody: true, want: "deferred 451 4.3.0, deferred 451 4.3.0", asked: one + " [0 1]|" + two + " [0 1]", host: "one.test", after: time.Hour,
			record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 HTTP 503|deferred 451 4.3.0: " + two + " posted, 451 4.3.0 HTTP 503"},
		{name: "an error of what stands before the server", first: []message.Outcome{gateway, gateway}, want: "deferred 451 4.3.0 unknown, deferred 451 4.3.0 unknown", asked: one + " [0 1]",
			record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 HTTP 504; 0 delivered, 2 deferred, 0 failed"},
		{name: "not there", first: []message.Outcome{down, down}, want: "delivered, delivered", asked: one + " [0 1]|" + two + " [0 1]",
			record: "deferred 451 4.4.2: " + one + " posted, 451 4.4.2 one.test: connection refused|delivered: " + two + " posted, 250 2.0.0 HTTP 200"},
		{name: "gone after a part of the recipients", first: []message.Outcome{yes, down}, want: "delivered, delivered", asked: one + " [0 1]|" + two + " [1]",
			record: "deferred 451 4.4.2: " + one + " posted, 451 4.4.2 one.test: connection refused|delivered: " + two + " posted, 250 2.0.0 HTTP 200"},
		{name: "nobody knows", first: []message.Outcome{lost, lost}, want: "deferred 451 4.4.2 unknown, deferred 451 4.4.2 unknown", asked: one + " [0 1]", record: "deferred 451 4.4.2: " + one + " posted, 451 4.4.2 one.test: EOF; 0 delivered, 2 deferred, 0 failed"},
		{name: "no answer by mistake", first: []message.Outcome{yes}, want: "delivered, deferred 451 4.3.0", asked: one + " [0 1]", record: "deferred 451 4.3.0: " + one + " posted, 451 4.3.0 https " + one + " gave no answer for this recipient; 1 delivered, 1 deferred, 0 failed"},
		{name: "nobody is there", first: []message.Outcome{down, down}, nobody: true, want: "deferred 451 4.4.2, deferred 451 4.4.2", asked: one + " [0 1]|" + two + " [0 1]",
			record: "deferred 451 4.4.2: " + one + " posted, 451 4.4.2 one.test: connection refused|deferred 451 4.4.2: " + two + " posted, 451 4.4.2 one.test: connection refused", away: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked, steps, private []string
			s := newSender(t, nil, Options{
				Secret: func(name string) ([]byte, bool, error) { return []byte("key"), name == "inbound", nil },
				Dial:   (&remotetest.Net{}).Dial,
				Post: func(url string, inside bool, secret func() ([]byte, error)) Carrier {
					if key, err := secret(); string(key) != "key" || err != nil {
						t.Errorf("the secret is %q, %v", key, err)
					}
					if inside {
						private = append(private, url)
					}
					if url == one || tt.nobody {
						return answering{url, tt.first, &asked}
					}
					return answering{url, []message.Outcome{yes, yes}, &asked}
				}})
			j := newJob(t, memory(plain), "a@y.test", "b@y.test")
			j.Plan = &message.Plan{Hosts: []string{one, two}, Private: 0b10, Auth: message.Auth{Secret: "inbound"}}
			if err := j.Plan.Check(); err != nil {
				t.Fatal(err)
			}
			j.Record = func(s observe.Step) { steps = append(steps, s.Verdict+": "+s.Detail) }
			out := s.Send(t.Context(), j)
			if briefs(out) != tt.want || strings.Join(asked, "|") != tt.asked || strings.Join(steps, "|") != tt.record {
				t.Errorf("%s\n%q\n%s\nwant %s\n%s\n%s", briefs(out), asked, strings.Join(steps, "|"), tt.want, tt.asked, tt.record)
			}
			if tt.host != "" && out[0].Host != tt.host || out[0].After != tt.after {
				t.Errorf("by %s, after %v", out[0].Host, out[0].After)
			}
			if out[0].Away != tt.away || slices.Contains(private, one) {
				t.Errorf("away %v; private may be %q", out[0].Away, private)
			}
		})
	}
}

// TestPostWithoutSecret: a secret that is not there is the operator's mistake, and no URL is a place to go where nothing posts.
func TestPostWithoutSecret(t *testing.T) {
	j := newJob(t, memory(plain), "a@y.test")
	j.Plan = &message.Plan{Via: message.ViaHTTP, Hosts: []string{"https://one.test/in"}, Auth: message.Auth{Secret: "gone"}}
	var said error
	s := newSender(t, nil, Options{Dial: (&remotetest.Net{}).Dial, Post: func(_ string, _ bool, secret func() ([]byte, error)) Carrier {
		_, said = secret()
		return nil
	}})
	if o := s.Send(t.Context(), j)[0]; brief(o) != "deferred 451 4.3.5" || said == nil || said.Error() != `there is no secret "gone" in the folder of [secrets]` {
		t.Errorf("%+v, %v", o, said)
	}
	if o := newSender(t, nil, Options{Dial: (&remotetest.Net{}).Dial}).Send(t.Context(), j)[0]; brief(o) != "deferred 451 4.3.5" {
		t.Errorf("%+v", o)
	}
}
