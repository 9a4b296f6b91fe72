package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTimes bounds how often a line is repeated.
const maxTimes = 1_000_000

// parseStep reads one line of a case; use and settings are read before.
func parseStep(word, arg string) ([]step, error) {
	if times, err := strconv.Atoi(word); err == nil {
		star, line, _ := strings.Cut(arg, " ")
		if star != "*" || times < 1 || times > maxTimes {
			return nil, fmt.Errorf("want \"N * LINE\", N up to %d", maxTimes)
		}
		word, arg, _ = strings.Cut(line, " ")
		steps, err := parseStep(word, arg)
		if err != nil {
			return nil, err
		}
		switch s := steps[0].(type) {
		case send:
			if s.times != 1 {
				return nil, errors.New("a repetition cannot be repeated")
			}
			s.times = times
			return []step{s}, nil
		case want:
			if times > maxSteps {
				return nil, fmt.Errorf("more than %d steps", maxSteps)
			}
			return slices.Repeat(steps, times), nil
		}
		return nil, errors.New("only C:, T:, X: and S: can be repeated")
	}
	s, err := parseOne(word, arg)
	return []step{s}, err
}

func parseOne(word, arg string) (step, error) {
	switch word {
	case "C:", "T:":
		t, err := parseTemplate(arg)
		if word == "C:" {
			t = append(t, piece{octets: []byte("\r\n")})
		}
		return send{t, 1}, err
	case "X:":
		octets, err := parseHex(arg)
		return send{template{{octets: octets}}, 1}, err
	case "S:", "R:", "last":
		p, err := parsePattern(arg)
		switch word {
		case "S:":
			return want{p}, err
		case "R:":
			return rest{p}, err
		}
		return last{p}, err
	case "pause":
		return mark{}, none(arg)
	case "closed":
		return closed{}, none(arg)
	case "quiet":
		return quietly{}, none(arg)
	case "half", "reset", "close":
		how, err := parseEnding(strings.TrimSpace(word + " " + arg))
		return end{how}, err
	case "offers":
		keyword, not := strings.CutPrefix(arg, "no ")
		if keyword == "" {
			return nil, errors.New("want a keyword of the reply to EHLO")
		}
		return offers{keyword, not}, nil
	case "connect":
		return parseConnect(arg)
	case "TLS":
		return parseTLS(arg)
	case "flood":
		return parseFlood(arg)
	case "took":
		size, err := parseSize(strings.TrimPrefix(arg, "at most "))
		return took{size}, err
	case "wait":
		d, err := time.ParseDuration(arg)
		return wait{d}, err
	case "again":
		return again{}, none(arg)
	case "each":
		t, err := parseTemplate(arg)
		return each{t}, err
	case "crowd":
		return parseCrowd(arg)
	case "arrived":
		return parseArrived(arg)
	case "header":
		text, absent := strings.CutPrefix(arg, "no ")
		t, err := parseTemplate(text)
		return inHeader{t, absent}, err
	case "B:", "recipient", "sender":
		t, err := parseTemplate(arg)
		switch word {
		case "B:":
			return body{append(t, piece{octets: []byte("\r\n")})}, err
		case "recipient":
			return recipient{t}, err
		}
		return sender{t}, err
	}
	return nil, fmt.Errorf("%q begins no line of a case", word)
}

func none(arg string) error {
	if arg != "" {
		return fmt.Errorf("%q is too much", arg)
	}
	return nil
}

func parseEnding(s string) (ending, error) {
	switch s {
	case "half close":
		return halfClose, nil
	case "reset":
		return reset, nil
	case "close":
		return closing, nil
	}
	return 0, fmt.Errorf("%q is no way to end; there are half close, reset and close", s)
}

func parseConnect(arg string) (step, error) {
	words := strings.Fields(arg)
	c := connect{listener: "mx"}
	if len(words) > 0 && words[0] != "from" {
		c.listener, words = words[0], words[1:]
		if !slices.Contains(listeners(), c.listener) {
			return nil, fmt.Errorf("%q is no listener; there are %s", c.listener, strings.Join(listeners(), ", "))
		}
	}
	if len(words) == 2 && words[0] == "from" {
		ip, err := netip.ParseAddr(words[1])
		if err != nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("%q is no loopback address", words[1])
		}
		c.from, words = words[1], nil
	}
	return c, none(strings.Join(words, " "))
}

func parseTLS(arg string) (step, error) {
	if arg == "close" {
		return decrypt{}, nil
	}
	var e encrypt
	for _, word := range strings.Fields(arg) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "joined":
			e.joined = true
		case "fails":
			e.fails = true
		case "may-fail":
			e.may = true
		case "resumes-not":
			e.resumed = true
		case "resumes":
			e.resumes = true
		case "early":
			e.early = true
		case "forged":
			e.forged = true
		case "updates":
			if e.updates, err = strconv.Atoi(value); err == nil && (e.updates < 1 || e.updates > maxTimes) {
				err = fmt.Errorf("updates=%s: want a number up to %d", value, maxTimes)
			}
			e.forged = true
		case "name":
			e.name = value
		case "shows":
			if e.shows = value; !slices.Contains(clientCertificates(), value) {
				err = fmt.Errorf("%q is no certificate; there are %s", value, strings.Join(clientCertificates(), ", "))
			}
		case "alpn":
			e.protocols = strings.Split(value, ",")
		case "version":
			e.version, err = parseVersion(value)
		case "suites":
			e.suites, err = parseSuites(value)
		case "slow":
			e.slow, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q says nothing about a handshake", word)
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func parseVersion(s string) (uint16, error) {
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		if tls.VersionName(v) == "TLS "+s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%q is no version of TLS; there are 1.0 to 1.3", s)
}

// parseSuites finds cipher suites by parts of their names.
func parseSuites(s string) (ids []uint16, err error) {
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.Contains(c.Name, s) {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 || s == "" {
		return nil, fmt.Errorf("no cipher suite has %q in its name", s)
	}
	return ids, nil
}

// parseFlood reads "SIZE of TEXT", and "SIZE every DURATION of TEXT".
func parseFlood(arg string) (step, error) {
	head, text, ok := strings.Cut(arg, " of ")
	if !ok {
		return nil, errors.New("want \"flood SIZE of TEXT\", or \"flood SIZE every DURATION of TEXT\"")
	}
	var f flood
	size, every, slow := strings.Cut(head, " every ")
	var err error
	if f.size, err = parseSize(size); err != nil {
		return nil, err
	}
	if slow {
		if f.rate, err = time.ParseDuration(every); err != nil {
			return nil, err
		}
	}
	if f.text, err = parseTemplate(text); err == nil && f.text.size() == 0 {
		err = errors.New("a flood of nothing")
	}
	return f, err
}

// parseSize reads a number of octets, with kB, MB or GB.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	for i, name := range []string{"kB", "MB", "GB"} {
		if short, ok := strings.CutSuffix(s, name); ok {
			s, unit = short, []int64{1e3, 1e6, 1e9}[i]
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number of octets", s)
	}
	return n * unit, nil
}

func parseCrowd(arg string) (step, error) {
	count, replies, _ := strings.Cut(arg, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 20_000 {
		return nil, errors.New("want \"crowd N PATTERN\", N up to 20000")
	}
	c := crowd{count: n}
	replies, c.many = strings.CutPrefix(replies, "from many ")
	if replies == "quiet" {
		return c, nil
	}
	replies, some, _ := strings.Cut(replies, " with ")
	if c.pattern, err = parsePattern(replies); err == nil && some != "" {
		c.some, err = parsePattern(some)
	}
	return c, err
}

func parseArrived(arg string) (step, error) {
	if n, ok := strings.CutPrefix(arg, "at most "); ok {
		most, err := strconv.Atoi(n)
		return arrived{0, most}, err
	}
	if arg == "as told" {
		return told{}, nil
	}
	if arg == "none" {
		return arrived{0, 0}, nil
	}
	n, err := strconv.Atoi(arg)
	return arrived{n, n}, err
}
