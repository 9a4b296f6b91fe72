package smtp

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		line string
		want Command
		err  string
	}{
		{"NOOP", Command{"NOOP", ""}, ""},
		{"noop", Command{"NOOP", ""}, ""},
		{"Quit  ", Command{"QUIT", ""}, ""},
		{"EHLO a.example", Command{"EHLO", "a.example"}, ""},
		{"mail from:<a@b> ", Command{"MAIL", "from:<a@b>"}, ""},
		{"MAIL  FROM:<a@b>", Command{"MAIL", " FROM:<a@b>"}, ""},
		{"NOOP \u00e9", Command{"NOOP", "\u00e9"}, ""},
		{"XCLIENT ADDR=127.0.0.1", Command{"XCLIENT", "ADDR=127.0.0.1"}, ""},
		{"", Command{}, "500 5.5.2 syntax error, command not recognized"},
		{" NOOP", Command{}, "500 5.5.2 syntax error, command not recognized"},
		{"NOOP\tx", Command{}, "501 5.5.2 control character in command"},
		{"MAIL FROM:<a\x00@b>", Command{}, "501 5.5.2 control character in command"},
		{"MAIL FROM:<a@b>\rRCPT TO:<c@d>", Command{}, "501 5.5.2 control character in command"},
		{"NOOP \x7f", Command{}, "501 5.5.2 control character in command"},
		{"NOOP \xc0\x80", Command{}, "500 5.5.2 command is not valid UTF-8"},
		{"\u00e9HLO a", Command{}, "500 5.5.2 syntax error, command not recognized"},
		{"DATA<x>", Command{}, "500 5.5.2 syntax error, command not recognized"},
		{"GET/ HTTP/1.1", Command{}, "500 5.5.2 syntax error, command not recognized"},
		{strings.Repeat("A", 17), Command{}, "500 5.5.2 syntax error, command not recognized"},
		{strings.Repeat("A", 16), Command{strings.Repeat("A", 16), ""}, ""},
	} {
		got, err := ParseCommand([]byte(c.line))
		if got != c.want || errorText(err) != c.err {
			t.Errorf("%q: got %q, %v, want %q, %s", c.line, got, err, c.want, c.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Paths and parameters, for both commands: "MAIL FROM:..." or "RCPT TO:...".
func TestParsePath(t *testing.T) {
	pad := func(n int) string { return strings.Repeat("d.", n) }
	for _, c := range []struct {
		line   string
		want   Address
		params Params
		err    string
	}{
		{line: "MAIL FROM:<a@b>", want: Address{"a@b", "a", "b"}},
		{line: "MAIL from: <a@b>", want: Address{"a@b", "a", "b"}},
		{line: "MAIL FROM:<>"},
		{line: "MAIL FROM:<> BODY=8BITMIME", params: Params{{"BODY", "8BITMIME"}}},
		{line: "MAIL FROM:<a@b> size=1 Body=7bit X-Y", want: Address{"a@b", "a", "b"}, params: Params{{"SIZE", "1"}, {"BODY", "7bit"}, {"X-Y", ""}}},
		{line: `RCPT TO:<"a>b <c"@x>`, want: Address{`"a>b <c"@x`, "a>b <c", "x"}},
		{line: "RCPT TO:<postmaster>", want: Address{"postmaster", "postmaster", ""}},
		{line: "RCPT TO:<PostMaster>", want: Address{"PostMaster", "PostMaster", ""}},
		{line: "RCPT TO:<PostMaster@our.test>", want: Address{"PostMaster@our.test", "PostMaster", "our.test"}},
		{line: "RCPT TO:<@a,@b:u@d>", want: Address{"u@d", "u", "d"}},
		{line: "RCPT TO:<@a:u@d>", want: Address{"u@d", "u", "d"}},
		{line: "MAIL FROM:<@a:u@d>", want: Address{"u@d", "u", "d"}},
		{line: "RCPT TO:<@" + pad(122) + "xyz:u@abc>", want: Address{"u@abc", "u", "abc"}},

		{line: "MAIL FROM:a@b", err: "501 5.1.7 address is not in angle brackets"},
		{line: "MAIL FROM:  <a@b>", err: "501 5.1.7 address is not in angle brackets"},
		{line: "MAIL FROM:", err: "501 5.1.7 address is not in angle brackets"},
		{line: "MAIL FROM <a@b>", err: "501 5.5.4 syntax error, want FROM:<address>"},
		{line: "MAIL FROM :<a@b>", err: "501 5.5.4 syntax error, want FROM:<address>"},
		{line: "MAIL  FROM:<a@b>", err: "501 5.5.4 syntax error, want FROM:<address>"},
		{line: "MAIL", err: "501 5.5.4 syntax error, want FROM:<address>"},
		{line: "MAIL TO:<a@b>", err: "501 5.5.4 syntax error, want FROM:<address>"},
		{line: "RCPT FROM:<a@b>", err: "501 5.5.4 syntax error, want TO:<address>"},
		{line: "MAIL FROM:<postmaster>", err: "501 5.1.7 unexpected '>' in local part"},
		{line: "RCPT TO:<@a:postmaster>", err: "501 5.1.3 unexpected '>' in local part"},
		{line: "RCPT TO:<>", err: "501 5.1.3 unexpected '>' in local part"},
		{line: "MAIL FROM:< >", err: "501 5.1.7 unexpected ' ' in local part"},
		{line: "MAIL FROM:<a@b", err: "501 5.1.7 address ends too early"},
		{line: "MAIL FROM:< a@b>", err: "501 5.1.7 unexpected ' ' in local part"},
		{line: "MAIL FROM:<a@b >", err: "501 5.1.7 unexpected ' ' in address"},
		{line: "MAIL FROM:<<a@b>>", err: "501 5.1.7 unexpected '<' in local part"},
		{line: "MAIL FROM:<a@b>>", err: "501 5.5.4 syntax error after the address"},
		{line: "MAIL FROM:<a@b><c@d>", err: "501 5.5.4 syntax error after the address"},
		{line: "MAIL FROM:<a@b>SIZE=1", err: "501 5.5.4 syntax error after the address"},
		{line: "MAIL FROM:<(any@legit>", err: "501 5.1.7 unexpected '(' in local part"},
		{line: "MAIL FROM:<\u00e9@x>", err: "553 5.6.7 non-ASCII characters need SMTPUTF8"},
		{line: "MAIL FROM:<a@b> X=\u202e SMTPUTF8", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<\u00e9@b\u00fccher.test> SMTPUTF8", want: Address{"\u00e9@b\u00fccher.test", "\u00e9", "xn--bcher-kva.test"}, params: Params{{"SMTPUTF8", ""}}},
		{line: "RCPT TO:<\u00e9@x>", err: "553 5.6.7 non-ASCII characters need SMTPUTF8"},
		{line: "RCPT TO:<@a,u@d>", err: "501 5.1.3 unexpected 'u' in source route"},
		{line: "RCPT TO:<@a,:u@d>", err: "501 5.1.3 unexpected ':' in source route"},
		{line: "RCPT TO:<@a:@b:u@d>", err: "501 5.1.3 unexpected '@' in local part"},
		{line: "RCPT TO:<@a>", err: "501 5.1.3 unexpected '>' in source route"},
		{line: "RCPT TO:<@a:>", err: "501 5.1.3 unexpected '>' in local part"},
		{line: "RCPT TO:<@" + pad(122) + "xyz:u@abcd>", err: "501 5.1.3 path is longer than 256 octets"},
		{line: "RCPT TO:<u@" + pad(128) + "d>", err: "501 5.1.3 domain is longer than 255 octets"},

		{line: "MAIL FROM:<a@b>  SIZE=1", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> SIZE=", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> =1", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> -X=1", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> X_Y=1", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> X=1=2", err: "501 5.5.4 syntax error in parameters"},
		{line: "MAIL FROM:<a@b> X=\u00e9", err: "553 5.6.7 non-ASCII characters need SMTPUTF8"},
		{line: "MAIL FROM:<a@b> SIZE=1 size=2", err: "501 5.5.4 parameter given twice"},
		{line: "MAIL FROM:<a@b> A B C D E F G H I J K L M N O P Q R S T U", err: "501 5.5.4 too many parameters"},
	} {
		cmd, err := ParseCommand([]byte(c.line))
		if err != nil {
			t.Fatalf("%s: %v", c.line, err)
		}
		parse := ParseMail
		if cmd.Verb == "RCPT" {
			parse = func(arg string) (Address, Params, error) { return ParseRcpt(arg, false) }
		}
		a, params, err := parse(cmd.Arg)
		if a != c.want || !slices.Equal(params, c.params) || errorText(err) != c.err {
			t.Errorf("%s: got %+v %v, %v, want %+v %v, %s", c.line, a, params, err, c.want, c.params, c.err)
		}
	}
}

func TestParseHelo(t *testing.T) {
	for _, good := range []string{"a", "mail.example.org", "mail.example.org.", "MY_PC", "localhost", "127.0.0.1", "[127.0.0.1]",
		"[IPv6:2001:db8::1]", "[ipv6:::1]", "[::1]", "2001:db8::1", strings.Repeat("a", 255)} {
		if got, err := ParseHelo(good); err != nil || got != good {
			t.Errorf("%s: got %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "[", "]", "[]", "[a]", "[127.0.0.1", "127.0.0.1]", "[fe80::1%eth0]", "[IPv6:]", "x<script>",
		"a b", "a;b", "(a)", "a\"b", "a\\b", "a\x1b[0m", "b\u00fccher", "a,b", "a:25", strings.Repeat("a", 256)} {
		if got, err := ParseHelo(bad); err == nil || got != "" {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{"EHLO [127.0.0.1]", "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME", "RCPT TO:<@a,@b:u@d>", `RCPT TO:<"a\"b"@x> X=Y`, "MAIL FROM:<>", "MAIL FROM:<\u00e9@b\u00fccher.test> SMTPUTF8", "NOOP \xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		cmd, err := ParseCommand(line)
		if err != nil {
			checkRefusal(t, line, err)
			return
		}
		if cmd.Verb == "" || strings.ToUpper(cmd.Verb) != cmd.Verb || !strings.EqualFold(cmd.Verb, string(line[:len(cmd.Verb)])) {
			t.Fatalf("%q: verb %q", line, cmd.Verb)
		}
		if host, err := ParseHelo(cmd.Arg); err != nil {
			checkRefusal(t, line, err)
		} else if strings.ContainsAny(host, " \t\r\n()<>\"\\;,") || host != cmd.Arg {
			t.Fatalf("%q: host name %q", line, host)
		}
		for i, parse := range []func(string) (Address, Params, error){ParseMail, func(s string) (Address, Params, error) { return ParseRcpt(s, false) }} {
			a, params, err := parse(cmd.Arg)
			if err != nil {
				checkRefusal(t, line, err)
				continue
			}
			if _, utf8 := params.Get("SMTPUTF8"); ascii(cmd.Arg) {
				checkAddress(t, a)
			} else if i == 1 || !utf8 {
				t.Fatalf("%q: taken without SMTPUTF8", line)
			}
			if i == 1 && a.IsNull() {
				t.Fatalf("%q: null recipient", line)
			}
			// What was understood, written again, is understood alike.
			again := []string{"FROM:<", "TO:<"}[i] + a.Text + ">"
			for _, p := range params {
				again += " " + p.Key
				if p.Value != "" {
					again += "=" + p.Value
				}
			}
			b, params2, err := parse(again)
			if err != nil || a != b || !slices.Equal(params, params2) {
				t.Fatalf("%q: %+v %v, then %+v %v, %v", line, a, params, b, params2, err)
			}
		}
	})
}

// checkRefusal checks that an error is a permanent reply that can be sent.
func checkRefusal(t *testing.T, line []byte, err error) {
	t.Helper()
	var reply Reply
	if !errors.As(err, &reply) || reply.Check() != nil || reply.Code/100 != 5 {
		t.Fatalf("%q: bad error %v", line, err)
	}
}

func BenchmarkParseMail(b *testing.B) {
	line := []byte("MAIL FROM:<user@example.org> SIZE=4096")
	b.ReportAllocs()
	for b.Loop() {
		cmd, err := ParseCommand(line)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := ParseMail(cmd.Arg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRcpt(b *testing.B) {
	line := []byte("RCPT TO:<user@example.org>")
	b.ReportAllocs()
	for b.Loop() {
		cmd, err := ParseCommand(line)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := ParseRcpt(cmd.Arg, false); err != nil {
			b.Fatal(err)
		}
	}
}
