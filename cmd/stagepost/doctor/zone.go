package doctor

import (
	"fmt"
	"net/netip"
	"strings"
)

// ttl is what records are proposed with, in seconds.
const ttl = 3600

// line is a record as a zone file has it, with a name that is absolute, so that it fits into any zone file at any place.
func line(name, kind, data string) string {
	return fmt.Sprintf("%s. %d IN %s %s", name, ttl, kind, data)
}

// textLine is a TXT record; a text is cut into strings of 255 octets (RFC 1035 section 3.3.14).
func textLine(name, text string) string {
	var b strings.Builder
	for n := 0; len(text) > 0 || n == 0; n++ {
		part := text[:min(len(text), 255)]
		text = text[len(part):]
		if n > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for i := range len(part) {
			switch c := part[i]; {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return line(name, "TXT", b.String())
}

// textLines are several.
func textLines(name string, texts []string) (lines []string) {
	for _, t := range texts {
		lines = append(lines, textLine(name, t))
	}
	return lines
}

// addressLine is an A or AAAA record.
func addressLine(name string, ip netip.Addr) string {
	if ip.Is4() {
		return line(name, "A", ip.String())
	}
	return line(name, "AAAA", ip.String())
}

// mxLine is an MX record.
func mxLine(name string, preference uint16, host string) string {
	return line(name, "MX", fmt.Sprintf("%d %s.", preference, strings.TrimSuffix(host, ".")))
}

// publish is a publication in the DNS.
func publish(lines ...string) *Publication { return &Publication{At: "dns", Lines: lines} }

// instead is one in place of what is there.
func instead(remove []string, lines ...string) *Publication {
	return &Publication{At: "dns", Lines: lines, Remove: remove}
}
