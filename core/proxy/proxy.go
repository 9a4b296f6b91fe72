// Package proxy reads the header with which a load balancer begins a connection to tell whose it is: the PROXY protocol,
// versions 1 and 2 (haproxy.org, "The PROXY protocol").
//
// It says nothing about who may send one. That has to be decided by the peer's address and before an octet is read: a header
// that is looked for and may be absent lets every client claim any address.
//
// Exactly the header is read and nothing after it. What follows belongs to SMTP or to a TLS handshake, and to the connection
// itself, so that it can still be waited for without a buffer (core/idle). That is why this is no library: those read
// ahead, and then stand before the connection as long as it lasts. Version 1 has no length, so it is read in steps of what has
// to come at least; version 2 takes two reads.
package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Header is what a proxy said. Both are invalid when it said nothing that can be used: it speaks for itself, as in a health
// check (LOCAL), or of something that is no TCP over IP. Then the connection's own addresses hold.
type Header struct {
	From netip.AddrPort // the client
	To   netip.AddrPort // where the client connected to
}

// Errors of Read, besides those of reading.
var (
	ErrNone    = errors.New("no PROXY header")
	ErrInvalid = errors.New("the PROXY header is not valid")
)

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	mostV1    = 107       // octets, with CRLF
	mostV2    = 16 + 4096 // octets; the certificates of clients are the largest that is seen
	leastV1   = len("PROXY UNKNOWN\r\n")
)

// Read reads one header. The deadline is the connection's.
func Read(r io.Reader) (Header, error) {
	buf := make([]byte, len(signature), mostV1) // shorter than either version
	if _, err := io.ReadFull(r, buf); err != nil {
		return Header{}, err
	}
	switch {
	case string(buf) == signature:
		return readV2(r, buf)
	case bytes.HasPrefix(buf, []byte("PROXY ")):
		return readV1(r, buf)
	}
	return Header{}, ErrNone
}

func readV1(r io.Reader, line []byte) (Header, error) {
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		n := max(leastV1-len(line), 2) // as many as must be left: CR LF,
		if line[len(line)-1] == '\r' {
			n = 1 // or LF
		}
		at := len(line)
		if at+n > mostV1 {
			return Header{}, ErrInvalid
		}
		line = line[:at+n]
		if _, err := io.ReadFull(r, line[at:]); err != nil {
			return Header{}, err
		}
		if at := bytes.IndexByte(line, '\n'); at >= 0 && (at < len(line)-1 || line[at-1] != '\r') {
			return Header{}, ErrInvalid
		}
	}
	words := strings.Split(string(line[:len(line)-2]), " ")
	if words[1] == "UNKNOWN" { // what follows it means nothing
		return Header{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return Header{}, ErrInvalid
	}
	from, ok := place(words[1] == "TCP6", words[2], words[4])
	to, also := place(words[1] == "TCP6", words[3], words[5])
	if !ok || !also {
		return Header{}, ErrInvalid
	}
	return Header{from, to}, nil
}

func place(six bool, address, port string) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(address)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || ip.Is6() != six || ip.Zone() != "" || errPort != nil || port != strconv.FormatUint(n, 10) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), true
}

func readV2(r io.Reader, buf []byte) (Header, error) {
	head := buf[:16]
	if _, err := io.ReadFull(r, head[len(signature):]); err != nil {
		return Header{}, err
	}
	command, family := head[12], head[13]
	size := 16 + int(binary.BigEndian.Uint16(head[14:]))
	if command != 0x20 && command != 0x21 || size > mostV2 {
		return Header{}, ErrInvalid
	}
	all := append(make([]byte, 0, size), head...)[:size]
	if _, err := io.ReadFull(r, all[16:]); err != nil {
		return Header{}, err
	}
	octets := 0 // of an address
	switch family {
	case 0x11: // TCP over IPv4
		octets = 4
	case 0x21: // TCP over IPv6
		octets = 16
	}
	if command == 0x20 || octets == 0 { // LOCAL
		return Header{}, nil
	}
	body := all[16:]
	ports := 2 * octets
	if len(body) < ports+4 || !sound(all, 16+ports+4) {
		return Header{}, ErrInvalid
	}
	from, _ := netip.AddrFromSlice(body[:octets])
	to, _ := netip.AddrFromSlice(body[octets:ports])
	return Header{
		netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(body[ports:])),
		netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(body[ports+2:])),
	}, nil
}

const typeCRC32C = 0x03

// sound tells whether what follows the addresses, from an index on, is a list of type, length and value, and whether the checksum
// in it is right if there is one: it is over the whole header, with itself as zero.
func sound(all []byte, at int) bool {
	for at < len(all) {
		if len(all)-at < 3 {
			return false
		}
		kind, size := all[at], int(binary.BigEndian.Uint16(all[at+1:]))
		if at += 3; len(all)-at < size {
			return false
		}
		if value := all[at : at+size]; kind == typeCRC32C {
			if size != 4 {
				return false
			}
			want := binary.BigEndian.Uint32(value)
			clear(value)
			if crc32.Checksum(all, crc32.MakeTable(crc32.Castagnoli)) != want {
				return false
			}
			binary.BigEndian.PutUint32(value, want)
		}
		at += size
	}
	return true
}
