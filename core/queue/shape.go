package queue

import (
	"fmt"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// Rate bounds messages in a time. The zero value says nothing; no messages in some time means that there is no bound.
type Rate struct {
	N   int
	Per time.Duration
}

// String returns "100 in 1m0s", or "no limit".
func (r Rate) String() string {
	if r.N == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%d in %v", r.N, r.Per)
}

// Limits bound what goes to one site from one source. A zero field is not set.
type Limits struct {
	Concurrency        int              // attempts at once
	Rate               Rate             // of messages that are attempted
	ConnectionMessages int              // over one connection
	Prefer             string           // a family of addresses: "any", "ipv4", "ipv6"
	Window             Window           // when it may be sent to; nil: at all times
	TLS                message.TLSLevel // where the plan says nothing
	By                 Origin           // who set them
}

// Window is when something may be done.
type Window interface {
	Opens(now time.Time) time.Time // now, if it is open
	String() string
}

// Origin says where each of the limits was set, for people: "stagepost.toml:12"; empty: nowhere, it is the default.
type Origin struct{ Concurrency, Rate, ConnectionMessages, Prefer, Window, TLS string }

// Shape is the limits of all sites. It is never changed: a reload makes another one.
type Shape struct {
	Default Limits
	// Sites by name: that of a site, a recipient domain, a next hop "host:port", or the end of the exchangers' names.
	Sites map[string]Limits
	// SiteTimes are by the same names, Senders by the domain of the envelope's sender. TimesBy says where those of Settings were set.
	SiteTimes, Senders map[string]Times
	TimesBy            TimesOrigin
	Pools              map[string]*Pool
	Warmups            map[string]*Warmup // by source
}

// limits are those in force for a site.
func (s *Settings) limits(site string) Limits {
	l := Limits{Concurrency: s.Concurrency}
	if s.Shape != nil {
		l = s.Shape.Sites[site].over(s.Shape.Default.over(l))
	}
	l.Concurrency = max(l.Concurrency, 1)
	return l
}

// hostTLS is the word of the site that is called as one of a plan's hosts: of several hosts, or of those behind an MX, each may have its own.
func (s *Settings) hostTLS(host string) message.TLSLevel {
	if s.Shape == nil {
		return ""
	}
	return s.Shape.Sites[host].TLS
}

// over fills what l leaves unset from m.
func (l Limits) over(m Limits) Limits {
	if l.Concurrency == 0 {
		l.Concurrency, l.By.Concurrency = m.Concurrency, m.By.Concurrency
	}
	if l.Rate == (Rate{}) {
		l.Rate, l.By.Rate = m.Rate, m.By.Rate
	}
	if l.ConnectionMessages == 0 {
		l.ConnectionMessages, l.By.ConnectionMessages = m.ConnectionMessages, m.By.ConnectionMessages
	}
	if l.Prefer == "" {
		l.Prefer, l.By.Prefer = m.Prefer, m.By.Prefer
	}
	if l.Window == nil {
		l.Window, l.By.Window = m.Window, m.By.Window
	}
	if l.TLS == "" {
		l.TLS, l.By.TLS = m.TLS, m.By.TLS
	}
	return l
}

// exact tells whether there are limits for just that name.
func (s *Shape) exact(name string) bool {
	if s == nil {
		return false
	}
	_, ok := s.Sites[name]
	return ok
}

// provider finds the longest name under which all these exchangers stand.
func (s *Shape) provider(hosts []string) (string, bool) {
	if s == nil || len(s.Sites) == 0 || len(hosts) == 0 {
		return "", false
	}
	for name := hosts[0]; ; {
		if _, ok := s.Sites[name]; ok && allUnder(hosts, name) {
			return name, true
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return "", false
		}
		name = name[dot+1:]
	}
}

func allUnder(hosts []string, name string) bool {
	for _, h := range hosts {
		if rest, ok := strings.CutSuffix(h, name); !ok || rest != "" && rest[len(rest)-1] != '.' {
			return false
		}
	}
	return true
}
