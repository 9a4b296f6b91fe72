package deliver

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// With CHUNKING (RFC 3030) a message goes as one chunk: its length says where it ends, so nothing in it can be taken for the end, and no
// dots are stuffed. A server may offer that and not know BDAT all the same, as where something between the two answers for it; then
// the message goes by DATA, over a new connection, since the old one may take content for commands. For an hour it is not
// tried again at that address.
const (
	chunklessTime = time.Hour
	maxChunkless  = 1000
)

// chunkless remembers the addresses where BDAT is unknown.
type chunkless struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

func (s *chunkless) has(a netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.until[a]
	if ok && time.Now().After(until) {
		delete(s.until, a)
		return false
	}
	return ok
}

func (s *chunkless) add(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.until) >= maxChunkless || s.until == nil {
		s.until = map[netip.AddrPort]time.Time{} // it is learned anew
	}
	s.until[a] = time.Now().Add(chunklessTime)
}

// notKnown tells whether a reply is about a command that the server does not know or cannot do, and not about what was to be done with it:
// a policy says so in its enhanced code.
func notKnown(r smtp.Reply) bool {
	return r.Code/10 == 50 && !strings.HasPrefix(r.Enhanced, "5.7.") || r.Code/100 == 5 && strings.HasPrefix(r.Enhanced, "5.5.")
}

// chunkText sends text in a chunk: as smtp.DataWriter it lets no stray CR, LF or NUL through, and replaces them by spaces, so that the length
// that was announced stays true.
type chunkText struct {
	w      io.Writer
	cr     bool // a CR waits for its LF
	strays int64
}

func (t *chunkText) Write(p []byte) (int, error) {
	if pairs := bytes.Count(p, []byte("\r\n")); !t.cr && bytes.Count(p, []byte{'\r'}) == pairs && bytes.Count(p, []byte{'\n'}) == pairs && bytes.IndexByte(p, 0) < 0 {
		return t.w.Write(p)
	}
	fixed := make([]byte, 0, len(p)+1)
	for _, b := range p {
		if t.cr && b != '\n' {
			fixed = append(fixed, ' ')
			t.strays++
		}
		switch {
		case b == '\n' && t.cr:
			fixed = append(fixed, '\r', '\n')
		case b == '\n' || b == 0:
			fixed = append(fixed, ' ')
			t.strays++
		case b != '\r':
			fixed = append(fixed, b)
		}
		t.cr = b == '\r'
	}
	if _, err := t.w.Write(fixed); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what waits.
func (t *chunkText) Close() error {
	if !t.cr {
		return nil
	}
	t.cr = false
	t.strays++
	_, err := io.WriteString(t.w, " ")
	return err
}
