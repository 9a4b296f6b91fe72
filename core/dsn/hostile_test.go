package dsn

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// wellFormed checks that a notification is what it should be and nothing else: one header with our fields once each, the
// parts that belong there, and as many groups of fields as there are recipients.
func wellFormed(t *testing.T, r *Report, sent string) {
	t.Helper()
	if left := strings.ReplaceAll(sent, "\r\n", ""); strings.ContainsAny(left, "\r\n\x00") || !strings.HasSuffix(sent, "\r\n") {
		t.Fatalf("a stray CR, LF or NUL:\n%q", sent)
	}
	for line := range strings.SplitSeq(sent, "\r\n") {
		if len(line) > maxLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
	msg, err := mail.ReadMessage(strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(sent, "\r\n\r\n")
	if got := names(header); got != "From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding" {
		t.Fatalf("header has %s", got)
	}
	if to, err := msg.Header.AddressList("To"); err != nil || len(to) != 1 {
		t.Fatalf("To: %v, %v", to, err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v, %v", kind, params, err)
	}
	if n, delimiter := strings.Count(sent, params["boundary"]), "\r\n--"+params["boundary"]; n != strings.Count(sent, delimiter)+1 ||
		!strings.HasSuffix(sent, delimiter+"--\r\n") {
		t.Fatalf("the boundary occurs %d times:\n%s", n, sent)
	}
	var kinds []string
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, encoding := p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding")
		kinds = append(kinds, kind)
		if encoding == eightBit {
			if kind != "message/rfc822" && (!strings.Contains(kind, "global") && kind != "text/plain; charset=utf-8" || !r.wide()) || msg.Header.Get("Content-Transfer-Encoding") != eightBit {
				t.Fatalf("%s is 8bit", kind)
			}
		} else if bytes.ContainsFunc(body, func(c rune) bool { return c >= 0x80 }) {
			t.Fatalf("%s is not %s", kind, encoding)
		}
		if encoding == quotedPrintable {
			if body, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(kind, "global") && (!r.Global || isASCII(body)) {
			t.Fatalf("%s without need:\n%s", kind, body)
		}
		switch kind {
		case "text/plain; charset=us-ascii", "text/plain; charset=utf-8":
			checkText(t, string(body))
		case "message/delivery-status", "message/global-delivery-status":
			checkFields(t, r, string(body))
		}
	}
	if !strings.HasPrefix(kinds[0], "text/plain; charset=u") || !slices.Contains([]string{"message/delivery-status", "message/global-delivery-status"}, kinds[1]) || len(kinds) > 3 ||
		len(kinds) == 3 && !slices.Contains([]string{"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"}, kinds[2]) {
		t.Fatalf("parts %q", kinds)
	}
}

// checkText: what is longer than a line is one word, alone on its line.
func checkText(t *testing.T, body string) {
	t.Helper()
	for line := range strings.SplitSeq(body, "\r\n") {
		words := strings.TrimPrefix(strings.TrimPrefix(line, "  "), "> ")
		if len(line) > maxColumn && !strings.HasPrefix(line, "<") && strings.Contains(words, " ") {
			t.Fatalf("not wrapped: %q", line)
		}
		if i := strings.IndexFunc(line, func(c rune) bool { return smtp.IsControl(c) || c > '~' && line[0] != '<' }); i >= 0 || !utf8.ValidString(line) {
			t.Fatalf("not printable: %q", line)
		}
	}
}

func checkFields(t *testing.T, r *Report, body string) {
	t.Helper()
	groups := strings.Split(strings.TrimSuffix(body, "\r\n"), "\r\n\r\n")
	if len(groups) != 1+len(r.Rcpts) {
		t.Fatalf("%d groups for %d recipients:\n%s", len(groups), len(r.Rcpts), body)
	}
	for i, group := range groups {
		allowed := "Original-Recipient Final-Recipient Action Status Remote-MTA Diagnostic-Code Last-Attempt-Date Will-Retry-Until"
		must := "Final-Recipient Action Status"
		if r.Kind != Delayed {
			allowed = strings.TrimSuffix(allowed, " Will-Retry-Until")
		}
		if i == 0 {
			allowed, must = "Original-Envelope-Id Reporting-MTA Arrival-Date", "Reporting-MTA"
		}
		got := strings.Fields(names(group))
		left := strings.Fields(allowed) // each at most once, in this order
		for _, name := range got {
			n := slices.Index(left, name)
			if n < 0 {
				t.Fatalf("field %s in\n%s", name, group)
			}
			left = left[n+1:]
		}
		for name := range strings.FieldsSeq(must) {
			if !slices.Contains(got, name) {
				t.Fatalf("no %s in\n%s", name, group)
			}
		}
	}
}

// names returns the names of the fields of a block, in order.
func names(block string) string {
	var out []string
	for line := range strings.SplitSeq(block, "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			continue
		}
		name, _, _ := strings.Cut(line, ":")
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestHostile(t *testing.T) {
	forged := "x\r\n\r\n--=_y\r\nBcc: <c@c.example>\n.\n\x00\x1b[2J\u2028ü\xff"
	for name, change := range map[string]func(r *Report){
		"addresses": func(r *Report) {
			r.Rcpts[0].Final = smtp.Address{Text: forged}
			r.Rcpts[0].Original = esmtp.Recipient{Type: "utf-8", Address: forged}
		},
		"long addresses":   func(r *Report) { r.Rcpts[0].Final.Text = strings.Repeat("x", 5000) },
		"reply":            func(r *Report) { r.Rcpts[0].Diagnostic = "550 " + forged },
		"long reply":       func(r *Report) { r.Rcpts[0].Diagnostic = strings.Repeat("x", 5000) },
		"reply of nothing": func(r *Report) { r.Rcpts[0].Diagnostic = " \r\n\t\u2028" },
		"status":           func(r *Report) { r.Rcpts[0].Status = "5.1.1\r\n" + forged },
		"remote":           func(r *Report) { r.Rcpts[0].RemoteMTA = forged },
		"remote's zone":    func(r *Report) { r.Rcpts[0].RemoteMTA = "[IPv6:fe80::1%" + forged + "]" },
		"envelope id":      func(r *Report) { r.EnvelopeID = forged },
		"long envelope id": func(r *Report) { r.EnvelopeID = strings.Repeat("x", 101) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReport(t, Failed, Rcpt{Final: mustAddress(t, "b@b.example"), WillRetryUntil: day})
			change(r)
			sent := compose(t, r)
			wellFormed(t, r, sent)
			if strings.Contains(sent, "\nBcc") || strings.Contains(sent, "Original-Envelope-Id") || strings.Contains(sent, "\nDiagnostic-Code: X-Stagepost; \r\n") {
				t.Errorf("\n%s", sent)
			}
		})
	}
}

// FuzzCompose: whatever comes in, out comes one well-formed message or nothing.
func FuzzCompose(f *testing.F) {
	f.Add("a@a.example", "mx1.example.org", "b@b.example", "5.1.1", "550 5.1.1 no", "mx.b.example[192.0.2.1]:25", "id", plain, uint8(1), int64(1786701600))
	f.Add("", "", "\r\n", "\r\n", "\r\n", "[IPv6:fe80::1%\r\n]", "\r\n", "a:\rb\n", uint8(2), int64(-1<<62))
	f.Add("a@a.example", "x", "\r\n\r\n", "4", "--=_", "[::1]", "\x80", "A: \x80\r\n\r\n\x80\r\n", uint8(7), int64(0))
	f.Fuzz(func(t *testing.T, sender, host, rcpt, status, reply, remote, envid, original string, flags uint8, seconds int64) {
		at := time.Unix(seconds%(1<<40), 0)
		kind := Kinds()[flags/2%5]
		all := []Rcpt{
			{Final: smtp.Address{Text: rcpt}, Original: esmtp.Recipient{Type: "utf-8"[:flags%6], Address: reply}, Status: status, Diagnostic: reply, RemoteMTA: remote, LastAttempt: at, WillRetryUntil: at},
			NewRcpt(kind, &message.Rcpt{Original: smtp.Address{Text: reply}}, message.Last{Code: int(flags) * 4, Enhanced: status, Text: rcpt, Host: remote}, at),
		}
		r := newReport(t, kind, all[:1+flags&1]...)
		if flags&8 != 0 {
			r.Sender, r.ReportingMTA = smtp.Address{Text: sender}, host
		}
		r.Arrived, r.EnvelopeID, r.Original, r.ReturnFull = at, envid, memory(original), flags&4 != 0
		r.Global = flags&32 != 0
		if flags&16 != 0 {
			r.Original = &onDisk{memory: memory(original), broken: 1 << 20}
		}
		sent, err := r.Compose()
		if err != nil {
			_, bad := smtp.ParseUTF8Address(r.Sender.Text)
			if bad == nil && smtp.ValidDomain(r.ReportingMTA) {
				t.Fatal(err)
			}
			return
		}
		wellFormed(t, r, string(sent))
	})
}
