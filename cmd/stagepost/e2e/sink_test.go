package e2e

import (
	"bufio"
	"bytes"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sink is the next hop: a mail server that counts what it took by Message-ID. It can be told to refuse for a while.
type sink struct {
	t       testing.TB
	ln      net.Listener
	address string

	mu      sync.Mutex
	refuse  map[string]string // "RCPT" or "dot" -> reply instead of 250
	took    map[string]int    // Message-ID -> how often its content was answered 250
	content map[string]string
	rcpts   map[string][]string // by Message-ID: to whom, as often as it came
	total   int
	conns   map[net.Conn]bool
	held    func() // called once, between the content and its reply
}

func newSink(t testing.TB) *sink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{t: t, ln: ln, address: ln.Addr().String(), refuse: map[string]string{}, took: map[string]int{}, content: map[string]string{}, rcpts: map[string][]string{}, conns: map[net.Conn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			group.Go(func() {
				s.session(conn)
				conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		group.Wait()
	})
	return s
}

// refuses makes the sink answer at a place, "RCPT" or "dot", with reply; "" ends that.
func (s *sink) refuses(at, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[at] = reply
}

// hold makes the sink call wait once, when content has come, before it answers.
func (s *sink) hold(wait func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = wait
}

func (s *sink) pause() {
	s.mu.Lock()
	wait := s.held
	s.held = nil
	s.mu.Unlock()
	if wait != nil {
		wait()
	}
}

func (s *sink) reply(at string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.refuse[at]; r != "" {
		return r
	}
	return "250 2.0.0 ok"
}

func (s *sink) session(conn net.Conn) {
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	say := func(line string) bool {
		w.WriteString(line + "\r\n")
		return r.Buffered() > 0 || w.Flush() == nil
	}
	if !say("220 sink.example ESMTP") {
		return
	}
	var rcpts []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		ok := true
		switch strings.ToUpper(verb) {
		case "EHLO":
			ok = say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 0")
		case "MAIL":
			rcpts = nil
			ok = say("250 2.0.0 ok")
		case "RCPT":
			answer := s.reply("RCPT")
			if address := strings.IndexByte(line, '<'); answer[0] == '2' && address >= 0 {
				to, _, _ := strings.Cut(line[address+1:], ">")
				rcpts = append(rcpts, to)
			}
			ok = say(answer)
		case "DATA":
			if s.reply("RCPT")[0] != '2' { // then no recipient stands
				ok = say("554 5.5.1 no recipients")
				break
			}
			if ok = say("354 go on"); !ok {
				return
			}
			content, err := readContent(r)
			if err != nil {
				return
			}
			s.pause()
			answer := s.reply("dot")
			if answer[0] == '2' {
				s.take(content, rcpts)
			}
			ok = say(answer)
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			ok = say("250 2.0.0 ok")
		}
		if !ok {
			return
		}
	}
}

// readContent reads up to the final dot.
func readContent(r *bufio.Reader) ([]byte, error) {
	var content []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return content, nil
		}
		content = append(content, bytes.TrimPrefix(line, []byte("."))...)
	}
}

func (s *sink) take(content []byte, rcpts []string) {
	id := field(string(content), "Message-ID")
	if id == "" {
		s.t.Errorf("content without a Message-ID came to the sink:\n%.500s", content)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.took[id]++
	s.content[id] = string(content)
	s.rcpts[id] = append(s.rcpts[id], rcpts...)
}

// recipients are those whom a message came for, in order.
func (s *sink) recipients(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.rcpts[id]))
}

// field finds a field of a header that is not folded.
func field(content, name string) string {
	header, _, _ := strings.Cut(content, "\r\n\r\n")
	for line := range strings.SplitSeq(header, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// text is the content that came with a Message-ID; it waits for it.
func (s *sink) text(id string) string {
	s.t.Helper()
	var text string
	eventually(s.t, "delivery of "+id, func() (bool, any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text = s.content[id]
		return s.took[id] > 0, s.total
	})
	return text
}

// times is how often a message came.
func (s *sink) times(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took[id]
}

// exactly fails unless the sink took each of these once, and nothing else.
func (s *sink) exactly(ids []string) {
	s.t.Helper()
	s.mu.Lock()
	took := maps.Clone(s.took)
	s.mu.Unlock()
	var lost, twice, strange []string
	for _, id := range ids {
		switch n := took[id]; {
		case n == 0:
			lost = append(lost, id)
		case n > 1:
			twice = append(twice, id)
		}
		delete(took, id)
	}
	for id := range took {
		strange = append(strange, id)
	}
	slices.Sort(strange)
	if len(lost)+len(twice)+len(strange) > 0 {
		s.t.Fatalf("of %d messages %d are lost, %d came twice or more, %d are not ours: lost %.300q twice %.300q strange %.300q",
			len(ids), len(lost), len(twice), len(strange), lost, twice, strange)
	}
}
