package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
)

// delivery reads the blocks of a delivery status: one about the message, one for each recipient (RFC 3464 section 2.1). Some servers
// leave out the empty line behind the first.
func delivery(blocks []*message.Header) *Report {
	r := &Report{Kind: Delivery}
	for i, h := range blocks {
		if i == 0 {
			_, r.ReportingMTA = typed(first(h, "Reporting-MTA"))
			r.EnvelopeID = first(h, "Original-Envelope-Id")
		}
		if h.Count("Final-Recipient") == 0 && h.Count("Original-Recipient") == 0 {
			continue
		}
		rcpt := Rcpt{Final: recipient(first(h, "Final-Recipient")), Original: recipient(first(h, "Original-Recipient")), Action: action(first(h, "Action")), Status: status(first(h, "Status"))}
		_, rcpt.RemoteMTA = typed(first(h, "Remote-MTA"))
		rcpt.diagnose(first(h, "Diagnostic-Code"))
		if rcpt.Status == "" {
			rcpt.Status = rcpt.Enhanced
		}
		if rcpt.Final != "" || rcpt.Original != "" {
			r.add(rcpt)
		}
	}
	return r
}

// typed divides "type; value" (RFC 3464 section 2.1.2). Without a type all of it is the value.
func typed(s string) (typ, value string) {
	typ, value, ok := strings.Cut(s, ";")
	if typ = strings.ToLower(strings.TrimSpace(typ)); !ok || strings.ContainsAny(typ, " @") {
		return "", strings.TrimSpace(s)
	}
	return typ, strings.TrimSpace(value)
}

// recipient is the address of a field; "" where it is no mail address.
func recipient(s string) string {
	typ, value := typed(s)
	if typ == "utf-8" {
		value = decodeUTF8(value)
	}
	if typ != "utf-8" && typ != "rfc822" && typ != "" {
		return ""
	}
	return address(value)
}

// decodeUTF8 puts characters in place of \x{HEX} (RFC 6533 section 3). What is no such stays.
func decodeUTF8(s string) string {
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			break
		}
		point, rest, ok := strings.Cut(after, "}")
		code, err := strconv.ParseUint(point, 16, 32)
		if !ok || err != nil || code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
			b.WriteString(`\x{`)
			s = after
			continue
		}
		b.WriteRune(rune(code))
		s = rest
	}
	return b.String()
}

// action is the action-value (RFC 3464 section 2.3.3), which some write with a comment behind it.
func action(s string) string {
	word := strings.ToLower(strings.TrimRight(firstWord(s), ";,"))
	if slices.Contains([]string{"failed", "delayed", "delivered", "relayed", "expanded"}, word) {
		return word
	}
	return ""
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return word
}

// status is the status code at the start of a text, with a comment perhaps; "" for what is none.
func status(s string) string {
	word := strings.TrimRight(firstWord(s), ";,:")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return ""
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || len(p) > 3 || strings.HasPrefix(p, "+") {
			return ""
		}
		parts[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(parts, ".")
}

// diagnose reads "smtp; 550 5.1.1 no such user". The codes that each line of a reply begins with are left out.
func (r *Rcpt) diagnose(s string) {
	_, text := typed(s)
	var words []string
	for word := range strings.FieldsSeq(text) {
		code, rest, _ := strings.Cut(word, "-")
		n, err := strconv.Atoi(code)
		if err == nil && len(code) == 3 && n >= 200 && n < 600 && (r.Code == 0 && len(words) == 0 || n == r.Code) {
			r.Code = n
			if word = rest; word == "" {
				continue
			}
		}
		if e := status(word); e != "" && word == e && (r.Enhanced == "" && len(words) == 0 || e == r.Enhanced) && (r.Code == 0 || int(e[0]-'0') == r.Code/100) {
			r.Enhanced = e
			continue
		}
		words = append(words, word)
	}
	r.Diagnostic = clean(strings.Join(words, " "), maxText)
}

// Reply is what may be sorted into a class (package bounce): the code, enhanced code and text of why the recipient did not get the
// message; all empty where that did not happen.
func (r *Rcpt) Reply() (code int, enhanced, text string) {
	enhanced = cmp.Or(r.Enhanced, r.Status)
	switch {
	case r.Action != "failed" && r.Action != "delayed":
		return 0, "", ""
	case r.Code != 0 || enhanced != "":
		return r.Code, enhanced, r.Diagnostic
	case r.Action == "delayed":
		return 450, "", r.Diagnostic
	}
	return 550, "", r.Diagnostic
}
