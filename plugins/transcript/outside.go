package transcript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What http, net and secret meet in a transcript. What a plugin asks for must be granted there as anywhere; addresses are not looked
// up.

type (
	givenSecret struct{ name, text string }
	givenHTTP   struct {
		whose  pattern // of the URL
		status int
		body   string
		fails  string // the text of an error
	}
	givenNet struct {
		where   string
		greets  string   // what is said before anything is sent
		answers []string // to what is sent, one after the other; the last repeats
		fails   string
	}
)

// elsewhere is what lies at the other end.
type elsewhere struct {
	mu      sync.Mutex
	secrets map[string]string
	http    []*givenHTTP
	net     map[string]*givenNet
	open    map[string][]*scripted
	senders []*givenSPF
}

func (e *elsewhere) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets, e.http, e.net, e.open, e.senders = map[string]string{}, nil, map[string]*givenNet{}, map[string][]*scripted{}, nil
}

func outsideLines() []Line {
	return []Line{
		{"given http", `given http URL CODE ["BODY"] | URL down ["TEXT"]`, "What http.request gets from URLs, in which `*` stands for anything: an answer, or an error. Of several that fit the latest counts; where none does, there is nobody.", parseHTTP},
		{"given net", `given net HOST:PORT|unix:PATH [greets "TEXT"] "ANSWER" ... | down ["TEXT"]`, `What is at the other end of connections by net.open: what it says by itself, if it greets; then the first text is the answer to what is sent first, and so on, the last one to all that follows; \n and \r\n are written so. Connections that are open end when it is given anew. Where nothing is given, there is nobody.`, parseNet},
		{"given secret", `given secret NAME "TEXT"`, "A secret; there are no others.", parseSecret},
	}
}

func parseSecret(p *parser, rest string) action {
	list, err := words(rest)
	if err != nil || len(list) != 2 || list[0].quoted || !list[1].quoted {
		p.fail(`write given secret NAME "TEXT", as given secret api "s3cret"`)
		return nil
	}
	return &givenSecret{list[0].text, list[1].text}
}

// down reads `down ["TEXT"]` at the end of a line.
func down(list []word) (text string, ok bool) {
	switch {
	case len(list) == 0 || list[0].quoted || list[0].text != "down":
		return "", false
	case len(list) == 1:
		return "connection refused", true
	case len(list) == 2 && list[1].quoted:
		return list[1].text, true
	}
	return "", false
}

var statusPattern = regexp.MustCompile(`^[1-5][0-9]{2}$`)

func parseHTTP(p *parser, rest string) action {
	list, err := words(rest)
	if err == nil && len(list) >= 2 && !list[0].quoted {
		g := &givenHTTP{whose: newGlob(list[0].text)}
		if text, ok := down(list[1:]); ok {
			g.fails = text
			return g
		}
		if !list[1].quoted && statusPattern.MatchString(list[1].text) && (len(list) == 2 || len(list) == 3 && list[2].quoted) {
			g.status, _ = strconv.Atoi(list[1].text)
			if len(list) == 3 {
				g.body = list[2].text
			}
			return g
		}
	}
	p.fail(`write given http URL CODE ["BODY"], as given http https://api.example.org/* 200 "yes", or given http URL down`)
	return nil
}

func parseNet(p *parser, rest string) action {
	list, err := words(rest)
	if err == nil && len(list) >= 2 && !list[0].quoted {
		g := &givenNet{where: strings.ToLower(list[0].text)}
		if strings.HasPrefix(list[0].text, "unix:") {
			g.where = list[0].text
		}
		if text, ok := down(list[1:]); ok {
			g.fails = text
			return g
		}
		rest := list[1:]
		if len(rest) >= 3 && rest[0].text == "greets" && !rest[0].quoted && rest[1].quoted {
			g.greets, rest = rest[1].text, rest[2:]
		}
		for _, w := range rest {
			if !w.quoted {
				g = nil
				break
			}
			g.answers = append(g.answers, w.text)
		}
		if g != nil {
			return g
		}
	}
	p.fail(`write given net HOST:PORT "ANSWER" ..., as given net policy.example.org:10040 "action=DUNNO\n\n", or given net HOST:PORT down`)
	return nil
}

func (g *givenSecret) do(r *run) error {
	r.outside.mu.Lock()
	defer r.outside.mu.Unlock()
	r.outside.secrets[g.name] = g.text
	return nil
}

func (g *givenHTTP) do(r *run) error {
	r.outside.mu.Lock()
	defer r.outside.mu.Unlock()
	r.outside.http = append(r.outside.http, g)
	return nil
}

func (g *givenNet) do(r *run) error {
	r.outside.mu.Lock()
	defer r.outside.mu.Unlock()
	r.outside.net[g.where] = g
	for _, s := range r.outside.open[g.where] { // those that are kept meet it, too
		s.Close()
	}
	delete(r.outside.open, g.where)
	return nil
}

// Secret implements service.Secrets.
func (e *elsewhere) Secret(name string) ([]byte, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text, ok := e.secrets[name]
	return []byte(text), ok, nil
}

// RoundTrip implements http.RoundTripper.
func (e *elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.http) - 1; i >= 0; i-- {
		switch g := e.http[i]; {
		case !g.whose.match(r.URL.String()):
		case g.fails != "":
			return nil, errors.New(g.fails)
		default:
			return &http.Response{StatusCode: g.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: r,
				Body: io.NopCloser(strings.NewReader(g.body)), ContentLength: int64(len(g.body))}, nil
		}
	}
	return nil, fmt.Errorf("the transcript gives no answer of %s", r.URL)
}

// connect is service.Options.Connect.
func (e *elsewhere) connect(_ context.Context, where string) (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.net[where]
	switch {
	case g == nil:
		return nil, fmt.Errorf("the transcript gives nobody at %s", where)
	case g.fails != "":
		return nil, errors.New(g.fails)
	}
	s := &scripted{answers: g.answers}
	s.out.WriteString(g.greets)
	e.open[where] = append(e.open[where], s)
	return s, nil
}

// scripted is a connection whose other end says what was given.
type scripted struct {
	mu      sync.Mutex
	answers []string
	out     strings.Builder // not read yet
	closed  bool
}

func (s *scripted) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.out.WriteString(s.answers[0])
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return len(b), nil
}

// Read ends where a real server would wait: nobody is there who could say more.
func (s *scripted) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.out.String()
	if text == "" || s.closed {
		return 0, io.EOF
	}
	n := copy(b, text)
	s.out.Reset()
	s.out.WriteString(text[n:])
	return n, nil
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *scripted) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "transcript", Net: "unix"} }
func (s *scripted) RemoteAddr() net.Addr             { return s.LocalAddr() }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
