package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// endless sends what never ends, as fast as it is taken, and says how much of it the server read before it gave up.
func endless(address, control string, out io.Writer) (violations []string, err error) {
	const most = 16 << 20 // octets; a message may have a million
	for _, c := range []struct {
		name, before string
		replies      int
		piece        string
	}{
		{"a command line", "", 0, strings.Repeat("x", 1024)},
		{"an AUTH line", "AUTH PLAIN ", 0, strings.Repeat("A", 1024)},
		{"a line of a header", envelope + "DATA\r\n", 3, strings.Repeat("x", 1024)},
		{"a header", envelope + "DATA\r\n", 3, strings.Repeat("X-Field: value\r\n", 64)},
		{"a chunk", envelope + "BDAT 1000000000000 LAST\r\n", 2, strings.Repeat("x", 1024)},
		{"chunks", envelope, 2, strings.Repeat("BDAT 1000\r\n"+strings.Repeat("x", 998)+"\r\n", 10)},
		{"unknown commands", "", 0, "HACK\r\n"},
		{"idle commands", "", 0, "RSET\r\n"},
		{"refused recipients", "MAIL FROM:<a@client.example>\r\n", 1, "RCPT TO:<nobody\r\n"},
	} {
		before, err := received(control)
		if err != nil {
			return violations, err
		}
		began := time.Now()
		last, err := pour(address, c.before, c.replies, c.piece)
		if err != nil {
			violations = append(violations, fmt.Sprintf("endless: %s: %v", c.name, err))
			continue
		}
		took := time.Since(began)
		after, err := received(control)
		if err != nil {
			return violations, err
		}
		fmt.Fprintf(out, "endless: %-20s given up after %9d octets and %7s: %s\n", c.name, after-before, took.Round(time.Millisecond), last)
		if after-before > most {
			violations = append(violations, fmt.Sprintf("endless: %s: %d octets were read", c.name, after-before))
		}
	}
	return violations, nil
}

// pour sends pieces until the server ends the session, and gives the last line that it said.
func pour(address, before string, replies int, piece string) (last string, err error) {
	s, err := open(address)
	if err != nil {
		return "", err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(s, before); err != nil {
		return "", err
	}
	for range replies {
		if last, err = s.in.ReadString('\n'); err != nil {
			return "", err
		}
	}
	said := make(chan string)
	go func() {
		for {
			line, err := s.in.ReadString('\n')
			if err != nil {
				break
			}
			last = line
		}
		s.Close()
		said <- strings.TrimSpace(last)
	}()
	for err == nil {
		_, err = io.WriteString(s, piece)
	}
	return <-said, nil
}

// received is how many octets the server has read of all clients.
func received(control string) (int64, error) {
	return metric(control, "stagepost_received_bytes_total")
}

// metric is one of the server's, over all its labels.
func metric(control, name string) (n int64, err error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", control)
	}}}
	r, err := c.Get("http://stagepost/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	for line := range strings.Lines(string(text)) {
		if labels, ok := strings.CutPrefix(line, name); ok && strings.ContainsAny(labels[:1], "{ ") {
			var of float64
			fmt.Sscan(labels[strings.LastIndexByte(labels, ' ')+1:], &of)
			n += int64(of)
		}
	}
	return n, err
}
