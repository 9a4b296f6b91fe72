package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/stagepost/stagepost/core/resolve"
)

// Bounds of one fetch (section 3.3).
const (
	fetchTime  = time.Minute
	maxPolicy  = 64 << 10
	maxHeader  = 16 << 10
	httpsPort  = 443
	maxTargets = 4 // addresses of a policy host that are tried
)

// Problem says in RFC 8460's words (section 4.3.2.2) why a domain has no policy that could be used; empty: there is none, or it can.
type Problem string

// The problems.
const (
	FetchError  Problem = "sts-policy-fetch-error"
	Invalid     Problem = "sts-policy-invalid"
	WebPKIError Problem = "sts-webpki-invalid"
)

// problem is an error of a fetch with its word.
type problem struct {
	word Problem
	error
}

// Fetch gets the policy that a domain publishes now. It is not kept: that is for whoever wants to know what is there.
func (c *Cache) Fetch(ctx context.Context, domain string) (*Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return c.fetch(ctx, domain)
}

// fetch gets the policy of a domain.
func (c *Cache) fetch(ctx context.Context, domain string) (*Policy, error) {
	host := "mta-sts." + domain
	client := http.Client{
		// A redirect is an answer like others, and none that is asked for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// The client dials, and shakes hands, under a context of its own, which no request that ends puts an end to.
			DialContext:            func(context.Context, string, string) (net.Conn, error) { return c.connect(ctx, host) },
			TLSClientConfig:        &tls.Config{RootCAs: c.Roots, ServerName: host, MinVersion: tls.VersionTLS12, Time: c.Now},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, problem{FetchError, err}
	}
	req.Header.Set("User-Agent", "stagepost")
	res, err := client.Do(req)
	if err != nil {
		word := FetchError
		if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
			word = WebPKIError
		}
		return nil, problem{word, err}
	}
	defer res.Body.Close()
	media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, problem{FetchError, fmt.Errorf("https://%s answers %s", host, clip(res.Status))}
	case err != nil || media != "text/plain":
		return nil, problem{Invalid, fmt.Errorf("https://%s has a policy of the type %q, and not text/plain", host, clip(res.Header.Get("Content-Type")))}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxPolicy+1))
	switch {
	case err != nil:
		return nil, problem{FetchError, err}
	case len(body) > maxPolicy:
		return nil, problem{Invalid, fmt.Errorf("https://%s has a policy of more than %d octets", host, maxPolicy)}
	}
	p, err := ParsePolicy(string(body))
	if err != nil {
		return nil, problem{Invalid, err}
	}
	return p, nil
}

// connect opens a connection to a policy host, for as long as ctx lasts: to no address within a private network, where anybody's DNS
// could send us, and to the very address that was judged.
func (c *Cache) connect(ctx context.Context, host string) (net.Conn, error) {
	found, err := resolve.LookupAddrs(ctx, c.Resolver, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", host)
	for _, ip := range found.Addrs[:min(len(found.Addrs), maxTargets)] {
		if kind := resolve.Special(ip); kind != "" {
			err = fmt.Errorf("%s has a %s address (%s)", host, kind, ip)
			continue
		}
		var nc net.Conn
		if nc, err = c.Dial(ctx, "tcp", netip.AddrPortFrom(ip, httpsPort).String()); err == nil {
			if end, ok := ctx.Deadline(); ok {
				err = nc.SetDeadline(end)
			}
			return nc, err
		}
	}
	return nil, err
}
