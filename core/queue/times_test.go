package queue

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

// TestTimes: when mail is tried again, given up and said to be late goes by its sender, then by its site, then by what counts for all.
func TestTimes(t *testing.T) {
	hour := time.Hour
	for _, tt := range []struct {
		name, sender, rcpt string
		shape              Shape
		tries              string // times since the start
		told               string // and to whom what was said
	}{
		{"all", "a@a.example", "u@x.example", Shape{}, "0s 1m0s 11m0s 21m0s 31m0s", "failed at 40m0s"},
		{"a site", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"x.example": {Retry: []time.Duration{15 * time.Minute}}}}, "0s 15m0s 30m0s", "failed at 40m0s"},
		{"a site that has longer", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"x.example": {Retry: []time.Duration{hour}, Expire: 3 * hour}}}, "0s 1h0m0s 2h0m0s", "failed at 3h0m0s"},
		{"another site that has longer", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"y.example": {Expire: 3 * hour}}}, "0s 1m0s 11m0s 21m0s 31m0s", "failed at 40m0s"},
		{"a site that has less", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"x.example": {Expire: 5 * time.Minute}}}, "0s 1m0s", "failed at 5m0s"},
		{"a provider", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"provider.example": {Expire: 5 * time.Minute}}, Sites: map[string]Limits{"provider.example": {}}}, "0s 1m0s", "failed at 5m0s"},
		{"a sender", "a@a.example", "u@x.example", Shape{Senders: map[string]Times{"a.example": {Retry: []time.Duration{18 * time.Minute}}}}, "0s 18m0s 36m0s", "failed at 40m0s"},
		{"a sender before a site", "a@a.example", "u@x.example", Shape{Senders: map[string]Times{"a.example": {Expire: 5 * time.Minute}}, SiteTimes: map[string]Times{"x.example": {Expire: hour}}}, "0s 1m0s", "failed at 5m0s"},
		{"another sender", "a@b.example", "u@x.example", Shape{Senders: map[string]Times{"a.example": {Expire: 5 * time.Minute}}}, "0s 1m0s 11m0s 21m0s 31m0s", "failed at 40m0s"},
		{"nobody", "", "u@x.example", Shape{Senders: map[string]Times{NullSender: {Expire: 5 * time.Minute}}}, "0s 1m0s", ""},
		{"a warning for a site", "a@a.example", "u@x.example", Shape{SiteTimes: map[string]Times{"x.example": {Warn: &[]time.Duration{10 * time.Minute}[0]}}}, "0s 1m0s 11m0s 21m0s 31m0s", "delayed at 11m0s, failed at 40m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.resolver = resolvetest.New(t, map[string][]string{"x.example": {"MX 10 mx.provider.example"}})
				b.set.Hostname = "mx.example.org"
				b.set.Retry, b.set.Expire = []time.Duration{time.Minute, 10 * time.Minute}, 40*time.Minute
				b.set.Shape = &tt.shape
				if tt.shape.SiteTimes["x.example"].Expire > 0 || tt.shape.SiteTimes["x.example"].Retry != nil || tt.shape.SiteTimes["x.example"].Warn != nil {
					tt.shape.Sites = map[string]Limits{"x.example": {}}
				}
				b.remote.answer["x.example"] = []message.Outcome{later}
				b.start()
				desk := &bureau{b: b}
				b.q.Notify(desk.submit)
				b.send(func(e *message.Envelope) {
					if e.Sender = (smtp.Address{}); tt.sender != "" {
						e.Sender = parse(t, tt.sender)
					}
				}, tt.rcpt)
				time.Sleep(5 * time.Hour)
				var tries []string
				for _, s := range b.remote.got() {
					if at, to, _ := strings.Cut(s, " "); strings.Contains(to, tt.rcpt) {
						tries = append(tries, at)
					}
				}
				// Where it was given up an attempt was the last: at that time, or by review soon after it.
				if got := strings.Join(tries, " "); !strings.HasPrefix(got, tt.tries) {
					t.Errorf("tried at %s, want %s", got, tt.tries)
				}
				var told []string
				for _, s := range desk.told(b.remote.start) {
					action, at, _ := strings.Cut(s, " ")
					_, at, _ = strings.Cut(at, "at ")
					told = append(told, action+" at "+at)
				}
				if got := strings.Join(told, ", "); got != tt.told {
					t.Errorf("told %s, want %s", got, tt.told)
				}
				if len(b.items()) != 0 {
					t.Errorf("left: %v", b.states())
				}
				b.stop()
			})
		})
	}
}
