package esmtp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/smtp"
)

// XClient is what a trusted proxy says of its client by XCLIENT, an extension of Postfix.
type XClient struct {
	IP, LocalIP     netip.Addr // not valid: not known
	Port, LocalPort uint16     // 0: not known
	Login           string     // who logged in at the proxy; "": nobody
}

// xclientNames are its attributes. What NAME, HELO and PROTO say is checked and goes no further: the client's name comes with its own
// EHLO, and names of addresses are looked up by whom they concern.
const xclientNames = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

const maxXClient = 255 // octets of a value

// ParseXClient parses the argument of XCLIENT: attributes with values in xtext, of which [UNAVAILABLE] and [TEMPUNAVAIL] stand for
// what is not known. What is not named stays as in before. An error is a Reply.
func ParseXClient(arg string, before XClient) (XClient, error) {
	x := before
	for _, word := range strings.Split(arg, " ") {
		name, value, _ := strings.Cut(word, "=")
		p := smtp.Param{Key: strings.ToUpper(name), Value: value}
		if !slices.Contains(strings.Fields(xclientNames), p.Key) {
			return before, bad("XCLIENT has the attributes " + xclientNames)
		}
		text, err := xtext(&p, maxXClient)
		if err != nil {
			return before, err
		}
		if strings.EqualFold(text, "[UNAVAILABLE]") || strings.EqualFold(text, "[TEMPUNAVAIL]") {
			text = ""
		}
		switch p.Key {
		case "ADDR":
			x.IP, err = xclientAddr(&p, text)
		case "DESTADDR":
			x.LocalIP, err = xclientAddr(&p, text)
		case "PORT":
			x.Port, err = xclientPort(&p, text)
		case "DESTPORT":
			x.LocalPort, err = xclientPort(&p, text)
		case "LOGIN":
			if x.Login = text; !utf8.ValidString(text) || strings.ContainsFunc(text, smtp.IsControl) {
				err = bad("LOGIN stands for what no name can hold")
			}
		case "HELO":
			if text != "" {
				_, err = smtp.ParseHelo(text)
			}
		case "PROTO":
			if text != "" && !strings.EqualFold(text, "SMTP") && !strings.EqualFold(text, "ESMTP") {
				err = bad("PROTO must be SMTP or ESMTP")
			}
		}
		if err != nil {
			return before, err
		}
	}
	return x, nil
}

func xclientAddr(p *smtp.Param, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	const v6 = "IPV6:"
	if len(text) > len(v6) && strings.EqualFold(text[:len(v6)], v6) {
		text = text[len(v6):]
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, bad(p.Key + " is no IP address")
	}
	return ip.Unmap(), nil
}

func xclientPort(p *smtp.Param, text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, bad(p.Key + " is no port")
	}
	return uint16(n), nil
}
