package resolve

import (
	"context"
	"errors"

	"github.com/miekg/dns"
)

// Offline is a Resolver that asks a function instead of the network, such as the Answer of a made-up zone. What it says is packed
// and judged as a packet from the network is. No reply is a time-out at once.
type Offline func(query *dns.Msg) *dns.Msg

var _ Resolver = Offline(nil)

// Lookup implements Resolver.
func (f Offline) Lookup(ctx context.Context, name string, t Type) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, cannotTell(name, t, err)
	}
	reply := f(new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(t)))
	if reply == nil {
		return Answer{}, cannotTell(name, t, errors.New("no answer"))
	}
	packet, err := reply.Pack()
	if err != nil {
		// The library cannot pack a name that cannot stand in the DNS; Decode knows what that means.
		packet = nil
	}
	return Decode(packet, name, t)
}
