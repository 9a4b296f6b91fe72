package consent

import (
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// TestWords: all that there is has words; what is added later is not left out of sheets.
func TestWords(t *testing.T) {
	known := wordsOf()
	for _, c := range capability.Capabilities() {
		w, ok := known[c.Name]
		values := c.Values
		if values == nil {
			values = []string{"x"}
		}
		for _, v := range values {
			if !ok || w.say(v) == "" {
				t.Errorf("there are no words for %s %s", c.Name, v)
			}
		}
		delete(known, c.Name)
	}
	if len(known) > 0 {
		t.Errorf("words for what there is not: %v", known)
	}
	for _, s := range hooks.Stages() {
		if strings.HasPrefix(when(s.Stage), " ") {
			t.Errorf("there are no words for %s", s.Name)
		}
		for _, k := range refusing() {
			if s.Verdicts.Has(k) && refusal(s.Stage, k) == "" {
				t.Errorf("there are no words for %s at %s", k, s.Name)
			}
		}
	}
	refuses := map[hooks.Kind]bool{}
	for _, k := range refusing() {
		refuses[k] = true
	}
	for _, k := range hooks.Verdicts() {
		switch k.Kind {
		case hooks.Next, hooks.Accept, hooks.RouteTo: // sayStages and grants
		case hooks.Each: // has only answers that are counted by themselves
		default:
			if !refuses[k.Kind] {
				t.Errorf("a sheet says nothing of %s", k.Name)
			}
		}
	}
}

// reached tells whether a list lets a plugin connect to a host of that name that has that address, as package service decides it.
func reached(list []string, host, port string, ip netip.Addr) bool {
	n := &capability.Needs{Net: list}
	hosts := func(n *capability.Needs) []string { return n.Net }
	where := host + ":" + port
	if n.Allow(hosts, where) && (resolve.Special(ip) == "" || n.AllowPrivate(hosts, where)) {
		return true
	}
	for _, entry := range list {
		if net, p, ok := manifest.Network(entry); ok && p == port && net.Contains(ip) {
			return true
		}
	}
	return false
}

// entryOf tells what may stand in net, as far as package manifest decides it.
func entryOf(text string) bool {
	_, err := manifest.FromTOML("plugin.toml", []byte("id = \"p\"\n[needs]\nnet = ["+quote(text)+"]\n"))
	return err == nil
}

func quote(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return `""` // which is no entry
	}
	return `"` + text + `"`
}

// FuzzCoversHost: what a list is said to cover lets a plugin reach nothing that the list does not.
func FuzzCoversHost(f *testing.F) {
	f.Add("*:443 private", "10.0.0.0/8:443", "a.example", "443", "10.0.0.1")
	f.Add("*:443", "a.example:443", "a.example", "443", "127.0.0.1")
	f.Add("*.example:*", "*.a.example:25", "x.a.example", "25", "192.0.2.1")
	f.Add("192.0.2.0/24:25 unix:*", "192.0.2.7:25", "192.0.2.7", "25", "192.0.2.7")
	f.Add("[2001:db8::/32]:25", "[2001:db8:1::/48]:25", "a.example", "25", "2001:db8:1::1")
	f.Fuzz(func(t *testing.T, list, entry, host, port, address string) {
		old := strings.Fields(list)
		ip, err := netip.ParseAddr(address)
		if err != nil || !entryOf(entry) || len(old) > 5 {
			return
		}
		for _, o := range old {
			if !entryOf(o) {
				return
			}
		}
		if ok, why := coversHost(old, entry); !ok || why != "" {
			if ok {
				t.Errorf("%q covers %q, but: %s", old, entry, why)
			}
			return
		}
		// Some hosts that the entry has, besides what the fuzzer thinks of.
		for _, h := range []string{host, strings.ReplaceAll(strings.TrimSuffix(entry, ":"+port), "*", host), ip.String()} {
			at := ip
			if literal, err := netip.ParseAddr(h); err == nil { // it has that address alone
				at, h = literal, literal.Unmap().String()
			}
			if !strings.Contains(h, "*") && reached([]string{entry}, h, port, at) && !reached(old, h, port, at) {
				t.Errorf("%q is said to be within %q, and reaches %s:%s at %s, which that does not", entry, old, h, port, at)
			}
		}
	})
}

// FuzzCoversName: a pattern that is within another one has no name that the other one has not. So with facts.
func FuzzCoversName(f *testing.F) {
	f.Add("*a*b", "xa*b", "xazb")
	f.Add("dkim/*", "dkim/*.org", "dkim/example.org")
	f.Add("transport:*", "transport:a*", "transport:ab")
	f.Add("spam.*", "spam", "spam.score")
	f.Fuzz(func(t *testing.T, wide, narrow, name string) {
		if capability.Matches(wide, narrow) && capability.Matches(narrow, name) && !capability.Matches(wide, name) {
			t.Errorf("%q is within %q, and has %q", narrow, wide, name)
		}
		if hooks.CoversFact(wide, narrow) && hooks.CoversFact(narrow, name) && !hooks.CoversFact(wide, name) {
			t.Errorf("the fact %q is within %q, and has %q", narrow, wide, name)
		}
	})
}

// FuzzClean: whatever comes, one line is made of it, in which all that is there is seen.
func FuzzClean(f *testing.F) {
	f.Add("one\n\x1b[2Jtwo\u202e three \u3164\u3164 a\u0301\u0301\u0301\u0301\u0301\xff", uint8(40))
	f.Add(strings.Repeat("x", 50), uint8(40))
	f.Add("\u0301 \u0301\t\u2028\u00a0\u3000", uint8(3))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		most := int(n) + 3
		got := Clean(text, most)
		if width(got) > most || !utf8.ValidString(got) || strings.Contains(got, "  ") || strings.TrimSpace(got) != got {
			t.Errorf("%q of %q", got, text)
		}
		for _, r := range got {
			if r != ' ' && unicode.IsSpace(r) || !unicode.IsPrint(r) || unseen(r) {
				t.Errorf("%U is in %q of %q", r, got, text)
			}
		}
		if again := Clean(got, most); again != got {
			t.Errorf("%q of %q", again, got)
		}
		var b strings.Builder
		write(&b, bullet, quoted, got)
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); width(line) > columns || !strings.HasPrefix(line, bullet) && !strings.HasPrefix(line, quoted) {
				t.Errorf("%q is a line of %q", line, got)
			}
		}
	})
}

// FuzzUnified: a diff has all that is needed to make the new text of the old one.
func FuzzUnified(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nx\nc")
	f.Add("", "a\n")
	f.Add("a\na\nb\na\n", "b\na\na\n")
	f.Add(strings.Repeat("same\n", 20)+"end", "first\n"+strings.Repeat("same\n", 20)+"end\n")
	f.Fuzz(func(t *testing.T, old, now string) {
		if got, ok := patch(old, unified(old, now)); !ok || got != now {
			t.Errorf("%q is what becomes of %q, and not %q, by\n%s", got, old, now, unified(old, now))
		}
	})
}
