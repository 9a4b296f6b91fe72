package arc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// text is a content in memory; onDisk is one that is not.
type text string

func (m text) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}
func (m text) Size() int64   { return int64(len(m)) }
func (m text) Bytes() []byte { return []byte(m) }

type onDisk struct{ text }

func (onDisk) Bytes() []byte { return nil }

func header(t testing.TB, c message.Content) *message.Header {
	t.Helper()
	h, err := message.ReadHeader(c, message.DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// now is behind the times of the seals.
var now = time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC)

// dns has the keys that hops use, and some that they should not.
func dns(t testing.TB) *resolvetest.Resolver {
	k := testKeys()
	rsa, ed := record(t, k.rsa.Public()), record(t, k.ed.Public())
	return resolvetest.New(t, map[string][]string{
		"s._domainkey.b.example":       {zone(rsa)},
		"s._domainkey.c.example":       {zone(rsa)},
		"s._domainkey.d.example":       {zone(rsa)},
		"ed._domainkey.b.example":      {zone(ed)},
		"other._domainkey.b.example":   {zone(record(t, k.other.Public()))},
		"revoked._domainkey.b.example": {zone("v=DKIM1; p=")},
		"broken._domainkey.b.example":  {zone("v=DKIM1; p=%%%")},
		"sha1._domainkey.b.example":    {zone(strings.Replace(rsa, "k=rsa", "h=sha1; k=rsa", 1))},
		"web._domainkey.b.example":     {zone(strings.Replace(rsa, "k=rsa", "s=web; k=rsa", 1))},
		"fails._domainkey.b.example":   {"!servfail"},
		"silent._domainkey.b.example":  {"!silent"},
	})
}

// verify validates a message, of which memory and disk must come to the same.
func verify(t testing.TB, dns *resolvetest.Resolver, m string) *Result {
	t.Helper()
	v := &Verifier{Resolver: dns, Now: func() time.Time { return now }, Time: 20 * time.Second}
	r, err := v.Verify(context.Background(), header(t, text(m)), text(m))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := v.Verify(context.Background(), header(t, onDisk{text(m)}), onDisk{text(m)}); err != nil || fmt.Sprint(*d) != fmt.Sprint(*r) {
		t.Errorf("from the disk it is %+v, %v", d, err)
	}
	return r
}

// oneMore gives a message with n sound sets, by b, c and d in turn; of many by b, with the key that signs fast.
func oneMore(t testing.TB, n int) *mail {
	m := letter()
	for i := range n {
		h := hop{domain: []string{"b.example", "c.example", "d.example"}[i%3]}
		if n > 5 {
			h = hop{alg: "ed25519-sha256", selector: "ed"}
		}
		m.by(t, h)
	}
	return m
}

func swap(old, new string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic(old + " is not in " + s)
		}
		return strings.Replace(s, old, new, 1)
	}
}

// TestValidator is section 5.2 of RFC 8617, step by step, with the syntax of section 4.
func TestValidator(t *testing.T) {
	is := func(o hop) func(t *testing.T) *mail {
		return func(t *testing.T) *mail { return letter().by(t, o) }
	}
	second := func(o hop) func(t *testing.T) *mail {
		return func(t *testing.T) *mail { return oneMore(t, 1).by(t, o) }
	}
	after := func(n int, change func(m *mail)) func(t *testing.T) *mail {
		return func(t *testing.T) *mail {
			m := oneMore(t, n)
			change(m)
			return m
		}
	}
	tests := []struct {
		name   string
		mail   func(t *testing.T) *mail
		status Status
		why    string // in the reason
		oldest int
	}{
		// Step 1: collect.
		{"no chain", func(*testing.T) *mail { return letter() }, None, "", 0},
		{"one set", after(1, func(*mail) {}), Pass, "", 0},
		{"two sets", after(2, func(*mail) {}), Pass, "", 0},
		{"50 sets", after(50, func(*mail) {}), Pass, "", 0},
		{"51 sets", second51, Fail, "instance 51", 0},
		{"51 seals of one instance", after(1, func(m *mail) {
			for range 50 {
				m.top(m.fields[0])
			}
		}), Fail, "two ARC-Seal of the instance 1", 0},
		{"fields in any order", after(2, func(m *mail) { slices.Reverse(m.fields) }), Pass, "", 0},
		{"names in any case", after(2, func(m *mail) {
			for i, f := range m.fields {
				head, rest, _ := strings.Cut(f, ":")
				m.fields[i] = strings.ToUpper(head) + ":" + rest
			}
		}), Pass, "", 0},
		{"a field of a similar name", after(1, func(m *mail) { m.top("ARC-Seals: i=7\r\n") }), Pass, "", 0},

		// Step 2: the newest seal says that it failed.
		{"sealed as failed", second(hop{cv: "fail", scope: []int{2}}), Fail, "it was sealed as failed by b.example", 0},
		{"sealed as failed, and then as good", func(t *testing.T) *mail {
			return oneMore(t, 1).by(t, hop{cv: "fail", scope: []int{2}}).by(t, hop{})
		}, Fail, "the seal 2 says cv=fail; it must be pass", 0},
		{"the first sealed as failed", is(hop{cv: "fail"}), Fail, "sealed as failed", 0},
		{"sealed as failed, the rest missing", func(t *testing.T) *mail {
			m := oneMore(t, 1).by(t, hop{cv: "fail", scope: []int{2}})
			m.drop("ARC-Message-Signature", 0)
			return m
		}, Fail, "sealed as failed", 0},

		// Step 3 A: exactly one of each.
		{"no results", is(hop{without: "AAR"}), Fail, "the set 1 has no ARC-Authentication-Results", 0},
		{"no message signature", is(hop{without: "AMS"}), Fail, "the set 1 has no ARC-Message-Signature", 0},
		{"no seal", is(hop{without: "AS"}), Fail, "the set 1 has no ARC-Seal", 0},
		{"no seal in the second", second(hop{without: "AS"}), Fail, "the set 2 has no ARC-Seal", 0},
		{"results twice", after(1, func(m *mail) { m.top(m.fields[2]) }), Fail, "two ARC-Authentication-Results of the instance 1", 0},
		{"message signature twice", after(1, func(m *mail) { m.top(m.fields[1]) }), Fail, "two ARC-Message-Signature of the instance 1", 0},
		{"seal twice", after(2, func(m *mail) { m.top(m.fields[0]) }), Fail, "two ARC-Seal of the instance 2", 0},

		// Step 3 B: 1 to N.
		{"a gap", func(t *testing.T) *mail { return oneMore(t, 1).by(t, hop{i: 3}) }, Fail, "there is no set 2", 0},
		{"the first is gone", after(2, func(m *mail) {
			m.drop("ARC-Seal", 1)
			m.drop("ARC-Message-Signature", 1)
			m.drop("ARC-Authentication-Results", 1)
		}), Fail, "there is no set 1", 0},
		{"it begins with 2", is(hop{i: 2}), Fail, "there is no set 1", 0},
		{"instance 0", is(hop{i: 0}), Fail, "the instance 0", 0},
		{"instance 99", is(hop{i: 99}), Fail, "the instance 99", 0},
		{"instance of three digits", is(hop{i: "001"}), Fail, "ARC-Seal has no instance", 0},
		{"instance of two digits", is(hop{i: "01", cv: "none", scope: []int{1}}), Pass, "", 0},
		{"instance below 0", is(hop{i: "-1"}), Fail, "ARC-Seal has no instance", 0},
		{"instance in hexadecimal", is(hop{i: "0x1"}), Fail, "ARC-Seal has no instance", 0},
		{"instance in words", is(hop{i: "one"}), Fail, "ARC-Seal has no instance", 0},
		{"no instance in the results", is(hop{aar: swap("i=1; ", "")}), Fail, "does not begin with an instance", 0},
		{"the instance last in the results", is(hop{aar: func(s string) string {
			return strings.Replace(strings.TrimSuffix(s, "\r\n"), "i=1; ", "", 1) + "; i=1\r\n"
		}}), Fail, "does not begin with an instance", 0},
		{"no instance in the message signature", is(hop{ams: swap("i=1; ", "")}), Fail, "ARC-Message-Signature has no instance", 0},
		{"no instance in the seal", is(hop{as: swap("i=1; ", "")}), Fail, "ARC-Seal has no instance", 0},
		{"the instance later in the seal", is(hop{as: func(s string) string { return swap("s=s;", "s=s; i=1;")(swap("i=1; ", "")(s)) }}), Pass, "", 0},
		{"the instance later in the message signature", is(hop{ams: func(s string) string { return swap("s=s;", "i=1; s=s;")(swap("i=1; ", "")(s)) }}), Pass, "", 0},
		{"the instance twice in the seal", is(hop{as: swap("s=s;", "s=s; i=1;")}), Fail, "i=", 0},
		{"the instance as I", is(hop{as: swap("i=1;", "I=1;")}), Fail, "ARC-Seal has no instance", 0},
		{"comments around the instance of the results", is(hop{aar: swap("i=1;", "(one (of (many\\)))) i (is) =\r\n\t(now) 1 (here);")}), Pass, "", 0},
		{"a comment without an end", is(hop{aar: swap("i=1;", "((i=1;")}), Fail, "does not begin with an instance", 0},
		{"comments nested deep", is(hop{aar: swap("i=1;", strings.Repeat("(", 100)+strings.Repeat(")", 100)+" i=1;")}), Fail, "does not begin with an instance", 0},
		{"results that are nothing", is(hop{aar: func(string) string { return "ARC-Authentication-Results: i=1;\r\n" }}), Pass, "", 0},
		{"results that are no results", is(hop{aar: func(string) string { return "ARC-Authentication-Results: i=1; \"; ;;=\r\n" }}), Pass, "", 0},

		// Step 3 C: what the seals say.
		{"the first says pass", is(hop{cv: "pass"}), Fail, "the seal 1 says cv=pass; it must be none", 0},
		{"the second says none", second(hop{cv: "none"}), Fail, "the seal 2 says cv=none; it must be pass", 0},
		{"an older one says fail", func(t *testing.T) *mail {
			return oneMore(t, 1).by(t, hop{cv: "fail"}).by(t, hop{domain: "c.example"})
		}, Fail, "the seal 2 says cv=fail", 0},
		{"no cv", is(hop{as: swap(" cv=none;", "")}), Fail, "cv= is missing", 0},
		{"an empty cv", is(hop{as: swap("cv=none", "cv=")}), Fail, "cv=", 0},
		{"an unknown cv", is(hop{cv: "maybe"}), Fail, "cv=", 0},
		{"cv in capitals", is(hop{cv: "NONE"}), Pass, "", 0},
		{"the tag as CV", is(hop{as: swap("cv=", "CV=")}), Fail, "cv= is missing", 0},

		// Step 4: the newest message signature.
		{"the body was changed", after(2, func(m *mail) { m.body = strings.Replace(m.body, "message", "massage", 1) }), Fail, "the message signature 2: ", 0},
		{"the body was extended", after(1, func(m *mail) { m.body += "more\r\n" }), Fail, "the message signature 1: ", 0},
		{"white space of the body was changed", after(1, func(m *mail) { m.body = strings.Replace(m.body, "this is", "this \t is ", 1) }), Pass, "", 0},
		{"white space of a simple body was changed", func(t *testing.T) *mail {
			m := letter().by(t, hop{c: "relaxed/simple"})
			m.body = strings.Replace(m.body, "this is", "this  is", 1)
			return m
		}, Fail, "the message signature 1: ", 0},
		{"the subject was changed", after(2, func(m *mail) { m.edit("Subject", 0, func(string) string { return "Subject: [list] an example\r\n" }) }), Fail, "the message signature 2: ", 0},
		{"a second From on top", after(1, func(m *mail) { m.top("From: b@b.example\r\n") }), Pass, "", 0},
		{"a second From on top, oversigned", func(t *testing.T) *mail {
			m := letter().by(t, hop{h: "from:from:to:subject"})
			m.top("From: b@b.example\r\n")
			return m
		}, Fail, "the message signature 1: ", 0},
		{"a field that is not signed was changed", after(2, func(m *mail) { m.drop("Received", 0) }), Pass, "", 0},
		{"relaxed/relaxed", is(hop{c: "relaxed/relaxed"}), Pass, "", 0},
		{"simple/simple", is(hop{c: "simple/simple"}), Pass, "", 0},
		{"simple/relaxed", is(hop{c: "simple/relaxed"}), Pass, "", 0},
		{"relaxed/simple", is(hop{c: "relaxed/simple"}), Pass, "", 0},
		{"an empty body", func(t *testing.T) *mail { m := letter(); m.body = ""; return m.by(t, hop{}) }, Pass, "", 0},
		{"an empty simple body", func(t *testing.T) *mail { m := letter(); m.body = ""; return m.by(t, hop{c: "simple/simple"}) }, Pass, "", 0},
		{"unknown c", is(hop{ams: swap("c=relaxed/relaxed", "c=tight")}), Fail, "c=", 0},
		{"rsa-sha1", is(hop{alg: "rsa-sha1"}), Fail, "a=", 0},
		{"unknown a in the message signature", is(hop{ams: swap("a=rsa-sha256", "a=rsa-md5")}), Fail, "the message signature 1: a=", 0},
		{"no a in the message signature", is(hop{ams: swap("a=rsa-sha256; ", "")}), Fail, "a= is missing", 0},
		{"no d in the message signature", is(hop{ams: swap("d=b.example; ", "")}), Fail, "d= is missing", 0},
		{"no s in the message signature", is(hop{ams: swap("s=s;", "")}), Fail, "s= is missing", 0},
		{"no h in the message signature", is(hop{ams: swap("h=from:to:subject:date:message-id;", "")}), Fail, "h= is missing", 0},
		{"no bh in the message signature", is(hop{ams: func(s string) string {
			head, rest, _ := strings.Cut(s, "bh=")
			_, rest, _ = strings.Cut(rest, ";")
			return head + rest[len("\r\n\t"):]
		}}), Fail, "bh= is missing", 0},
		{"h without From", is(hop{h: "to:subject"}), Fail, "From", 0},
		{"h with ARC-Seal", second(hop{h: "from:arc-seal"}), Fail, "ARC-Seal", 0},
		{"h with other fields of the chain", second(hop{h: "from:arc-authentication-results:arc-message-signature"}), Pass, "", 0},
		{"h of too many names", is(hop{h: "from" + strings.Repeat(":x", 2000)}), Fail, "the message signature 1: ", 0},
		{"v is ignored", is(hop{ams: swap("i=1;", "i=1; v=7;")}), Pass, "", 0},
		{"unknown tags are ignored", is(hop{ams: swap("s=s;", "s=s; zz=1;"), as: swap("s=s;", "s=s; zz=1;")}), Pass, "", 0},
		{"expired", is(hop{ams: swap("t=1795867200;", "t=1795867200; x=1795867201;")}), Fail, "the message signature 1: ", 0},
		{"not expired yet", is(hop{ams: swap("t=1795867200;", "t=1795867200; x=1795957200;")}), Pass, "", 0},
		{"a part of the body", func(t *testing.T) *mail {
			m := letter().by(t, hop{ams: swap("h=from", "l=10; h=from"), bodyHashed: func(b string) string { return b[:10] }})
			m.body += "more\r\n"
			return m
		}, Fail, "l=", 0},
		{"a tag twice in the message signature", is(hop{ams: swap("s=s;", "s=s; s=s;")}), Fail, "s=", 0},
		{"empty tags in the message signature", is(hop{ams: swap("s=s;", "s=s;;")}), Fail, "the message signature 1: ", 0},
		{"b is no base64", after(1, func(m *mail) {
			m.edit("ARC-Message-Signature", 0, func(s string) string { return amsB.ReplaceAllString(s, "${1}%%%\r\n") })
		}), Fail, "the message signature 1: ", 0},
		{"the instance was changed in the message signature", after(2, func(m *mail) {
			m.edit("ARC-Message-Signature", 0, swap("i=2", "i=1"))
			m.edit("ARC-Message-Signature", 1, swap("i=1", "i=2"))
		}), Fail, "the message signature 2: ", 0},

		// Step 5: the oldest that passes.
		{"the first hop's is broken", func(t *testing.T) *mail {
			m := oneMore(t, 1)
			m.edit("Subject", 0, func(string) string { return "Subject: [list] an example\r\n" })
			return m.by(t, hop{domain: "c.example"}).by(t, hop{domain: "d.example"})
		}, Pass, "", 2},
		{"the second hop's is broken", func(t *testing.T) *mail {
			m := oneMore(t, 2)
			m.body = "-- a footer\r\n" + m.body
			return m.by(t, hop{domain: "c.example"})
		}, Pass, "", 3},
		{"an older one cannot be read", func(t *testing.T) *mail { return letter().by(t, hop{ams: swap("c=relaxed", "c=tight")}).by(t, hop{}) }, Pass, "", 2},
		{"the key of an older one is gone", func(t *testing.T) *mail { return letter().by(t, hop{ams: swap("s=s;", "s=gone;")}).by(t, hop{}) }, Pass, "", 2},
		{"the DNS fails for an older one", func(t *testing.T) *mail { return letter().by(t, hop{ams: swap("s=s;", "s=fails;")}).by(t, hop{}) }, Pass, "", 2},

		// Step 6: the seals.
		{"results were changed", after(2, func(m *mail) { m.edit("ARC-Authentication-Results", 1, swap("dkim=pass", "dkim=fail")) }), Fail, "the seal 2: ", 0},
		{"results of the first were changed, and sealed anew", func(t *testing.T) *mail {
			m := oneMore(t, 1)
			m.edit("ARC-Authentication-Results", 0, swap("dkim=pass", "dkim=fail"))
			return m.by(t, hop{domain: "c.example"})
		}, Fail, "the seal 1: ", 0},
		{"an older message signature was changed", after(2, func(m *mail) { m.edit("ARC-Message-Signature", 1, swap("t=1795867200", "t=1795867201")) }), Fail, "the seal 2: ", 0},
		{"an older seal was changed", after(2, func(m *mail) { m.edit("ARC-Seal", 1, swap("t=1795867200", "t=1795867201")) }), Fail, "the seal 2: ", 0},
		{"a set was taken from another chain", func(t *testing.T) *mail {
			m, other := oneMore(t, 2), letter()
			other.by(t, hop{results: "spf=fail"})
			for i := range 3 {
				m.fields[3+i] = other.fields[i]
			}
			return m
		}, Fail, "the seal 2: ", 0},
		{"a seal that leaves the older sets out", second(hop{scope: []int{2}}), Fail, "the seal 2: ", 0},
		{"a seal with h", is(hop{as: swap("s=s;", "s=s; h=from;")}), Fail, "h=", 0},
		{"a seal with bh, which means nothing", is(hop{as: swap("s=s;", "s=s; bh=x;")}), Pass, "", 0},
		{"a seal with c, which means nothing", is(hop{as: swap("s=s;", "s=s; c=simple;")}), Pass, "", 0},
		{"white space of a seal was changed", after(2, func(m *mail) { m.edit("ARC-Seal", 1, swap("; cv=none", ";\r\n \tcv=none")) }), Pass, "", 0},
		{"no a in the seal", is(hop{as: swap("a=rsa-sha256; ", "")}), Fail, "the seal 1: a= is missing", 0},
		{"unknown a in the seal", is(hop{as: swap("a=rsa-sha256", "a=rsa-md5")}), Fail, "the seal 1: a=", 0},
		{"no d in the seal", is(hop{as: swap("d=b.example; ", "")}), Fail, "d= is missing", 0},
		{"no s in the seal", is(hop{as: swap("s=s; ", "")}), Fail, "s= is missing", 0},
		{"no b in the seal", after(1, func(m *mail) {
			m.edit("ARC-Seal", 0, func(s string) string { return strings.TrimRight(amsB.ReplaceAllString(s, ""), ";\r\n") + "\r\n" })
		}), Fail, "b= is missing", 0},
		{"a tag twice in the seal", is(hop{as: swap("s=s;", "s=s; s=s;")}), Fail, "s= stands twice", 0},
		{"empty tags in the seal", is(hop{as: swap("s=s;", "s=s;;")}), Fail, "the seal 1: ", 0},
		{"what is no tag in the seal", is(hop{as: swap("s=s;", "s=s; hello;")}), Fail, "the seal 1: ", 0},
		{"b of the seal is no base64", after(1, func(m *mail) {
			m.edit("ARC-Seal", 0, func(s string) string { return amsB.ReplaceAllString(s, "${1}%%%\r\n") })
		}), Fail, "the seal 1: ", 0},
		{"other domains in seal and message signature", is(hop{ams: swap("d=b.example", "d=c.example")}), Pass, "", 0},

		// Keys and algorithms (RFC 6376 section 3.6, RFC 8301, RFC 8463).
		{"Ed25519", is(hop{alg: "ed25519-sha256", selector: "ed"}), Pass, "", 0},
		{"Ed25519 behind RSA", second(hop{alg: "ed25519-sha256", selector: "ed"}), Pass, "", 0},
		{"Ed25519 that was changed", func(t *testing.T) *mail {
			m := letter().by(t, hop{alg: "ed25519-sha256", selector: "ed"})
			m.edit("ARC-Authentication-Results", 0, swap("pass", "none"))
			return m
		}, Fail, "the seal 1: ", 0},
		{"the key of another algorithm", is(hop{selector: "ed"}), Fail, "the message signature 1: ", 0},
		{"another key", is(hop{selector: "other"}), Fail, "the message signature 1: ", 0},
		{"another key in the seal", is(hop{as: swap("s=s;", "s=other;")}), Fail, "the seal 1: ", 0},
		{"no key", is(hop{selector: "none"}), Fail, "the message signature 1: ", 0},
		{"no key for the seal", is(hop{as: swap("s=s;", "s=none;")}), Fail, "the seal 1: ", 0},
		{"a key that was revoked", is(hop{selector: "revoked"}), Fail, "the message signature 1: ", 0},
		{"a key that is none", is(hop{selector: "broken"}), Fail, "the message signature 1: ", 0},
		{"a key for SHA-1 only", is(hop{selector: "sha1"}), Fail, "the message signature 1: ", 0},
		{"a key for other services", is(hop{selector: "web"}), Fail, "the message signature 1: ", 0},
		{"d with a NUL", is(hop{ams: swap("d=b.example", "d=b.example.\x00.x"), as: swap("d=b.example", "d=b.example.\x00.x")}), Fail, "seal 1: ", 0},
		{"d that is no domain", is(hop{ams: swap("d=b.example", "d=b..example")}), Fail, "the message signature 1: ", 0},
		{"s with a quote", is(hop{ams: swap("s=s;", "s=\"s\";")}), Fail, "the message signature 1: ", 0},

		// Size.
		{"results of 10,000 octets", is(hop{results: strings.Repeat("x ", 5000)}), Pass, "", 0},
		{"results of 100,000 octets", is(hop{results: strings.Repeat("x ", 50_000)}), Fail, "ARC-Authentication-Results has more than 16384 octets", 0},
		{"a seal of 100,000 octets", is(hop{as: swap("s=s;", "s=s; zz="+strings.Repeat("x ", 50_000)+";")}), Fail, "ARC-Seal has more than 16384 octets", 0},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		if seen[tt.name] {
			t.Errorf("two cases are called %s", tt.name)
		}
		seen[tt.name] = true
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			m := tt.mail(t).text()
			r := verify(t, dns(t), m)
			if r.Status != tt.status || !strings.Contains(r.Reason, tt.why) || (r.Reason == "") != (tt.status != Fail) || r.OldestPass != tt.oldest || r.Temporary {
				t.Errorf("%s, %q, oldest pass %d, temporary %v; want %s, %q, %d\n%.4000s", r.Status, r.Reason, r.OldestPass, r.Temporary, tt.status, tt.why, tt.oldest, m)
			}
		})
	}
	if len(tests) < 60 {
		t.Errorf("there are %d cases", len(tests))
	}
}

// second51 is a chain of 50 sets with one more.
func second51(t *testing.T) *mail {
	m := oneMore(t, 50)
	return m.by(t, hop{i: 51, cv: "pass"})
}

// TestSets: what sealers say is told, from the oldest.
func TestSets(t *testing.T) {
	m := letter().by(t, hop{results: "spf=pass\r\n\t(really)"}).by(t, hop{domain: "C.example", selector: "s", ams: swap("d=C.example", "d=d.example")})
	r := verify(t, dns(t), m.text())
	want := []Set{
		{1, "b.example", "s", "rsa-sha256", "b.example", None, "b.example; spf=pass\t(really)"},
		{2, "c.example", "s", "rsa-sha256", "d.example", Pass, "C.example; spf=pass smtp.mailfrom=a@a.example;\tdkim=pass header.d=a.example"},
	}
	if r.Status != Pass || r.Instance != 2 || !slices.Equal(r.Sets, want) {
		t.Errorf("%+v, want the sets %+v", r, want)
	}
	if r := verify(t, dns(t), letter().by(t, hop{without: "AS"}).text()); r.Sets != nil {
		t.Errorf("sets %+v of a chain that is none", r.Sets)
	}
}

// TestQuestions: what the DNS is asked for, and that a failure of the DNS is no answer (RFC 8617 sections 5.2.1 and 9.2).
func TestQuestions(t *testing.T) {
	for _, tt := range []struct {
		name      string
		mail      func() *mail
		temporary bool
		asked     []string
	}{
		{"each key once", func() *mail { return letter().by(t, hop{}).by(t, hop{}).by(t, hop{domain: "c.example"}) }, false,
			[]string{"TXT s._domainkey.c.example", "TXT s._domainkey.b.example"}},
		{"nothing for a chain that is none", func() *mail { return oneMore(t, 1).by(t, hop{i: 3}) }, false, nil},
		{"nothing for another body", func() *mail { m := oneMore(t, 3); m.body = "x\r\n"; return m }, false, nil},
		{"nothing that is older than a failure", func() *mail {
			return letter().by(t, hop{}).by(t, hop{domain: "c.example"}).by(t, hop{domain: "b.example", selector: "other"})
		}, false, []string{"TXT other._domainkey.b.example"}},
		{"SERVFAIL", func() *mail { return letter().by(t, hop{selector: "fails"}) }, true, []string{"TXT fails._domainkey.b.example"}},
		{"silence", func() *mail { return letter().by(t, hop{as: swap("s=s;", "s=silent;")}) }, true, []string{"TXT s._domainkey.b.example", "TXT silent._domainkey.b.example"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, m := dns(t), text(tt.mail().text())
			v := &Verifier{Resolver: d, Now: func() time.Time { return now }}
			r, err := v.Verify(context.Background(), header(t, m), m)
			if err != nil || r.Temporary != tt.temporary || r.Temporary && r.Status != Fail || !slices.Equal(d.Asked(), tt.asked) {
				t.Errorf("%+v, %v, asked %q, want %q", r, err, d.Asked(), tt.asked)
			}
		})
	}
}

// TestTime: a chain whose time is over has failed, for now.
func TestTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m := text(oneMore(t, 2).text())
	r, err := (&Verifier{Resolver: dns(t), Now: func() time.Time { return now }}).Verify(ctx, header(t, m), m)
	if err != nil || r.Status != Fail || !r.Temporary {
		t.Errorf("%+v, %v", r, err)
	}
}
