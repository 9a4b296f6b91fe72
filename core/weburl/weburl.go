// Package weburl reads the URLs that messages are posted to: of the configuration, and of plans.
package weburl

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Scheme is what they begin with. Nothing goes in clear.
const Scheme = "https:"

const maxURL = 1000

// Parse reads a URL and brings it to the form that is compared: scheme and host in lower case, no port that goes without saying, no space.
func Parse(s string) (*url.URL, error) {
	shown := s[:min(len(s), 60)]
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "":
		return nil, fmt.Errorf("%q is not a URL with https", shown)
	case len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("%q is not up to %d characters of ASCII without spaces", shown, maxURL)
	case u.User != nil:
		return nil, errors.New("a name and password do not stand in a URL")
	case strings.Contains(s, "#"):
		return nil, fmt.Errorf("%q has a fragment, which is not sent", shown)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); (err != nil || ip.Zone() != "") && !isDomain(u.Hostname()) {
		return nil, fmt.Errorf("%q is neither a host name nor an IP address", u.Hostname())
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || n == 0) {
		return nil, fmt.Errorf("port %q is not a number from 1 to 65535", u.Port())
	}
	u.Host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), ":443"), ":")
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// HostPort is where it leads, always with a port.
func HostPort(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":443"
	}
	return u.Host
}

func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		odd := func(r rune) bool {
			ok := 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '-'
			return !ok
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return true
}
