package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

// outage is a resolver all of whose servers are dead for a time: a question takes as long as a resolve.Client gives it, and then there is no
// answer.
type outage struct {
	resolve.Resolver
	over  atomic.Bool
	asked atomic.Int64
}

func (o *outage) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	o.asked.Add(1)
	if o.over.Load() {
		return o.Resolver.Lookup(ctx, name, t)
	}
	err := errors.New("no answer")
	select {
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
		err = ctx.Err()
	}
	return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: err}
}

// TestDNSOutage: while the DNS is silent for an hour mail is taken at once, waits, and bounces for nobody; when it answers again all of it
// goes, once.
func TestDNSOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const domains, each = 10, 10
		remote := remotetest.New(t)
		network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{}}
		names := map[string][]string{}
		for i := range domains {
			names[fmt.Sprintf("d%d.test", i)] = []string{fmt.Sprintf("MX 10 mx.d%d.test.", i)}
			names[fmt.Sprintf("mx.d%d.test", i)] = []string{fmt.Sprintf("A 192.0.2.%d", i+1)}
			network.Remotes[fmt.Sprintf("192.0.2.%d:25", i+1)] = remote
		}
		dns := &outage{Resolver: resolvetest.New(t, names)}
		sender := deliver.New(deliver.Options{Resolver: dns, Dial: network.Dial, Hostname: func() string { return "out.x.test" }})
		b := newBench(t)
		b.sender, b.resolver = sender, dns
		b.start()
		b.q.Notify(func(context.Context, smtp.Address, smtp.Params, *message.Notice, func(message.ID) ([]byte, error)) Submitted {
			t.Error("a notice is made")
			return Submitted{Reply: smtp.NewReply(451, "4.3.0", "not here")}
		})

		taken := 0
		began := time.Now()
		for minute := range 60 {
			for ; taken < domains*each*(minute+1)/60; taken++ {
				at := time.Now()
				b.send(nil, fmt.Sprintf("u%d@d%d.test", taken, taken%domains))
				if took := time.Since(at); took > 0 {
					t.Fatalf("a message was taken after %v", took)
				}
			}
			time.Sleep(time.Minute)
		}
		if got := b.states(); len(got) != domains*each || slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, " deferred") && !strings.HasSuffix(s, " fresh") }) {
			t.Errorf("after an hour there are %d recipients: %q", len(got), got)
		}
		if dns.asked.Load() == 0 || len(network.Dialed()) > 0 {
			t.Errorf("%d questions, connections to %q", dns.asked.Load(), network.Dialed())
		}

		dns.over.Store(true)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := b.states(); len(got) > 0 {
			t.Errorf("%v after the beginning %q are left", time.Since(began), got)
		}
		copies := map[string]int{}
		for _, c := range remote.Conns() {
			for _, line := range c.Commands() {
				if strings.HasPrefix(line, "RCPT ") {
					copies[line]++
				}
			}
		}
		for line, n := range copies {
			if n != 1 {
				t.Errorf("%s: %d times", line, n)
			}
		}
		if len(copies) != taken {
			t.Errorf("%d of %d recipients were sent to", len(copies), taken)
		}
		b.stop()
		sender.Close()
	})
}
