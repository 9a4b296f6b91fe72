package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/spf"
)

// nobody are addresses that no host has (RFC 5737, RFC 3849): what a record says of them it says of everybody whom it does not name.
func nobody() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.MustParseAddr("2001:db8::1")}
}

// checkSPF looks at who may send in the name of a domain (RFC 7208), by checking it as it would be checked when mail comes: from
// nobody's address, and from this server's own where the domain is one of this server's.
func checkSPF(ctx context.Context, o Options, domain string, found exchangers) []Finding {
	texts, err := resolve.LookupTXT(ctx, o.Resolver, domain)
	if err != nil {
		return []Finding{unknown(SPF, domain, err)}
	}
	policies := slices.DeleteFunc(texts, func(t string) bool { return !isPolicy(t) })
	records := textLines(domain, policies)
	ours := o.sendsFor(domain, found)
	switch {
	case len(policies) == 0 && found.null:
		return []Finding{{SPF, Advice, domain, "there is no record; if the domain sends no mail either, say so", nil, publish(textLine(domain, "v=spf1 -all"))}}
	case len(policies) == 0:
		return []Finding{{SPF, Wrong, domain, "there is no record of who may send in the domain's name, and large receivers refuse such mail; add all who send for it, and then publish it", nil, publish(textLine(domain, proposed([]string{"v=spf1 mx"}, ours)))}}
	case len(policies) > 1:
		return []Finding{{SPF, Wrong, domain, fmt.Sprintf("there are %d records, and there must be one: every check ends in an error", len(policies)), records, instead(records, textLine(domain, proposed(policies, ours)))}}
	}
	var list []Finding
	add := func(l Level, format string, args ...any) {
		list = append(list, Finding{SPF, l, domain, fmt.Sprintf(format, args...), records, nil})
	}
	sound := judgeSPF(ctx, o, domain, policies[0], add)
	if !sound {
		ours = nil
	}
	var added []netip.Addr
	for _, s := range ours {
		q := spf.Query{Identity: spf.Mail, IP: s.ip, Helo: s.host, Sender: "postmaster@" + domain, Time: o.Now()}
		switch v := spf.Check(ctx, o.Resolver, q); v.Result {
		case spf.Pass:
		case spf.Temperror:
			add(Unknown, "whether this server may send from %s could not be found out: %s", s.ip, v.Problem)
		default:
			added = append(added, s.ip)
			add(Wrong, "this server sends from %s, and that comes to %s", s.ip, v.Result)
		}
	}
	return cureSPF(list, domain, policies[0], proposed(policies, slices.DeleteFunc(ours, func(a address) bool { return !slices.Contains(added, a.ip) })))
}

// judgeSPF says what a record says of everybody. It tells whether the record can be evaluated.
func judgeSPF(ctx context.Context, o Options, domain, policy string, add func(Level, string, ...any)) bool {
	var v spf.Verdict
	for _, ip := range nobody() {
		v = spf.Check(ctx, o.Resolver, spf.Query{Identity: spf.Mail, IP: ip, Helo: domain, Sender: "postmaster@" + domain, Time: o.Now()})
		if v.Result != spf.Fail && v.Result != spf.Softfail && v.Result != spf.Neutral {
			break
		}
	}
	for _, term := range strings.Fields(policy) {
		if name, _, _ := strings.Cut(strings.TrimLeft(strings.ToLower(term), "+-~?"), ":"); name == "ptr" {
			add(Advice, "it has %s, which is slow, and which some servers pass over (RFC 7208 section 5.5)", term)
			break
		}
	}
	switch v.Result {
	case spf.Temperror:
		add(Unknown, "what the record leads to could not be found out: %s", v.Problem)
		return false
	case spf.Permerror, spf.None:
		add(Wrong, "every check ends in an error: %s", v.Problem)
		return false
	case spf.Pass:
		add(Wrong, "it lets every host of the Internet send in the domain's name, by %s", v.Mechanism)
	case spf.Neutral:
		add(Advice, "it says nothing of servers that it does not name; end it with ~all, or with -all when it surely names all")
	default:
		add(OK, "it can be evaluated, and servers that it does not name come to %s", v.Result)
	}
	return true
}

// checkHelo looks at the record of the name by which this server calls itself, which counts where there is no sender.
func checkHelo(ctx context.Context, o Options) (list []Finding) {
	for _, a := range o.own() {
		v := spf.Check(ctx, o.Resolver, spf.Query{Identity: spf.Helo, IP: a.ip, Helo: a.host, Time: o.Now()})
		add := func(l Level, p *Publication, format string, args ...any) {
			list = append(list, Finding{SPF, l, a.host, fmt.Sprintf(format, args...), nil, p})
		}
		switch v.Result {
		case spf.Pass:
			add(OK, nil, "%s may call itself so", a.ip)
		case spf.None:
			add(Advice, publish(textLine(a.host, "v=spf1 a -all")), "the name has no record; with one, bounces and other mail without a sender come to pass")
			return list // one for all addresses
		case spf.Temperror:
			add(Unknown, nil, "it could not be found out: %s", v.Problem)
		case spf.Permerror:
			add(Wrong, nil, "every check ends in an error: %s", v.Problem)
			return list
		default:
			add(Wrong, nil, "this server sends from %s under this name, and that comes to %s: add %s to the name's record", a.ip, v.Result, network(a.ip))
		}
	}
	return list
}

// sendsFor are this server's addresses if it sends in the name of a domain: it signs for it, or takes its mail.
func (o *Options) sendsFor(domain string, found exchangers) []address {
	if o.signs(domain) || o.Hostname != "" && slices.Contains(found.names(), o.Hostname) {
		return o.own()
	}
	return nil
}

// cureSPF adds to the first finding that is not well the record that would be, if that is another one.
func cureSPF(list []Finding, domain, policy, cure string) []Finding {
	for i := range list {
		if list[i].Level == Wrong || list[i].Level == Advice {
			if cure != policy {
				list[i].Publish = instead(list[i].Records, textLine(domain, cure))
			}
			break
		}
	}
	return list
}

// isPolicy tells whether a text is a record of SPF (RFC 7208 section 4.5).
func isPolicy(text string) bool {
	version, _, _ := strings.Cut(text, " ")
	return strings.EqualFold(version, "v=spf1")
}

// proposed puts records into one: terms that can be read, each once, with addresses added, and an end that lets not everybody send.
func proposed(policies []string, add []address) string {
	terms := []string{"v=spf1"}
	for _, a := range add {
		terms = append(terms, network(a.ip))
	}
	end, redirect := "", ""
	for _, p := range policies {
		for _, term := range strings.Fields(p)[1:] {
			lower := strings.ToLower(term)
			switch {
			case strings.TrimLeft(lower, "+-~?") == "all":
				if lower == "-all" && end == "" || lower != "-all" {
					end = lower
				}
			case !isTerm(term):
			case strings.HasPrefix(lower, "redirect="):
				redirect = term
			case !slices.ContainsFunc(terms, func(t string) bool { return strings.EqualFold(t, term) }):
				terms = append(terms, term)
			}
		}
	}
	switch {
	case end == "" && redirect != "":
		end = redirect
	case end != "-all":
		end = "~all"
	}
	return strings.Join(append(terms, end), " ")
}

// isTerm tells whether a term can be read, by checking a record of it alone.
func isTerm(term string) bool {
	const domain = "x.invalid"
	texts := alone{domain: "v=spf1 " + term + " ?all"}
	v := spf.Check(context.Background(), texts, spf.Query{Identity: spf.Mail, IP: nobody()[0], Helo: domain, Sender: "x@" + domain})
	return v.Result != spf.Permerror
}

// alone is a DNS in which one name has a text, and all others have a record that says nothing.
type alone map[string]string

func (a alone) Lookup(_ context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	text, ok := a[name]
	switch {
	case t != resolve.TypeTXT:
		return resolve.Answer{Name: name, Status: resolve.NoData}, nil
	case !ok:
		text = "v=spf1 ?all"
	}
	return resolve.Answer{Name: name, Records: []resolve.Record{resolve.Text(text)}}, nil
}

// network is the mechanism that names one address.
func network(ip netip.Addr) string {
	if ip.Is4() {
		return "ip4:" + ip.String()
	}
	return "ip6:" + ip.String()
}
