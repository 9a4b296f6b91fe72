package message

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/weburl"
)

const maxURL = 255 // in a plan, as of all names of sites

// checkPost tells whether a plan of URLs can be carried out, and makes them canonical. They encrypt by themselves, and by auth they are told
// nothing: its secret is what a request is signed with.
func (p *Plan) checkPost() error {
	if p.MX != "" || len(p.Hosts) == 0 {
		return errors.New(`via "http" has hosts, as "https://inbound.example.org/mail", and no mx`)
	}
	for i, h := range p.Hosts {
		u, err := weburl.Parse(h)
		switch {
		case err != nil:
		case strings.Contains(h, ","): // there are commas between hosts
			err = fmt.Errorf("%.60q has a comma; write %%2C for it", h)
		case len(h) > maxURL:
			err = fmt.Errorf("%.60q has more than %d characters; declare it as [transport.NAME]", h, maxURL)
		}
		if err != nil {
			return fmt.Errorf("hosts: %w", err)
		}
		p.Hosts[i] = u.String()
	}
	switch a := p.Auth; {
	case a.Secret == "" || a != Auth{Secret: a.Secret}:
		return errors.New(`via "http" needs the name of the secret with which requests are signed, and nothing else of auth: auth = {secret = "inbound"}`)
	case !capability.ValidSecret(a.Secret):
		return unnameable(a.Secret)
	}
	return nil
}

// IsURL tells whether a next hop is a URL, to which messages are posted.
func IsURL(host string) bool {
	return len(host) > len(weburl.Scheme) && strings.EqualFold(host[:len(weburl.Scheme)], weburl.Scheme)
}

// granted is a next hop in the words of a grant: of a URL, the host and port.
func granted(host string) string {
	if !IsURL(host) {
		return host
	}
	u, err := weburl.Parse(host)
	if err != nil { // it was read before
		return host
	}
	return weburl.HostPort(u)
}
