package dmarc

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Policy is what an owner asks for.
type Policy string

// The policies, from the weakest.
const (
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// Record is a policy record (RFC 9989 section 4.7), with the defaults of what it does not say or says wrong.
type Record struct {
	P, SP, NP           Policy // SP and NP are "" where the record has none
	StrictDKIM          bool   // adkim=s
	StrictSPF           bool   // aspf=s
	PSD                 byte   // 'y', 'n', or 'u'
	Testing             bool   // t=y
	FailureOptions      []string
	Aggregate, Failures []string // rua and ruf: URIs, without the obsolete sizes
	Faults              []string // what was ignored of it, for people

	badPolicy string // why p, sp or np cannot be used; "" if they can
}

// Bounds of what is kept of a record.
const (
	maxURIs   = 20
	maxFaults = 20
)

// IsRecord tells whether a TXT record is a policy record: it begins with the version, in that spelling.
func IsRecord(text string) bool {
	version, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(version, "=")
	return ok && strings.EqualFold(strings.TrimRight(name, wsp), "v") && strings.Trim(value, wsp) == "DMARC1"
}

const wsp = " \t"

// ParseRecord reads a TXT record. ok is false for what is no policy record. Unknown tags are passed over; what is wrong is
// replaced by its default and listed in Faults (section 4.8). Of a tag that is there twice the first counts.
func ParseRecord(text string) (rec *Record, ok bool) {
	if !IsRecord(text) {
		return nil, false
	}
	rec = &Record{PSD: 'u'}
	seen := map[string]bool{"v": true}
	_, rest, _ := strings.Cut(text, ";")
	for spec := range strings.SplitSeq(rest, ";") {
		if spec = strings.Trim(spec, wsp); spec == "" {
			continue
		}
		name, value, found := strings.Cut(spec, "=")
		name, value = strings.ToLower(strings.TrimRight(name, wsp)), strings.TrimLeft(value, wsp)
		switch {
		case !found || !isTagName(name) || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			rec.fault("%q is not a tag with a value", cut(spec))
		case seen[name]:
			rec.fault("the tag %s is there twice", cut(name))
		case slices.Contains(tags, name):
			seen[name] = true
			rec.set(name, value)
		}
	}
	rec.settle()
	return rec, true
}

// tags are those of the registry that mean something here. The others, also the historic pct, rf and ri, are unknown.
var tags = []string{"p", "sp", "np", "adkim", "aspf", "psd", "t", "fo", "rua", "ruf"}

func isTagName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
}

func (rec *Record) set(name, value string) {
	word := strings.ToLower(value)
	one := func(of ...string) bool {
		if slices.Contains(of, word) {
			return true
		}
		rec.fault("%s is %q, not one of %s", name, cut(value), strings.Join(of, ", "))
		return false
	}
	switch name {
	case "p", "sp", "np":
		if !one(string(PolicyNone), string(PolicyQuarantine), string(PolicyReject)) {
			rec.badPolicy = fmt.Sprintf("%s is %q", name, cut(value))
			return
		}
		*map[string]*Policy{"p": &rec.P, "sp": &rec.SP, "np": &rec.NP}[name] = Policy(word)
	case "adkim":
		rec.StrictDKIM = one("r", "s") && word == "s"
	case "aspf":
		rec.StrictSPF = one("r", "s") && word == "s"
	case "psd":
		if one("y", "n", "u") {
			rec.PSD = word[0]
		}
	case "t":
		rec.Testing = one("y", "n") && word == "y"
	case "fo":
		rec.FailureOptions = rec.options(word)
	case "rua":
		rec.Aggregate = rec.uris(name, value)
	case "ruf":
		rec.Failures = rec.uris(name, value)
	}
}

// options reads fo: 0 or 1, d, s, each once, in any order.
func (rec *Record) options(value string) []string {
	list := strings.Split(value, ":")
	for i := range list {
		list[i] = strings.Trim(list[i], wsp)
		if !slices.Contains([]string{"0", "1", "d", "s"}, list[i]) || slices.Contains(list[:i], list[i]) || list[i] == "1" && slices.Contains(list[:i], "0") ||
			list[i] == "0" && slices.Contains(list[:i], "1") {
			rec.fault("fo is %q", cut(value))
			return nil
		}
	}
	return list
}

// uris reads a list of URIs; those that are none are left out.
func (rec *Record) uris(name, value string) (out []string) {
	for text := range strings.SplitSeq(value, ",") {
		text = strings.Trim(text, wsp)
		text, _, _ = strings.Cut(text, "!") // the obsolete size of a report
		switch u, err := url.Parse(text); {
		case len(out) == maxURIs:
			rec.fault("%s has more than %d URIs", name, maxURIs)
			return out
		case err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" || strings.Contains(text, " ") || strings.EqualFold(u.Scheme, "mailto") && !strings.Contains(u.Opaque, "@"):
			rec.fault("%s: %q is not a URI", name, cut(text))
		default:
			out = append(out, text)
		}
	}
	return out
}

// settle sees to policies that are missing or wrong (section 4.10.1): an owner who wants reports gets p=none, else the record cannot be used.
func (rec *Record) settle() {
	switch {
	case rec.badPolicy == "" && rec.P != "":
	case len(rec.Aggregate) > 0:
		rec.P, rec.SP, rec.NP, rec.badPolicy = PolicyNone, "", "", ""
	case rec.badPolicy == "":
		rec.badPolicy = "it has neither p nor rua"
	}
}

// below is the policy for domains below that of the record which exist.
func (rec *Record) below() Policy {
	if rec.SP != "" {
		return rec.SP
	}
	return rec.P
}

func (rec *Record) strict(method string) bool {
	if method == DKIM {
		return rec.StrictDKIM
	}
	return rec.StrictSPF
}

func (rec *Record) fault(format string, args ...any) {
	if len(rec.Faults) < maxFaults {
		rec.Faults = append(rec.Faults, fmt.Sprintf(format, args...))
	}
}

// cut shortens what is shown of a text from elsewhere.
func cut(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
