package smtp

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Command is a command line taken apart as far as all commands are alike.
type Command struct {
	Verb string // upper case, letters only
	Arg  string // what follows the space after the verb, without spaces at the end; no control characters
}

// maxVerb is longer than any verb that exists.
const maxVerb = 16

// ParseCommand parses a line without its CRLF. Case does not matter, and spaces at the end are dropped (RFC 5321 2.4,
// 4.1.1); spaces before the verb are not, and other control characters than the CRLF are refused anywhere, tabs
// included. Non-ASCII characters pass if they are valid UTF-8, since they are for each command to judge. An error is a
// Reply. Whether the verb exists is for the caller to say.
func ParseCommand(line []byte) (Command, error) {
	ascii := true
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return Command{}, NewReply(501, "5.5.2", "control character in command")
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(line) {
		return Command{}, NewReply(500, "5.5.2", "command is not valid UTF-8")
	}
	var up [maxVerb]byte
	n := 0
	for ; n < len(line) && n < maxVerb && isAlnum(line[n]) && line[n] > '9'; n++ {
		up[n] = line[n] &^ 0x20
	}
	if n == 0 || n < len(line) && line[n] != ' ' {
		return Command{}, NewReply(500, "5.5.2", "syntax error, command not recognized")
	}
	cmd := Command{Verb: verb(up[:n])}
	end := len(line)
	for end > n && line[end-1] == ' ' {
		end--
	}
	if end > n {
		cmd.Arg = string(line[n+1 : end])
	}
	return cmd, nil
}

// verb returns b as a string, without allocating for those that matter.
func verb(b []byte) string {
	switch string(b) {
	case "MAIL":
		return "MAIL"
	case "RCPT":
		return "RCPT"
	case "DATA":
		return "DATA"
	case "BDAT":
		return "BDAT"
	case "EHLO":
		return "EHLO"
	case "HELO":
		return "HELO"
	case "LHLO":
		return "LHLO"
	case "RSET":
		return "RSET"
	case "NOOP":
		return "NOOP"
	case "QUIT":
		return "QUIT"
	}
	return string(b)
}

// ParseMail parses the argument of MAIL: FROM:<path> and parameters. An error is a Reply. With the parameter SMTPUTF8 the address
// and the parameters' values may have characters beyond ASCII.
//
// Spaces: one between the colon and the path is tolerated, since many clients send it; parameters are each preceded by
// exactly one. There is no other place for them.
func ParseMail(arg string) (Address, Params, error) {
	a, params, err := parsePath(arg, "FROM:", badSender, true)
	if _, utf8 := params.Get("SMTPUTF8"); err == nil && !utf8 && !ascii(arg) {
		return Address{}, nil, needsUTF8
	}
	return a, params, err
}

// ParseRcpt parses the argument of RCPT: TO:<path> and parameters, as ParseMail does. utf8 says that SMTPUTF8 was given with MAIL.
func ParseRcpt(arg string, utf8 bool) (Address, Params, error) {
	return parsePath(arg, "TO:", badRecipient, utf8)
}

func parsePath(arg, keyword, enhanced string, utf8 bool) (Address, Params, error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return Address{}, nil, NewReply(501, "5.5.4", "syntax error, want "+keyword+"<address>")
	}
	c := scanner{s: arg, i: len(keyword), enhanced: enhanced, utf8: utf8}
	c.accept(' ')
	a, err := c.path()
	if err != nil {
		return Address{}, nil, err
	}
	params, err := parseParams(arg[c.i:], utf8)
	if err != nil {
		return Address{}, nil, err
	}
	return a, params, nil
}

// Param is a parameter of MAIL or RCPT.
type Param struct {
	Key   string // upper case
	Value string // printable, without space and "="; "" when there is none, since an empty value is refused
}

// Params holds each key once, in the order of the command.
type Params []Param

// maxParams is about twice the number of parameters that were ever registered for one command.
const maxParams = 20

// parseParams parses *(SP esmtp-param) of RFC 5321 4.1.2.
func parseParams(s string, utf8 bool) (Params, error) {
	var params Params
	for s != "" {
		rest, ok := strings.CutPrefix(s, " ")
		if !ok {
			return nil, NewReply(501, "5.5.4", "syntax error after the address")
		}
		word := rest
		if i := strings.IndexByte(rest, ' '); i >= 0 {
			word = rest[:i]
		}
		s = rest[len(word):]
		key, value, valued := strings.Cut(word, "=")
		if !IsKeyword(key) || valued && !isParamValue(value, utf8) {
			return nil, NewReply(501, "5.5.4", "syntax error in parameters")
		}
		key = strings.ToUpper(key)
		if _, dup := params.Get(key); dup {
			return nil, NewReply(501, "5.5.4", "parameter given twice")
		}
		if len(params) == maxParams {
			return nil, NewReply(501, "5.5.4", "too many parameters")
		}
		params = append(params, Param{key, value})
	}
	return params, nil
}

// IsKeyword is esmtp-keyword and ehlo-keyword of RFC 5321 4.1.2 and 4.1.1.1.
func IsKeyword(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

func isParamValue(s string, wide bool) bool {
	for _, r := range s {
		if r <= ' ' || r == '=' || r > '~' && (!wide || r == utf8.RuneError || IsControl(r)) {
			return false
		}
	}
	return s != ""
}

// Get returns the value of a parameter, named in upper case, and whether it was given.
func (p Params) Get(key string) (value string, ok bool) {
	for i := range p {
		if p[i].Key == key {
			return p[i].Value, true
		}
	}
	return "", false
}

// ParseHelo checks the argument of HELO, EHLO and LHLO. It is more lenient than RFC 5321, because honest clients give
// names with underscores, a dot at the end, or an IP address without brackets or tag, and strict enough that the name
// can stand in a Received field and in a log as it is. An error is a Reply.
func ParseHelo(arg string) (string, error) {
	if arg == "" {
		return "", NewReply(501, "5.5.4", "host name is missing")
	}
	if len(arg) > maxDomain {
		return "", NewReply(501, "5.5.4", "host name is too long")
	}
	bare := arg
	if arg[0] == '[' && arg[len(arg)-1] == ']' {
		bare = arg[1 : len(arg)-1]
	}
	if len(bare) > len(ipv6Tag) && strings.EqualFold(bare[:len(ipv6Tag)], ipv6Tag) {
		bare = bare[len(ipv6Tag):]
	}
	if ip, err := netip.ParseAddr(bare); err == nil && ip.Zone() == "" {
		return arg, nil
	}
	for i := range len(arg) {
		if c := arg[i]; !isAlnum(c) && c != '-' && c != '.' && c != '_' {
			return "", NewReply(501, "5.5.4", "not a host name or an address literal")
		}
	}
	return arg, nil
}
