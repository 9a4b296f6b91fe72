package message

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// Ways that a plan can name in Via. Any other value names a transport, or the plugin whose deliver stage is asked.
const (
	ViaSMTP = "smtp"
	ViaLMTP = "lmtp"
	ViaHTTP = "http" // by POST to URLs with https
)

// IsProtocol tells whether a Via names no transport and no plugin.
func IsProtocol(via string) bool {
	return via == "" || via == ViaSMTP || via == ViaLMTP || via == ViaHTTP
}

// Plan says how a recipient is reached. Its fields are set independently by plugins at the stage route (or queue); an
// empty field is unset.
type Plan struct {
	Via string // "smtp" (default), "lmtp", "http", a plugin, or a transport
	// Transport: Via names a [transport.NAME] of the configuration, and not the plugin that set it.
	Transport bool
	Hosts     []string // next hops in order, "host:port", "[v6]:port", or all of them URLs; tried one after the other
	MX        string   // look up the MX of this domain instead of the recipient's; Hosts are tried after those
	Public    bool     // MX leads to no private address, whatever who made the plan is granted
	// Private has a bit for each of Hosts, after one for MX if there is one: it may have a private address. Those who made the plan are
	// granted it; it is never stored.
	Private uint16
	Source  string        // [source.NAME] of the configuration that it is sent from; default: the system chooses the address
	Helo    string        // name to greet with; default: the source's, or the server's
	TLS     TLSLevel      // whether and how connections are encrypted; default: that of the site, of [queue], or TLSAuto
	Auth    Auth          // what to log in with at Hosts, or else at MX, or to sign requests with; zero: nothing
	Sender  *smtp.Address // reverse-path for this recipient's copy only; nil: the envelope's
	Site    string        // whose limits count; default: that of the exchangers
	// SiteBy and SourceBy are the plugins that set Site and Source, for people; they are never stored.
	SiteBy, SourceBy string
}

// Merge fills the fields that p leaves unset from q, which a plugin gave: who was first to set a field wins.
func (p *Plan) Merge(q *Plan, by string) {
	if p.Via == "" && (q.Via != ViaHTTP || len(p.Hosts) == 0 && p.MX == "") { // URLs and the word for them are one answer
		p.Via, p.Transport = q.Via, q.Transport
	}
	if len(p.Hosts) == 0 && p.MX == "" { // hosts and mx answer one question; and nobody gets a password that is meant for others
		p.Hosts, p.MX, p.Private, p.Auth = q.Hosts, q.MX, q.Private, q.Auth
	}
	if p.Source == "" && q.Source != "" {
		p.Source, p.SourceBy = q.Source, by
	}
	if p.Site == "" && q.Site != "" {
		p.Site, p.SiteBy = q.Site, by
	}
	if p.Helo == "" {
		p.Helo = q.Helo
	}
	if p.TLS == "" {
		p.TLS = q.TLS
	}
	if p.Sender == nil {
		p.Sender = q.Sender
	}
}

// Lane is the name under which messages wait together: the canonical next hop (Hop), and the source and the site where the plan
// names them, as in "mx:example.org source=pool site=bulk". It never names what an MX resolves to, since DNS changes.
func (p *Plan) Lane() string {
	lane := p.Hop()
	if p.Source != "" {
		lane += laneSource + p.Source
	}
	if p.Site != "" {
		lane += laneSite + p.Site
	}
	return lane
}

const laneSource, laneSite = " source=", " site="

// SplitLane takes the name of a lane apart; what it does not name is empty.
func SplitLane(lane string) (hop, source, site string) {
	hop, site, _ = strings.Cut(lane, laneSite)
	hop, source, _ = strings.Cut(hop, laneSource)
	return hop, source, site
}

// HopTransport is what a hop begins with that is a transport.
const HopTransport = "transport:"

// Hop is the canonical name of the next hop: "mx:example.org", "smtp:host:25", "lmtp:host:24", "https://host/path", "transport:name", "plugin:name". Fall-backs of an MX are no part of
// it: mail for a domain waits together.
func (p *Plan) Hop() string {
	switch {
	case p.Transport:
		return HopTransport + p.Via
	case !IsProtocol(p.Via):
		return "plugin:" + p.Via
	case p.Via == ViaHTTP:
		return strings.Join(p.Hosts, ",")
	case len(p.Hosts) > 0 && p.MX == "":
		via := p.Via
		if via == "" {
			via = ViaSMTP
		}
		return via + ":" + strings.Join(p.Hosts, ",")
	}
	return "mx:" + p.MX
}

// Hops are the next hops in the words by which a plugin is granted them: that of Private's first bit, and so on. A transport is the last, and
// what stands beside it is granted too: another plan that it is merged into may go there.
func (p *Plan) Hops() (hops []string) {
	if p.MX != "" {
		hops = []string{"mx"}
	}
	for _, h := range p.Hosts {
		hops = append(hops, granted(h))
	}
	if p.Transport {
		hops = append(hops, p.Hop())
	}
	return hops
}

// ParseHop makes a plan of a next hop that a person names: "mx:example.org", "host:port" or "smtp:host:port", "lmtp:host:port", several
// hosts with commas between them, or "transport:name". It may have a private address.
func ParseHop(s string) (*Plan, error) {
	p := &Plan{}
	s = strings.TrimSpace(s)
	if domain, ok := strings.CutPrefix(s, "mx:"); ok {
		p.MX, p.Private = domain, 1
	} else if name, ok := strings.CutPrefix(s, HopTransport); ok {
		p.Via, p.Transport = name, true
	} else if IsURL(s) {
		return nil, errors.New("a URL that is chosen by hand has no secret to sign with: declare it as [transport.NAME], and write transport:NAME")
	} else {
		if rest, ok := strings.CutPrefix(s, ViaLMTP+":"); ok {
			p.Via, s = ViaLMTP, rest
		} else {
			s = strings.TrimPrefix(s, ViaSMTP+":")
		}
		p.Hosts = strings.Split(s, ",")
		p.Private = 1<<len(p.Hosts) - 1
	}
	if len(p.Hosts) > maxHosts {
		p.Hosts = p.Hosts[:maxHosts+1] // enough to be refused
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	if p.MX == "" && len(p.Hosts) == 0 && !p.Transport {
		return nil, fmt.Errorf("mx: it names no domain")
	}
	return p, nil
}

// Equal tells whether two recipients with these plans may travel in one transaction.
func (p *Plan) Equal(q *Plan) bool {
	return p.Via == q.Via && p.Transport == q.Transport && p.MX == q.MX && p.Private == q.Private && p.Helo == q.Helo && p.Source == q.Source && p.Site == q.Site && p.TLS == q.TLS && p.Auth == q.Auth && slices.Equal(p.Hosts, q.Hosts) &&
		(p.Sender == nil) == (q.Sender == nil) && (p.Sender == nil || *p.Sender == *q.Sender)
}

// Bounds of a plan.
const (
	maxHosts = 16 // as many as Private has bits
	maxSite  = 255
)

// ValidName tells whether s can be the name of a table that an operator or author chose.
func ValidName(s string) bool {
	odd := func(r rune) bool {
		ok := 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
		return !ok
	}
	return s != "" && len(s) <= 64 && s[0] != '-' && s[0] != '_' && !strings.ContainsFunc(s, odd)
}

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
	if p.Via == ViaLMTP && p.MX != "" && len(p.Hosts) > 0 {
		return fmt.Errorf(`via "lmtp" has either hosts or mx, not both`)
	}
	if p.Public && p.MX == "" {
		return fmt.Errorf("public is said of mx, and there is none")
	}
	if p.MX != "" && len(p.Hosts) == maxHosts {
		return fmt.Errorf("a route by mx has at most %d hosts to fall back to", maxHosts-1)
	}
	if len(p.Hosts) > maxHosts {
		return fmt.Errorf("a route has at most %d hosts, this has %d", maxHosts, len(p.Hosts))
	}
	if p.Via == "" && len(p.Hosts) > 0 && IsURL(p.Hosts[0]) {
		p.Via = ViaHTTP
	}
	if p.Via == ViaHTTP {
		if err := p.checkPost(); err != nil {
			return err
		}
		return p.checkRest()
	}
	for i, h := range p.Hosts {
		if IsURL(h) {
			return fmt.Errorf("hosts: %q is a URL; beside it stand URLs alone, and via \"http\" or none", h)
		}
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
	if p.Via == ViaLMTP && len(p.Hosts) == 0 {
		return fmt.Errorf(`via "lmtp" needs hosts`)
	}
	if p.Auth != (Auth{}) && len(p.Hosts) == 0 && p.MX == "" {
		return fmt.Errorf("auth stands beside hosts or mx: a password is meant for a next hop")
	}
	if err := p.Auth.check(); err != nil {
		return err
	}
	return p.checkRest()
}

// checkRest looks at what is the same for all next hops.
func (p *Plan) checkRest() error {
	if p.Source != "" && !ValidName(p.Source) {
		return fmt.Errorf("source: %q is not the name of a [source.NAME] or [pool.NAME]: up to 64 lower-case letters, digits, - and _, with a letter or digit first", p.Source)
	}
	if p.Site = strings.ToLower(p.Site); len(p.Site) > maxSite || strings.ContainsFunc(p.Site, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("site: %q is not up to %d characters of ASCII without spaces", p.Site, maxSite)
	}
	if p.Helo != "" && !smtp.ValidDomain(p.Helo) {
		return fmt.Errorf("helo: %q is not a domain name", p.Helo)
	}
	if err := p.TLS.Check(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if p.Transport && !ValidName(p.Via) {
		return fmt.Errorf("via: %q is not the name of a [transport.NAME]: up to 64 lower-case letters, digits, - and _, with a letter or digit first", p.Via)
	}
	return nil
}
