package resolve

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Exchangers is where a domain takes its mail.
type Exchangers struct {
	Hosts         []MX // most preferred first, each host once
	Implicit      bool // there is no MX: the domain itself is the only host, with preference 0 (RFC 5321 section 5.1)
	TTL           time.Duration
	Authenticated bool // of the MX answer, or of its absence
}

// LookupMX finds the mail exchangers of a domain. Hosts of equal preference are shuffled by the given function, nil meaning
// rand.Shuffle. Errors are *Error of any kind. A null MX beside others is a contradiction; it is taken at its word,
// because a domain that publishes it does not want mail.
func LookupMX(ctx context.Context, r Resolver, domain string, shuffle func(n int, swap func(i, j int))) (Exchangers, error) {
	if shuffle == nil {
		shuffle = rand.Shuffle
	}
	a, err := r.Lookup(ctx, domain, TypeMX)
	if err != nil {
		return Exchangers{}, err
	}
	fail := func(k Kind) (Exchangers, error) {
		return Exchangers{}, &Error{Kind: k, Name: domain, Type: TypeMX}
	}
	switch a.Status {
	case NoDomain:
		return fail(NoSuch)
	case NoData:
		addrs, err := LookupAddrs(ctx, r, domain)
		if err != nil {
			return Exchangers{}, err
		}
		if len(addrs.Addrs) == 0 {
			return fail(NoHost)
		}
		host, _ := canonical(domain)
		return Exchangers{Hosts: []MX{{Host: host}}, Implicit: true, TTL: min(a.TTL, addrs.TTL), Authenticated: a.Authenticated}, nil
	}

	hosts := make([]MX, 0, len(a.Records))
	for _, rec := range a.Records {
		switch mx, ok := rec.(MX); {
		case ok && mx.Host == ".":
			return fail(NullMX)
		case ok && isHost(mx.Host):
			hosts = append(hosts, mx)
		}
	}
	if len(hosts) == 0 {
		return fail(NoHost)
	}
	shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(x, y MX) int { return cmp.Compare(x.Preference, y.Preference) })
	seen := make(map[string]bool, len(hosts))
	hosts = slices.DeleteFunc(hosts, func(mx MX) bool {
		again := seen[mx.Host]
		seen[mx.Host] = true
		return again
	})
	return Exchangers{Hosts: hosts, TTL: a.TTL, Authenticated: a.Authenticated}, nil
}

// Addresses are those of one host.
type Addresses struct {
	Addrs         []netip.Addr // IPv4 before IPv6, each once; empty when there is none
	Status        Status       // NoDomain only when both questions say so
	TTL           time.Duration
	Authenticated bool   // the answers were: both, or the one that there is
	Alias         string // the end of the CNAMEs that the host is an alias by; empty: it is none
}

// LookupAddrs asks for A and AAAA at once. It fails, with a Temporary *Error, only when one of the two cannot be told and the
// other gives nothing: a host that is known under one family is reachable.
func LookupAddrs(ctx context.Context, r Resolver, host string) (Addresses, error) {
	var v6 Answer
	var err6 error
	var fault any // a panic, which is the caller's to catch
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { fault = recover() }()
		v6, err6 = r.Lookup(ctx, host, TypeAAAA)
	}()
	v4, err4 := r.Lookup(ctx, host, TypeA)
	if <-done; fault != nil {
		panic(fault)
	}

	var all []netip.Addr
	for _, rec := range slices.Concat(v4.Records, v6.Records) {
		if a, ok := rec.(Addr); ok && !slices.Contains(all, a.Addr) {
			all = append(all, a.Addr)
		}
	}
	switch {
	case err4 == nil && err6 == nil:
		status := Found
		if len(all) == 0 {
			// A name that exists for one type exists (RFC 8020); the more careful of two different answers counts.
			status = min(v4.Status, v6.Status)
		}
		return Addresses{all, status, min(v4.TTL, v6.TTL), v4.Authenticated && v6.Authenticated, alias(host, v4, v6)}, nil
	case len(all) == 0:
		return Addresses{}, cmp.Or(err4, err6)
	case err4 == nil:
		return Addresses{Addrs: all, TTL: v4.TTL, Authenticated: v4.Authenticated, Alias: alias(host, v4)}, nil
	default:
		return Addresses{Addrs: all, TTL: v6.TTL, Authenticated: v6.Authenticated, Alias: alias(host, v6)}, nil
	}
}

// alias is what the answers say that a host is called really.
func alias(host string, answers ...Answer) string {
	host, _ = canonical(host)
	for _, a := range answers {
		if a.Status == Found && a.Name != host {
			return a.Name
		}
	}
	return ""
}

// LookupTLSA returns the certificate associations of a service, such as "_25._tcp.mx1.example.org"; none is an empty list. They
// count only if they are authenticated (RFC 7672 section 2.1).
func LookupTLSA(ctx context.Context, r Resolver, name string) (records []TLSA, authenticated bool, err error) {
	a, err := r.Lookup(ctx, name, TypeTLSA)
	if err != nil {
		return nil, false, err
	}
	for _, rec := range a.Records {
		if t, ok := rec.(TLSA); ok {
			records = append(records, t)
		}
	}
	return records, a.Authenticated, nil
}

// LookupTXT returns the text records of a name, the strings of each joined; none is an empty list.
func LookupTXT(ctx context.Context, r Resolver, name string) ([]string, error) {
	a, err := r.Lookup(ctx, name, TypeTXT)
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(a.Records))
	for _, rec := range a.Records {
		if t, ok := rec.(Text); ok {
			texts = append(texts, string(t))
		}
	}
	return texts, nil
}

// LookupPTR returns the names that an address claims to have; none is an empty list. Nothing is true of them until their own
// addresses were looked up.
func LookupPTR(ctx context.Context, r Resolver, ip netip.Addr) ([]string, error) {
	a, err := r.Lookup(ctx, ReverseName(ip), TypePTR)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(a.Records))
	for _, rec := range a.Records {
		if n, ok := rec.(Name); ok {
			names = append(names, string(n))
		}
	}
	return names, nil
}

// ReverseName returns the name of an address in in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
func ReverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	var b strings.Builder
	raw := ip.AsSlice()
	slices.Reverse(raw)
	for _, c := range raw {
		if ip.Is4() {
			b.WriteString(strconv.Itoa(int(c)))
			b.WriteByte('.')
			continue
		}
		const digits = "0123456789abcdef"
		b.Write([]byte{digits[c&15], '.', digits[c>>4], '.'})
	}
	if ip.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

// Values answers a question of a plugin: the type is its name, and each record its plain value (Record.Plain). None is an empty
// list. An unknown type is an error that is no *Error.
func Values(ctx context.Context, r Resolver, name, typeName string) ([]any, error) {
	t, err := ParseType(typeName)
	if err != nil {
		return nil, err
	}
	a, err := r.Lookup(ctx, name, t)
	if err != nil {
		return nil, err
	}
	values := make([]any, len(a.Records))
	for i, rec := range a.Records {
		values[i] = rec.Plain()
	}
	return values, nil
}

// cannotTell makes any cause a Temporary *Error about a question.
func cannotTell(name string, t Type, cause error) error {
	if e := (*Error)(nil); errors.As(cause, &e) {
		return cause
	}
	return &Error{Kind: Temporary, Name: name, Type: t, Err: cause}
}
