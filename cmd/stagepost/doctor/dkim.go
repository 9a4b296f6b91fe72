package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// fewBits is the size of RSA keys below which a longer one is advised (RFC 8301 section 3.2).
const fewBits = 2048

// Key is one with which this server signs.
type Key struct {
	Domain, Selector string
	Record           string // to be published; empty: the key could not be read
	Err              error  // why not
}

// signs tells whether this server signs for a domain.
func (o *Options) signs(domain string) bool {
	return slices.ContainsFunc(o.Keys, func(k Key) bool { return k.Domain == domain })
}

// checkDKIM looks at the keys of a domain (RFC 6376 section 3.6): those with which this server signs, and those of selectors that were
// asked for. The DNS cannot tell which selectors there are.
func checkDKIM(ctx context.Context, o Options, domain string, found exchangers) (list []Finding) {
	var keys []Key
	for _, k := range o.Keys {
		if k.Domain == domain {
			keys = append(keys, k)
		}
	}
	for _, s := range o.Selectors {
		if !slices.ContainsFunc(keys, func(k Key) bool { return strings.EqualFold(k.Selector, s) }) {
			keys = append(keys, Key{Domain: domain, Selector: s})
		}
	}
	if len(keys) == 0 && !found.null {
		return anyKey(ctx, o.Resolver, domain)
	}
	for _, k := range keys[:min(len(keys), MaxSelectors)] {
		list = append(list, checkKey(ctx, o, k)...)
	}
	return list
}

// anyKey tells, of a domain of which no selector is known, whether there can be a key.
func anyKey(ctx context.Context, r resolve.Resolver, domain string) []Finding {
	name := "_domainkey." + domain
	a, err := r.Lookup(ctx, name, resolve.TypeTXT)
	switch {
	case err != nil:
		return []Finding{unknown(DKIM, name, err)}
	case a.Status == resolve.NoDomain:
		return []Finding{{DKIM, Advice, name, "there is no key, so nobody can verify signatures of the domain; make one with stagepost dkim keygen, publish it, and sign", nil, nil}}
	}
	return []Finding{{DKIM, Advice, name, "there may be keys, but the DNS does not tell their selectors: name those in use with --selector (s= of a signature)", nil, nil}}
}

func checkKey(ctx context.Context, o Options, k Key) (list []Finding) {
	name := dkim.KeyName(k.Domain, k.Selector)
	fetched, err := dkim.Fetch(ctx, o.Resolver, k.Domain, k.Selector)
	var records []string
	for _, f := range fetched {
		records = append(records, textLine(name, f.Text))
	}
	var p *Publication
	if k.Record != "" {
		p = instead(records, textLine(name, k.Record))
	}
	add := func(l Level, p *Publication, format string, args ...any) {
		list = append(list, Finding{DKIM, l, name, fmt.Sprintf(format, args...), records, p})
	}
	if errors.Is(k.Err, fs.ErrNotExist) {
		add(Wrong, nil, "this server is to sign with it and has no private key, so it defers mail of the domain: %v", k.Err)
	} else if k.Err != nil {
		add(Unknown, nil, "whether it is the key with which this server signs is not known: %v", k.Err)
	}
	failed := (*dkim.Error)(nil)
	switch {
	case errors.As(err, &failed) && failed.Result == dkim.TempError:
		return append(list, unknown(DKIM, name, failed.Err))
	case err != nil && len(fetched) == 0:
		add(Wrong, p, "there is no key, so signatures with this selector cannot be verified")
		return list
	case len(fetched) > 1:
		add(Wrong, p, "there are several records, and which one counts is left to each server")
		return list
	case err != nil && k.Record == "" && revoked(fetched[0].Text):
		add(Advice, nil, "the key was revoked, so signatures with this selector fail")
		return list
	case err != nil:
		add(Wrong, p, "the key cannot be used: %v", fetched[0].Err)
		return list
	case k.Record != "" && public(fetched[0].Text) != public(k.Record):
		add(Wrong, p, "this server signs with another key, so its signatures fail")
		return list
	}
	key := fetched[0].Key
	if key.Testing {
		add(Advice, nil, "it says that the domain only tests (t=y); some servers then pass over signatures")
	}
	if key.Type == "rsa" && key.Bits < fewBits {
		add(Advice, nil, "it is an RSA key of %d bits, which is short; %d are usual: make one with stagepost dkim keygen under a new selector", key.Bits, fewBits)
	}
	if len(list) == 0 {
		what := fmt.Sprintf("it is an RSA key of %d bits", key.Bits)
		if key.Type != "rsa" {
			what = "it is an Ed25519 key"
		}
		if k.Record != "" {
			what += ", with which this server signs"
		}
		add(OK, nil, "%s", what)
	}
	return list
}

// public is the key itself of a record.
func public(record string) string {
	tags, err := dkim.ParseTags(record)
	if err != nil {
		return ""
	}
	p, _ := tags.Get("p")
	raw, err := dkim.Base64(p)
	if err != nil {
		return ""
	}
	return string(raw)
}

// revoked tells whether a record says that its key counts no more.
func revoked(record string) bool {
	tags, err := dkim.ParseTags(record)
	p, ok := tags.Get("p")
	return err == nil && ok && p == ""
}
