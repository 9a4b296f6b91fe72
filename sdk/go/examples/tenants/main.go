// Tenants sends each tenant's mail out by the tenant's own relay. A tenant is known by the domain of the sender.
package main

import (
	"fmt"
	"net"
	"strings"

	stagepost "github.com/stagepost/stagepost/sdk/go"
)

// relays are the next hops, by tenant.
var relays = map[string]string{}

func init() {
	stagepost.OnLoad(load)
	stagepost.OnMail(mail)
	stagepost.OnRoute(route)
	stagepost.OnDeferred(deferred)
}

func load(config stagepost.Settings) error {
	for domain, hop := range config.Map("relays") {
		text, ok := hop.(string)
		if _, _, err := net.SplitHostPort(text); !ok || err != nil {
			return fmt.Errorf("relays: the next hop of %s is %v; it must be host:port", domain, hop)
		}
		relays[strings.ToLower(domain)] = text
	}
	return nil
}

// mail notes whose the message is, so that the queue shows it.
func mail(m stagepost.Message) stagepost.Verdict {
	domain := m.Sender().Domain
	if relays[domain] != "" {
		m.Schedule(stagepost.Schedule{Tenant: new(domain)})
	}
	return nil
}

// route sends it by the tenant's relay.
func route(r stagepost.Rcpt) stagepost.Verdict {
	if hop := relays[r.Message().Tenant()]; hop != "" && r.Class() == "relay" {
		return stagepost.Route{Hosts: []string{hop}}
	}
	return nil
}

// deferred waits longer for a relay that is busy.
func deferred(r stagepost.Rcpt) stagepost.Verdict {
	if last := r.Last(); last != nil && last.Code == 450 && relays[r.Message().Tenant()] != "" {
		return stagepost.Defer{After: stagepost.Config().Duration("wait")}
	}
	return nil
}

func main() {}
