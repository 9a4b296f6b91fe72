package message

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// Ways that a plan can name in Via. Any other value names the plugin whose deliver stage is asked.
const (
	ViaSMTP = "smtp"
	ViaLMTP = "lmtp"
)

// Plan says how a recipient is reached. Its fields are set independently by plugins at the stage route (or queue); an
// empty field is unset.
type Plan struct {
	Via   string   // "smtp" (default), "lmtp", or a plugin
	Hosts []string // next hops in order, "host:port", "[v6]:port"; tried one after the other
	MX    string   // look up the MX of this domain instead of the recipient's
	// Private has a bit for each of Hosts, or the lowest for MX: it may have a private address. Those who made the plan are granted it;
	// it is never stored.
	Private uint16
	Helo    string        // name to greet with; default: the server's
	Sender  *smtp.Address // reverse-path for this recipient's copy only; nil: the envelope's
}

// Merge fills the fields that p leaves unset from q: who was first to set a field wins.
func (p *Plan) Merge(q *Plan) {
	if p.Via == "" {
		p.Via = q.Via
	}
	if len(p.Hosts) == 0 && p.MX == "" { // hosts and mx answer one question
		p.Hosts, p.MX, p.Private = q.Hosts, q.MX, q.Private
	}
	if p.Helo == "" {
		p.Helo = q.Helo
	}
	if p.Sender == nil {
		p.Sender = q.Sender
	}
}

// Lane is the canonical name of the next hop, under which messages wait together: "mx:example.org", "smtp:host:25",
// "lmtp:host:24", "plugin:name". It never names what an MX resolves to, since DNS changes.
func (p *Plan) Lane() string {
	switch {
	case p.Via != "" && p.Via != ViaSMTP && p.Via != ViaLMTP:
		return "plugin:" + p.Via
	case len(p.Hosts) > 0:
		via := p.Via
		if via == "" {
			via = ViaSMTP
		}
		return via + ":" + strings.Join(p.Hosts, ",")
	}
	return "mx:" + p.MX
}

// Equal tells whether two recipients with these plans may travel in one transaction.
func (p *Plan) Equal(q *Plan) bool {
	return p.Via == q.Via && p.MX == q.MX && p.Private == q.Private && p.Helo == q.Helo && slices.Equal(p.Hosts, q.Hosts) &&
		(p.Sender == nil) == (q.Sender == nil) && (p.Sender == nil || *p.Sender == *q.Sender)
}

// Bounds of a plan.
const maxHosts = 16 // as many as Private has bits

// CanonicalHost checks "host", "host:port", "[v6]" or "[v6]:port" and returns it in lower case with a port: 25, or 24 for
// via "lmtp".
func CanonicalHost(s, via string) (string, error) {
	host, port := s, "25"
	if via == ViaLMTP {
		port = "24"
	}
	var err error
	ported := strings.Contains(s, ":") && !strings.HasSuffix(s, "]")
	if ported && strings.Count(s, ":") > 1 { // an IPv6 address may stand there alone
		_, err = netip.ParseAddr(s)
		ported = err != nil
	}
	if ported {
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("%q is not host:port", s)
		}
	}
	host = strings.ToLower(host)
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	switch ip, err := netip.ParseAddr(host); {
	case err == nil && !ip.Is4():
		return net.JoinHostPort(ip.String(), port), nil
	case err != nil && !smtp.ValidDomain(host):
		return "", fmt.Errorf("%q is neither a host name nor an IP address", host)
	}
	if rest, ok := strings.CutPrefix(s, host); ok && rest != "" && rest[1:] == port { // it is canonical, as it mostly is
		return s, nil
	}
	return net.JoinHostPort(host, port), nil
}

// Check tells whether a plan that a plugin gave is one that can be carried out, and makes its hosts canonical.
func (p *Plan) Check() error {
	if len(p.Hosts) > 0 && p.MX != "" {
		return fmt.Errorf("a route has either hosts or mx, not both")
	}
	if len(p.Hosts) > maxHosts {
		return fmt.Errorf("a route has at most %d hosts, this has %d", maxHosts, len(p.Hosts))
	}
	for i, h := range p.Hosts {
		c, err := CanonicalHost(h, p.Via)
		if err != nil {
			return fmt.Errorf("hosts: %w", err)
		}
		p.Hosts[i] = c
	}
	if p.MX != "" {
		if p.MX = strings.ToLower(p.MX); !smtp.ValidDomain(p.MX) {
			return fmt.Errorf("mx: %q is not a domain name", p.MX)
		}
	}
	if p.Helo != "" && !smtp.ValidDomain(p.Helo) {
		return fmt.Errorf("helo: %q is not a domain name", p.Helo)
	}
	if p.Via == ViaLMTP && len(p.Hosts) == 0 {
		return fmt.Errorf(`via "lmtp" needs hosts`)
	}
	return nil
}
