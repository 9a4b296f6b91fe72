package main

import (
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe/metrics"
	"github.com/stagepost/stagepost/core/server"
	"github.com/stagepost/stagepost/core/tally"
)

// encryption is how a listener encrypts, with the certificates that set gives. Servers that bring mail seldom come back soon, so nothing is
// gained by tickets on their listeners, and a ticket that leaks opens what was said.
func encryption(l *config.Listener, set func() *certs.Set) server.TLS {
	when := map[string]server.Encryption{"starttls": server.OnDemand, "required": server.Demanded, "implicit": server.FromTheOutset}[l.TLS]
	if when == server.InClear {
		return server.TLS{}
	}
	return server.TLS{When: when, Side: certs.NewSide(certs.Options{
		Set: set, Tickets: l.Role != string(message.RoleMX), Ask: certs.Ask(l.ClientCertificates), CA: l.ClientCA,
	})}
}

// certificatesOf lists what is in force.
func certificatesOf(set *certs.Set) []admin.Certificate {
	list := []admin.Certificate{}
	for _, c := range set.Certificates() {
		list = append(list, admin.Certificate{File: c.File, Names: c.Names, Expires: c.NotAfter()})
	}
	return list
}

// showCertificates marks those that will not do, or not for long.
func showCertificates(out output, list []admin.Certificate, now time.Time) {
	if len(list) == 0 {
		return
	}
	t := newTable(out, "CERTIFICATE", "EXPIRES", "NAMES")
	for _, c := range list {
		expires := text(relative(c.Expires, now))
		if now.After(c.Expires) {
			expires = cell{"expired " + expires.text, red}
		} else if now.Add(certs.Soon).After(c.Expires) {
			expires.paint = yellow
		}
		t.add(text(c.File), expires, text(strings.Join(c.Names, " ")))
	}
	t.flush()
	out.printf("\n")
}

// tlsMetrics are of handshakes, by listener, and of certificates.
func (d *daemon) tlsMetrics(each func(func(*tally.Listener, *metrics.Samples, ...string)) func(*metrics.Samples), labels func(...metrics.Label) []metrics.Label) []metrics.Family {
	none := certs.NewCounts(nil)
	return []metrics.Family{
		{Name: "stagepost_tls_handshakes_total", Kind: metrics.Counter, Help: "TLS handshakes with clients that were made.", Labels: labels(words("version", none.Made)),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.TLS.Made, l...) })},
		{Name: "stagepost_tls_handshakes_failed_total", Kind: metrics.Counter, Labels: labels(words("reason", none.Failed)),
			Help: "TLS handshakes with clients that failed: there was no TLS; no version, cipher or protocol (ALPN) in common; the client's certificate will not do; the client refused ours; a timeout; the client went away.",
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.TLS.Failed, l...) })},
		{Name: "stagepost_tls_handshakes_waiting", Kind: metrics.Gauge, Help: "TLS handshakes that wait for their turn, now: as many compute at once as there are CPUs.",
			Read: func(s *metrics.Samples) {
				now, _ := d.smtp.Board.Turns.Waiting()
				s.Add(float64(now))
			}},
		{Name: "stagepost_tls_handshakes_waited_total", Kind: metrics.Counter, Help: "Times that a TLS handshake had to wait for its turn.",
			Read: func(s *metrics.Samples) {
				_, waited := d.smtp.Board.Turns.Waiting()
				s.Add(float64(waited))
			}},
		{Name: "stagepost_certificate_expires_timestamp_seconds", Kind: metrics.Gauge, Help: "When a certificate in force expires.",
			Labels: []metrics.Label{{Name: "file", Of: "files of `[tls]`"}},
			Read: func(s *metrics.Samples) {
				for _, c := range d.plugins.Certificates().Certificates() {
					s.Add(seconds(c.NotAfter()), c.File)
				}
			}},
	}
}
