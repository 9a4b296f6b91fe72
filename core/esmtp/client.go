package esmtp

import (
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// Extensions maps the keywords of an EHLO reply, in upper case, to their parameters ("" for none).
type Extensions map[string]string

// ParseExtensions reads the reply to EHLO (RFC 5321 section 4.1.1.1). The first line is the server's greeting. A line that is
// not a keyword with parameters is skipped, of two lines with the same keyword the first counts.
func ParseExtensions(r smtp.Reply) Extensions {
	ext := Extensions{}
	for i, line := range r.Text {
		key, args, _ := strings.Cut(line, " ")
		key = strings.ToUpper(key)
		if _, dup := ext[key]; i > 0 && !dup && smtp.IsKeyword(key) {
			ext[key] = strings.TrimSpace(args)
		}
	}
	return ext
}

// Has tells whether the server offers an extension, named in upper case.
func (e Extensions) Has(keyword string) bool {
	_, ok := e[keyword]
	return ok
}

// Size returns the largest message that the server says it takes (RFC 1870), or 0 when it does not say.
func (e Extensions) Size() int64 {
	n, err := strconv.ParseUint(e["SIZE"], 10, 63)
	if err != nil {
		return 0
	}
	return int64(n)
}
