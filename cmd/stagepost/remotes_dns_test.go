package main

import (
	"encoding/binary"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// evil is where forged answers lead. Nobody may ever connect to it.
const evil, evilAddress = "evil.test.", "2001:db8:bad::1"

// spoiler makes malformed and forged answers for the names that are told to.
func spoiler(how func(name string) string) func(query *dns.Msg, answer []byte) [][]byte {
	return func(query *dns.Msg, answer []byte) [][]byte {
		q := query.Question[0]
		kind := how(strings.TrimSuffix(strings.ToLower(q.Name), "."))
		if q.Qtype != dns.TypeMX || kind == "" {
			return [][]byte{answer}
		}
		head := answer[:12+len(q.Name)+1+4] // with the question
		record := func(owner uint16, length uint16, data ...byte) [][]byte {
			p := append([]byte(nil), head...)
			binary.BigEndian.PutUint16(p[2:], 0x8180)
			copy(p[6:], []byte{0, 1, 0, 0, 0, 0})
			p = binary.BigEndian.AppendUint16(p, owner)
			p = append(p, 0, byte(dns.TypeMX), 0, 1, 0, 0, 14, 16)
			p = binary.BigEndian.AppendUint16(p, length)
			return [][]byte{append(p, data...)}
		}
		const question = 0xc00c // a pointer to its name
		switch kind {
		case "short":
			return record(question, 2, 0, 10)
		case "overrun":
			return record(question, 500, 0, 10, 0)
		case "loop":
			return record(0xc000|uint16(len(head)), 4, 0, 10, 0xc0, byte(len(head)))
		case "noise":
			return [][]byte{append(append([]byte(nil), answer[:2]...), "\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff and no DNS at all"...)}
		case "forged":
			false1 := forge(query, q.Name, query.Id+1)
			false2 := forge(query, "other.test.", query.Id)
			return [][]byte{false1, false2, beside(answer)}
		}
		return [][]byte{answer}
	}
}

// forge answers that the mail of a name goes to evil.
func forge(query *dns.Msg, name string, id uint16) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Id, m.Question[0].Name = id, name
	m.Answer = []dns.RR{&dns.MX{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 3600}, Mx: evil}}
	p, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return p
}

// beside puts the address of evil beside a true answer, for the name of the true exchanger: it was not asked for.
func beside(answer []byte) []byte {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		panic(err)
	}
	for _, rr := range m.Answer {
		if mx, ok := rr.(*dns.MX); ok {
			m.Extra = append(m.Extra, &dns.AAAA{Hdr: dns.RR_Header{Name: mx.Mx, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 3600}, AAAA: net.ParseIP(evilAddress)})
		}
	}
	p, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return p
}
