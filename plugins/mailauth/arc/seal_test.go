package arc

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

func privateKey(t testing.TB, key any) *dkim.PrivateKey {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := dkim.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealing is how d.example seals.
func sealing(t testing.TB, cv Status) Sealing {
	return Sealing{Domain: "d.example", Selector: "s", Key: privateKey(t, testKeys().rsa), CV: cv, Results: "d.example; spf=pass\r\n\tsmtp.mailfrom=a.example; arc=pass", Time: now}
}

// put gives the message with a set on top, as plugins add it.
func put(t testing.TB, m string, s *Sealed) string {
	t.Helper()
	h := header(t, text(m))
	for _, f := range [][2]string{{SealField, s.Seal}, {SignatureField, s.Signature}, {ResultsField, s.Results}} {
		if err := h.Add(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	prefix, skip := h.Result(nil)
	return string(prefix) + m[skip:]
}

// TestSealer is section 5.1 of RFC 8617.
func TestSealer(t *testing.T) {
	failing := func(t *testing.T) *mail {
		m := oneMore(t, 2)
		m.body += "more\r\n"
		return m
	}
	changed := func(m *mail) *mail {
		m.edit("Subject", 0, func(string) string { return "Subject: [list] an example\r\n" })
		m.body += "-- \r\na footer\r\n"
		return m
	}
	for _, tt := range []struct {
		name     string
		mail     *mail
		sealing  func(s *Sealing)
		cv       Status // that came of the validation
		instance int    // 0: there must be no set
		sealed   Status
		then     Status // what the next one finds
		why      string // of a failure
		oldest   int
	}{
		{name: "the first set", mail: letter(), cv: None, instance: 1, sealed: None, then: Pass},
		{name: "the first, of what was never verified", mail: letter(), instance: 1, sealed: None, then: Pass},
		{name: "the first, where somebody took the chain away", mail: letter(), cv: Pass, instance: 1, sealed: None, then: Pass},
		{name: "the second", mail: oneMore(t, 1), cv: Pass, instance: 2, sealed: Pass, then: Pass},
		{name: "the fiftieth", mail: oneMore(t, 49), cv: Pass, instance: 50, sealed: Pass, then: Pass},
		{name: "none behind 50", mail: oneMore(t, 50), cv: Pass},
		{name: "after a change of subject and body", mail: changed(oneMore(t, 2)), cv: Pass, instance: 3, sealed: Pass, then: Pass, oldest: 3},
		{name: "a chain that failed", mail: failing(t), cv: Fail, instance: 3, sealed: Fail, then: Fail, why: "it was sealed as failed by d.example"},
		{name: "none behind one that was sealed as failed", mail: oneMore(t, 1).by(t, hop{cv: "fail", scope: []int{2}}), cv: Fail},
		{name: "a gap, whatever was found", mail: oneMore(t, 1).by(t, hop{i: 3}), cv: Pass, instance: 4, sealed: Fail, then: Fail, why: "it was sealed as failed by d.example"},
		{name: "two of an instance", mail: func() *mail { m := oneMore(t, 2); m.top(m.fields[0]); return m }(), cv: Pass, instance: 3, sealed: Fail, then: Fail, why: "sealed as failed"},
		{name: "a set without results", mail: oneMore(t, 1).by(t, hop{without: "AAR", i: 2}), cv: Fail, instance: 3, sealed: Fail, then: Fail, why: "sealed as failed"},
		{name: "an instance that is none", mail: letter().by(t, hop{i: "x"}), cv: Fail, instance: 1, sealed: Fail, then: Fail, why: "sealed as failed"},
		{name: "one of 99", mail: letter().by(t, hop{i: 99}), cv: Fail, instance: 1, sealed: Fail, then: Fail, why: "sealed as failed"},
		{name: "with Ed25519", mail: oneMore(t, 1), cv: Pass, sealing: func(s *Sealing) {
			s.Key, s.Domain, s.Selector = privateKey(t, testKeys().ed), "b.example", "ed"
		}, instance: 2, sealed: Pass, then: Pass},
		{name: "long results", mail: letter(), sealing: func(s *Sealing) {
			s.Results = "d.example; " + strings.Repeat("dkim=fail reason=\"what there is to say\" header.d=a.example;\r\n ", 100)
		}, instance: 1, sealed: None, then: Pass},
		{name: "results in UTF-8", mail: letter(), sealing: func(s *Sealing) { s.Results = "d.example; spf=pass smtp.mailfrom=é@a.example" }, instance: 1, sealed: None, then: Pass},
		{name: "without a body", mail: &mail{fields: letter().fields}, instance: 1, sealed: None, then: Pass},
		{name: "without From", mail: &mail{fields: []string{"Subject: x\r\n"}, body: "x\r\n"}},
		{name: "with a line that is no field", mail: &mail{fields: []string{"From: a@a.example\r\n", "hello there\r\n"}, body: "x\r\n"}},
		{name: "many fields of a name", mail: func() *mail {
			m := letter()
			for i := range 500 {
				m.top(fmt.Sprintf("DKIM-Signature: v=1; s=s%d\r\n", i))
			}
			return m
		}(), instance: 1, sealed: None, then: Pass},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			m := tt.mail.text()
			s := sealing(t, tt.cv)
			if tt.sealing != nil {
				tt.sealing(&s)
			}
			out, err := Seal(context.Background(), header(t, text(m)), text(m), s)
			if err != nil {
				t.Fatal(err)
			}
			disk, err := Seal(context.Background(), header(t, onDisk{text(m)}), onDisk{text(m)}, s)
			if err != nil || fmt.Sprint(disk) != fmt.Sprint(out) {
				t.Errorf("from the disk it is %+v, %v", disk, err)
			}
			if tt.instance == 0 {
				if out != nil {
					t.Fatalf("there is a set: %+v", out)
				}
				return
			}
			if out == nil || out.Instance != tt.instance || out.CV != tt.sealed {
				t.Fatalf("%+v, want %d, cv=%s", out, tt.instance, tt.sealed)
			}
			for _, value := range []string{out.Seal, out.Signature, out.Results} {
				for line := range strings.SplitSeq(value, "\r\n") {
					if len(line) > softLine {
						t.Errorf("a line of %d octets: %s", len(line), line)
					}
				}
				if !strings.HasPrefix(value, fmt.Sprintf("i=%d; ", tt.instance)) {
					t.Errorf("it begins otherwise: %s", value)
				}
			}
			if r := verify(t, dns(t), put(t, m, out)); r.Status != tt.then || !strings.Contains(r.Reason, tt.why) || r.OldestPass != tt.oldest {
				t.Errorf("the next one finds %+v, want %s, oldest pass %d", r, tt.then, tt.oldest)
			}
		})
	}
}

// TestCovered: what a message signature covers, and what not (RFC 8617 section 4.1.2).
func TestCovered(t *testing.T) {
	m := oneMore(t, 1)
	m.top("Authentication-Results: d.example; spf=pass\r\n")
	m.top("DKIM-Signature: v=1; d=a.example\r\n")
	m.top("DKIM-Signature: v=1; d=b.example\r\n")
	s := sealing(t, Pass)
	out, err := Seal(context.Background(), header(t, text(m.text())), text(m.text()), s)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := dkim.ParseTags(out.Signature)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := tags.Signature()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"from", "from", "subject", "date", "message-id", "to", "dkim-signature", "dkim-signature"}; !slices.Equal(sig.Names, want) {
		t.Errorf("h= is %q, want %q", sig.Names, want)
	}
	sealed := put(t, m.text(), out)
	for _, tt := range []struct{ old, new, why string }{
		{"Authentication-Results: d.example; spf=pass", "Authentication-Results: d.example; none", ""},
		{"Received: from a.example", "Received: from b.example", ""},
		{"DKIM-Signature: v=1; d=a.example", "DKIM-Signature: v=1; d=c.example", "the message signature 2: "},
		{"From: A <a@a.example>", "From: B <a@a.example>", "the message signature 2: "},
		{"From: A <a@a.example>", "From: B <a@a.example>\r\nFrom: A <a@a.example>", "the message signature 2: "},
		{"Subject: an", "Subject: another", "the message signature 2: "},
		{"ARC-Authentication-Results: i=2; d.example; spf=pass", "ARC-Authentication-Results: i=2; d.example; spf=fail", "the seal 2: "},
		{"ARC-Authentication-Results: i=1; b.example; spf=pass", "ARC-Authentication-Results: i=1; b.example; spf=fail", "the seal 2: "},
	} {
		changed := strings.Replace(sealed, "\r\n"+tt.old, "\r\n"+tt.new, 1)
		if changed == sealed {
			changed = strings.Replace(sealed, tt.old, tt.new, 1)
		}
		if r := verify(t, dns(t), changed); changed == sealed || (r.Status == Pass) != (tt.why == "") || !strings.HasPrefix(r.Reason, tt.why) {
			t.Errorf("%s: %+v, want %q", tt.new, r, tt.why)
		}
	}
}

// TestFailedAlone: a seal with cv=fail signs its own set and nothing else (RFC 8617 section 5.1.2).
func TestFailedAlone(t *testing.T) {
	m := oneMore(t, 2)
	m.body += "more\r\n"
	out, err := Seal(context.Background(), header(t, text(m.text())), text(m.text()), sealing(t, Fail))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.Seal, "i=3;") || !strings.Contains(out.Seal, "cv=fail;") {
		t.Errorf("the seal is %s", out.Seal)
	}
	tags, err := dkim.ParseTags(out.Seal)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := tags.Get("b")
	signature, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(b), ""))
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(out.Seal, "\tb=")
	signed := canonField("ARC-Authentication-Results: "+out.Results+"\r\n", "relaxed") + canonField("ARC-Message-Signature: "+out.Signature+"\r\n", "relaxed") +
		strings.TrimSuffix(canonField("ARC-Seal: "+head+"\tb=\r\n", "relaxed"), "\r\n")
	sum := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPKCS1v15(&testKeys().rsa.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Errorf("%v: it is not of its own set alone", err)
	}
}

// TestNotSealed: what nobody could verify is not made.
func TestNotSealed(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name   string
		mail   string
		change func(s *Sealing)
		ctx    context.Context
		err    string
	}{
		{name: "nobody says what came of the chain", mail: oneMore(t, 1).text(), change: func(s *Sealing) { s.CV = "" }, err: "cv must say what its validation came to"},
		{name: "there was none, it is said, and there is one", mail: oneMore(t, 1).text(), change: func(s *Sealing) { s.CV = None }, err: "cv must say"},
		{name: "no results", mail: letter().text(), change: func(s *Sealing) { s.Results = " \r\n\t" }, err: "no authentication results"},
		{name: "a control character", mail: letter().text(), change: func(s *Sealing) { s.Results = "d.example; spf=\x00" }, err: "a control character"},
		{name: "a line end that folds nothing", mail: letter().text(), change: func(s *Sealing) { s.Results = "d.example; none\r\nSubject: x" }, err: ""},
		{name: "too much", mail: letter().text(), change: func(s *Sealing) { s.Results = strings.Repeat("x ", maxField) }, err: "12288 are the most"},
		{name: "a domain that is none", mail: letter().text(), change: func(s *Sealing) { s.Domain = "d..example" }, err: "d="},
		{name: "a domain with a tag in it", mail: letter().text(), change: func(s *Sealing) { s.Domain = "d.example; h=from" }, err: "d.example; h=from"},
		{name: "a selector that is none", mail: letter().text(), change: func(s *Sealing) { s.Selector = "a b" }, err: "s="},
		{name: "no key", mail: letter().text(), change: func(s *Sealing) { s.Key = nil }, err: "there is no key"},
		{name: "no time", mail: letter().text(), ctx: over, err: "no time left"},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			s := sealing(t, Pass)
			if tt.change != nil {
				tt.change(&s)
			}
			if tt.ctx == nil {
				tt.ctx = context.Background()
			}
			out, err := Seal(tt.ctx, header(t, text(tt.mail)), text(tt.mail), s)
			if tt.err == "" {
				if err != nil || strings.Contains(out.Results, "\n") {
					t.Errorf("%+v, %v: a line end was let through", out, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v, %v, want %q", out, err, tt.err)
			}
		})
	}
}

// TestStreaming: a body of any length takes the same memory, and is read once.
func TestStreaming(t *testing.T) {
	const size = 16 << 20
	c := &long{head: strings.Join(letter().fields, "") + "\r\n", size: size}
	h := header(t, c)
	c.read = 0
	allocated := testing.AllocsPerRun(1, func() {
		if _, err := Seal(context.Background(), h, c, sealing(t, None)); err != nil {
			t.Error(err)
		}
	})
	if runs := int64(2); c.read > runs*(size+1<<10) {
		t.Errorf("%d bytes were read", c.read)
	}
	if allocated > 5000 {
		t.Errorf("%.0f allocations", allocated)
	}
}

// long is a content that is not in memory.
type long struct {
	head string
	size int64
	read int64
}

func (l *long) Size() int64   { return int64(len(l.head)) + l.size }
func (l *long) Bytes() []byte { return nil }
func (l *long) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(l.head)) {
		n = copy(p, l.head[off:])
	}
	for ; n < len(p) && off+int64(n) < l.Size(); n++ {
		p[n] = "line of text\r\n"[(off+int64(n))%14]
	}
	l.read += int64(n)
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

var _ message.Content = (*long)(nil)

// FuzzVerify: no message makes the validation fail otherwise than by its result, none passes that has no seal, and what passes can be
// sealed and passes again.
func FuzzVerify(f *testing.F) {
	f.Add("ARC-Seal: i=1; cv=none\r\nARC-Message-Signature: (c) i (c) = 1 ;\r\nARC-Authentication-Results: i=1;\r\n\r\n")
	f.Add(letter().text())
	key, err := dkim.ParsePrivateKey([]byte("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")) // of RFC 8463, by which the chains of the corpus are sealed, too
	if err != nil {
		f.Fatal(err)
	}
	rec, err := key.Record()
	if err != nil {
		f.Fatal(err)
	}
	d := resolvetest.New(f, map[string][]string{"s._domainkey.b.example": {zone(rec)}, "s._domainkey.d.example": {zone(rec)}})
	f.Fuzz(func(t *testing.T, m string) {
		c := text(m)
		h, err := message.ReadHeader(c, message.DefaultHeaderLimits)
		if err != nil {
			return
		}
		v := &Verifier{Resolver: d, Now: func() time.Time { return now }}
		r, err := v.Verify(context.Background(), h, c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status == Pass && (h.Count(SealField) == 0 || len(r.Sets) != r.Instance) {
			t.Fatalf("%+v", r)
		}
		s := Sealing{Domain: "d.example", Selector: "s", Key: key, CV: r.Status, Results: "d.example; none", Time: now}
		out, err := Seal(context.Background(), h, c, s)
		if out == nil || err != nil {
			return
		}
		if r.Status == Fail && out.CV != Fail || r.Status == None && out.CV != None {
			t.Fatalf("%s is sealed as %s", r.Status, out.CV)
		}
		if next := verify(t, d, put(t, m, out)); (next.Status == Pass) != (r.Status != Fail) {
			t.Fatalf("%+v, and then %+v", r, next)
		}
	})
}
