package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// sink is the next hop of the server under test: it takes everything, and keeps what came by the tokens in it. It is strict where it
// matters: only CRLF "." CRLF ends content, and octets that must not be sent to anybody are noted.
type sink struct {
	ln    net.Listener
	group sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
	came  map[string][]*arrival
}

// arrival is one message as it came.
type arrival struct {
	sender     string   // between the angle brackets
	recipients []string // likewise
	content    []byte   // without stuffed dots
	stray      string   // an octet that must not be in it; "" if there is none
}

// refusals are the replies to recipients that begin so, with what a notice must not repeat as it is.
var refusals = map[string]string{
	"refused":  "550 5.1.1 no user \xff\xfe \u2028\u202e here",
	"mangled":  "550 5.1.1 no \x1b[31msuch\x07 user\x00 here",
	"textless": "550",
	"low":      "099 5.1.1 no such user",
	"high":     "600 5.1.1 no such user",
	"mixed":    "250-2.1.5 ok\r\n550 5.1.1 no such user",
	"long":     "550 5.1.1 no such user",
	"endless":  "550-5.1.1 no such user",
}

// floods are what comes before the end of such a reply, a hundred megabytes of it.
var floods = map[string]string{"long": "550 5.1.1 no such user ", "endless": "550-5.1.1 no such user\r\n"}

const floodSize = 100_000_000

// Bounds of the sink.
const (
	sinkLine    = 64 << 10
	sinkContent = 160 << 20
	sinkIdle    = 10 * time.Minute
)

func newSink(address string) (*sink, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &sink{ln: ln, conns: map[net.Conn]bool{}, came: map[string][]*arrival{}}
	s.group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.conns == nil {
				conn.Close()
			} else {
				s.conns[conn] = true
				s.group.Go(func() { s.serve(conn) })
			}
			s.mu.Unlock()
		}
	})
	return s, nil
}

func (s *sink) address() string { return s.ln.Addr().String() }

func (s *sink) close() {
	s.ln.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.group.Wait()
}

// of gives the messages with a token.
func (s *sink) of(token string) []*arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.came[token]
}

func (s *sink) keep(a *arrival) {
	token := findToken(a.sender)
	for _, r := range a.recipients {
		if token == "" {
			token = findToken(r)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came[token] = append(s.came[token], a)
}

func (s *sink) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	r, w := bufio.NewReaderSize(conn, sinkLine), bufio.NewWriter(conn)
	say := func(reply string) {
		w.WriteString(reply + "\r\n")
		if r.Buffered() == 0 {
			w.Flush()
		}
	}
	say("220 sink.test ESMTP")
	var a *arrival
	for {
		conn.SetDeadline(time.Now().Add(sinkIdle))
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		text := strings.TrimRight(string(line), "\r\n")
		switch verb, arg, _ := strings.Cut(text, " "); strings.ToUpper(verb) {
		case "EHLO", "LHLO":
			say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE")
		case "MAIL":
			a = &arrival{sender: path(arg)}
			say("250 2.1.0 ok")
		case "RCPT":
			if a == nil {
				say("503 5.5.1 MAIL comes first")
				continue
			}
			if prefix, _, _ := strings.Cut(path(arg), "-"); refusals[prefix] != "" {
				pour(w, floods[prefix])
				say(refusals[prefix])
				continue
			}
			a.recipients = append(a.recipients, path(arg))
			say("250 2.1.5 ok")
		case "DATA":
			if a == nil || len(a.recipients) == 0 {
				say("503 5.5.1 RCPT comes first")
				continue
			}
			say("354 go on")
			w.Flush()
			if a.content, a.stray, err = content(r); err != nil {
				return
			}
			s.keep(a)
			a = nil
			say("250 2.0.0 taken")
		case "QUIT":
			say("221 2.0.0 bye")
			w.Flush()
			return
		default:
			a = nil
			say("250 2.0.0 ok")
		}
	}
}

// pour writes a text again and again, as long as somebody reads.
func pour(w io.Writer, text string) {
	for n := 0; text != "" && n < floodSize; n += len(text) {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// path is what stands between the outermost angle brackets.
func path(arg string) string {
	_, inner, _ := strings.Cut(arg, "<")
	end := strings.LastIndexByte(inner, '>')
	return inner[:max(end, 0)]
}

// content reads up to CRLF "." CRLF.
func content(r *bufio.Reader) (text []byte, stray string, err error) {
	var line []byte // up to its CRLF, or as much as has come
	for {
		part, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, "", err
		}
		if line = append(line, part...); len(text)+len(line) > sinkContent {
			return nil, "", errors.New("too much")
		}
		if !bytes.HasSuffix(line, []byte("\r\n")) {
			continue
		}
		if string(line) == ".\r\n" {
			return text, stray, nil
		}
		if line[0] == '.' {
			line = line[1:]
		}
		if i := bytes.IndexAny(line[:len(line)-2], "\r\n\x00"); i >= 0 {
			stray = map[byte]string{'\r': "CR", '\n': "LF", 0: "NUL"}[line[i]]
		}
		text, line = append(text, line...), line[:0]
	}
}
