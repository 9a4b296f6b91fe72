package resolve

import "strings"

// canonical gives the form in which names are asked, compared and kept: lower case, without the final dot. It returns false for
// what cannot stand in the DNS: an empty or long label, a long name, bytes that are neither visible ASCII nor a space (RFC 1035 section 2.3.4; SPF has a macro for the space).
func canonical(name string) (string, bool) {
	if name == "." {
		return name, true
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return "", false
	}
	label, upper := 0, false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		case c < ' ' || c >= 0x7f:
			return "", false
		case 'A' <= c && c <= 'Z':
			upper = true
		}
		if label++; label > 63 {
			return "", false
		}
	}
	if label == 0 {
		return "", false
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}

// isHost says whether a canonical name can be the name of a host. The underscore is no part of RFC 952 but is in use.
func isHost(name string) bool {
	if _, ok := canonical(name); !ok || name == "." {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// escaped gives the library's form of a canonical name: absolute, with the one byte that it would interpret escaped.
func escaped(name string) string {
	if name == "." {
		return name
	}
	return strings.ReplaceAll(name, `\`, `\\`) + "."
}

// hostText gives the canonical form of a name that the library parsed. A name that has no such form (a dot or a control inside
// a label) stays escaped: it is data for a log, and equal to no name that can be asked.
func hostText(parsed string) string {
	if strings.IndexByte(parsed, '\\') < 0 {
		if name, ok := canonical(parsed); ok {
			return name
		}
		return strings.ToLower(parsed)
	}
	if !strings.Contains(parsed, `\.`) {
		if name, ok := canonical(string(appendUnescaped(nil, parsed))); ok {
			return name
		}
	}
	return strings.ToLower(strings.TrimSuffix(parsed, "."))
}

// appendUnescaped undoes the library's presentation form, in which \DDD is a byte and \X is X.
func appendUnescaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		if i+2 < len(s) && isDigit(s[i]) && isDigit(s[i+1]) && isDigit(s[i+2]) {
			dst = append(dst, (s[i]-'0')*100+(s[i+1]-'0')*10+(s[i+2]-'0'))
			i += 2
			continue
		}
		dst = append(dst, s[i])
	}
	return dst
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Askable tells whether a name can stand in the DNS, so that to ask for it may find something.
func Askable(name string) bool {
	_, ok := canonical(name)
	return ok && name != "."
}
