package tlsrpt

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoRecord says that a domain asks for no reports.
var ErrNoRecord = errors.New("there is no TLS-RPT record")

const recordVersion = "v=TLSRPTv1"

// maxDestinations bounds how many destinations one record may name.
const maxDestinations = 20

// ParseRecord finds, in the text records of _smtp._tls.DOMAIN, where the domain wants reports (RFC 8460 section 3): by mail to
// "mailto:...", or by HTTPS to "https://...". Records of other kinds may stand beside it, but no second one of this kind. Fields that
// are not known are passed over.
func ParseRecord(texts []string) (destinations []string, err error) {
	found := ""
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, recordVersion)
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue
		}
		if found != "" {
			return nil, errors.New("there are several TLS-RPT records")
		}
		found = t
	}
	if found == "" {
		return nil, ErrNoRecord
	}
	seen := false
	for i, field := range strings.Split(found, ";") {
		field = strings.Trim(field, " \t")
		name, value, ok := strings.Cut(field, "=")
		switch {
		case i == 0 || field == "":
			continue
		case !ok || name == "":
			return nil, fmt.Errorf("the TLS-RPT record has %q, which is no name=value", clip(field))
		case name != "rua":
			continue
		case seen:
			return nil, errors.New("the TLS-RPT record has rua twice")
		}
		seen = true
		for uri := range strings.SplitSeq(value, ",") {
			if uri = strings.Trim(uri, " \t"); !isDestination(uri) {
				return nil, fmt.Errorf("the TLS-RPT record has the destination %q, which is neither mailto:ADDRESS nor https://HOST", clip(uri))
			}
			if destinations = append(destinations, uri); len(destinations) > maxDestinations {
				return nil, fmt.Errorf("the TLS-RPT record has more than %d destinations", maxDestinations)
			}
		}
	}
	if !seen {
		return nil, errors.New("the TLS-RPT record has no rua, which says where reports go")
	}
	return destinations, nil
}

// isDestination tells whether a URI is one that reports can go to. A comma, a semicolon and an exclamation mark have to be encoded.
func isDestination(uri string) bool {
	if strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || r == '!' }) {
		return false
	}
	scheme, rest, _ := strings.Cut(uri, ":")
	switch strings.ToLower(scheme) {
	case "mailto":
		mailbox, domain, ok := strings.Cut(rest, "@")
		return ok && mailbox != "" && domain != ""
	case "https":
		host, ok := strings.CutPrefix(rest, "//")
		return ok && host != "" && host[0] != '/'
	}
	return false
}

// clip bounds what is quoted of a stranger's text.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
