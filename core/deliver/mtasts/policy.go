// Package mtasts finds what a domain says of the servers that take its mail, by MTA-STS (RFC 8461): that they speak TLS, what they are
// called, and that they can show it by a certificate of a public authority.
//
// A domain has a text record in the DNS that carries an id, and a policy at a fixed address of a host of its own, fetched by HTTPS. Both
// may be kept from us by whoever sits between, so what counts is what was fetched once: a policy is kept for as long as it says of itself,
// on disk, and applies while another one cannot be had. It is fetched again when the id changes, and every day besides, so that it does
// not run out while nobody looks (sections 3.3 and 10.2). A first contact cannot be protected that way.
//
// What comes from the network is bounded: one minute, 64 KiB, no redirects, as many fetches at once, as many policies.
package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// Modes of a policy (section 5).
const (
	Enforce = "enforce" // no mail goes to a host that the policy does not hold for
	Testing = "testing" // mail goes, and what would have failed is noted
	None    = "none"    // as if there were no policy
)

// maxAge is the longest that a policy may ask to be kept for (section 3.2): a year.
const (
	maxSeconds = 31557600
	maxAge     = maxSeconds * time.Second
)

// Policy is what a domain says.
type Policy struct {
	Mode   string        `json:"mode"`
	MX     []string      `json:"mx"` // names of hosts in lower case, or *.example.org
	MaxAge time.Duration `json:"max_age"`
}

// Matches tells whether a policy names a host, which is in lower case and has no final dot (section 4.1).
func (p *Policy) Matches(host string) bool {
	label, above, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		if pattern == host {
			return true
		}
		if rest, ok := strings.CutPrefix(pattern, "*."); ok && label != "" && rest == above {
			return true
		}
	}
	return false
}

// ErrNoRecord says that there is no record.
var ErrNoRecord = errors.New("there is no MTA-STS record")

const recordVersion = "v=STSv1"

// ParseRecord finds the id in the text records of _mta-sts.DOMAIN (section 3.1). Records of other kinds may stand beside it, but no
// second one of this kind.
func ParseRecord(texts []string) (id string, err error) {
	found := ""
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, recordVersion)
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue
		}
		if found != "" {
			return "", errors.New("there are several MTA-STS records")
		}
		found = t
	}
	if found == "" {
		return "", ErrNoRecord
	}
	fields := strings.Split(found, ";")
	for i, field := range fields {
		field = strings.Trim(field, " \t")
		if i == 0 || field == "" && i == len(fields)-1 {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || !isFieldName(name) || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' }) {
			return "", fmt.Errorf("the MTA-STS record has %q, which is no name=value", clip(field))
		}
		if name != "id" || id != "" { // of two, the first counts
			continue
		}
		if len(value) > 32 || strings.ContainsFunc(value, func(r rune) bool { return !isAlnum(r) }) {
			return "", fmt.Errorf("the MTA-STS record has the id %q, which is not of up to 32 letters and digits", clip(value))
		}
		id = value
	}
	if id == "" {
		return "", errors.New("the MTA-STS record has no id")
	}
	return id, nil
}

// ParsePolicy reads a policy as it is fetched (section 3.2).
func ParsePolicy(text string) (*Policy, error) {
	p := &Policy{}
	version, age := "", ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimLeft(value, " \t")
		if !ok || !isFieldName(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("the policy has the line %q, which is no name: value", clip(line))
		}
		first := func(into *string) { // of two, the first counts
			if *into == "" {
				*into = value
			}
		}
		switch name {
		case "version":
			first(&version)
		case "mode":
			first(&p.Mode)
		case "max_age":
			first(&age)
		case "mx":
			mx := strings.ToLower(value)
			if !smtp.ValidDomain(strings.TrimPrefix(mx, "*.")) {
				return nil, fmt.Errorf("the policy has the mx %q, which is no name of a host", clip(value))
			}
			p.MX = append(p.MX, mx)
		}
	}
	seconds, err := strconv.ParseUint(age, 10, 64)
	switch {
	case version != "STSv1":
		return nil, fmt.Errorf("the policy has the version %q, and STSv1 alone is known", clip(version))
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != None:
		return nil, fmt.Errorf("the policy has the mode %q, which is not enforce, testing or none", clip(p.Mode))
	case err != nil || len(age) > 10:
		return nil, fmt.Errorf("the policy has the max_age %q, which is no number of seconds", clip(age))
	case len(p.MX) == 0 && p.Mode != None:
		return nil, errors.New("the policy names no mx")
	}
	p.MaxAge = time.Duration(min(seconds, maxSeconds)) * time.Second
	return p, nil
}

func isFieldName(s string) bool {
	for i, r := range s {
		if !isAlnum(r) && (i == 0 || r != '_' && r != '-' && r != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// clip bounds what is quoted of a stranger's text.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
