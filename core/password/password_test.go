package password

import (
	"strings"
	"testing"
)

// What other programs made: the RFCs' examples, and texts by Dovecot and by the reference programs.
const (
	ofRFC7677  = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	ofArgon2   = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	ofBcrypt   = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga"
	ofDovecot  = "$argon2id$v=19$m=65536,t=3,p=1$It4b1lgujZkKnvUH+dFmOg$41dr2eUGmxPW6U2DxByrVb4kS2W54fKAinQ2/nlRTCQ"
	ofDovecot2 = "$2y$05$u1094ayukmaQRV.l97jX7Otv.PtF3qhW0F/hOgCxc4wFkxGskTDdu"
)

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		hash, scheme, right string
	}{
		{ofRFC7677, SCRAM, "pencil"},
		{ofArgon2, Argon2id, "password"},
		{ofBcrypt, Bcrypt, "allmine"},
		{strings.Replace(ofBcrypt, "$2a", "$2b", 1), Bcrypt, "allmine"},
		{strings.Replace(ofBcrypt, "$2a", "$2y", 1), Bcrypt, "allmine"},
		{ofDovecot, Argon2id, "pencil é"},
		{ofDovecot2, Bcrypt, "pencil é"},
	} {
		h, err := Parse(tt.hash)
		if err != nil {
			t.Errorf("%s: %v", tt.hash, err)
			continue
		}
		if h.Scheme != tt.scheme || h.Threads < 1 || (h.Keys != nil) != (tt.scheme == SCRAM) {
			t.Errorf("%s: %+v", tt.hash, h)
		}
		if !h.Verify(tt.right) {
			t.Errorf("%s: %q is wrong", tt.hash, tt.right)
		}
		for _, wrong := range []string{"", tt.right + "x", tt.right[1:], strings.ToUpper(tt.right), tt.right + strings.Repeat("x", MaxPassword), "\xff"} {
			if h.Verify(wrong) {
				t.Errorf("%s: %q is right", tt.hash, wrong)
			}
		}
	}
}

// TestLong: a password that is too long is wrong also where the scheme looks at its beginning only.
func TestLong(t *testing.T) {
	h, err := Parse(ofBcrypt[:7] + "XajjQvNhvvRt5GSeFk1xFe" + strings.Repeat("a", 31))
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	h.matches = func(p string) bool { seen = p; return true }
	if h.Verify(strings.Repeat("a", MaxPassword+1)) || len(seen) != MaxPassword {
		t.Errorf("it is right, after a look at %d bytes", len(seen))
	}
	if !h.Verify(strings.Repeat("a", MaxPassword)) {
		t.Error("the longest is too long")
	}
}

// TestNew: what is made is found, in any form in which the same characters come.
func TestNew(t *testing.T) {
	const composed, apart = "caf\u00e9 \u2168", "cafe\u0301\u00a0IX"
	for _, scram := range []bool{false, true} {
		one, err := New(composed, scram)
		if err != nil {
			t.Fatal(err)
		}
		two, err := New(composed, scram)
		if err != nil || one == two {
			t.Errorf("two of one password are alike, or %v", err)
		}
		h, err := Parse(one)
		if err != nil {
			t.Fatal(err)
		}
		if !h.Verify(composed) || !h.Verify(apart) || h.Verify("cafe IX") {
			t.Errorf("%s does not know its password", one)
		}
		if (h.Scheme == SCRAM) != scram {
			t.Errorf("scheme %s", h.Scheme)
		}
	}
	if _, err := New("\x00", false); err == nil {
		t.Error("a password with a control character was taken")
	}
}

// TestAsItCame: where preparing changes a password, one of which the bytes were hashed is found as well.
func TestAsItCame(t *testing.T) {
	const raw = "cafe\u0301"
	salt := []byte("0123456789abcdef")
	h, err := Parse(newArgon2id(raw, salt))
	if err != nil || !h.Verify(raw) || h.Verify("caf\u00e9") {
		t.Errorf("the bytes as they came are not found, %v", err)
	}
	h, err = Parse(newKeys("\xff\x01", salt, minIterations).String()) // SASLprep refuses it
	if err != nil || !h.Verify("\xff\x01") {
		t.Errorf("what cannot be prepared is not found, %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ password, want string }{
		{"pencil", ""},
		{"two words", ""},
		{"grüße", ""},
		{strings.Repeat("x", MaxPassword), ""},
		{strings.Repeat("x", MaxPassword+1), "longer than"},
		{"", "is empty"},
		{"\u00ad", "is empty"}, // a soft hyphen is mapped to nothing
		{"a\x00b", "a log-in cannot carry"},
		{"a\nb", "a log-in cannot carry"},
		{"a\u202eb", "a log-in cannot carry"},
		{"\xff", "a log-in cannot carry"},
	} {
		err := Check(tt.password)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.password, err, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	swap := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("there is no %q in %q", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	for _, tt := range []struct{ hash, want string }{
		{"", "it names no scheme"},
		{"s3cret", "it names no scheme"},
		{"$6$salt$hash", "the scheme $6$ is not known"},
		{"$2x$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga", "the scheme $2x$ is not known"},
		{"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFh", "the scheme $argon2i$ is not known"},
		{"{SSHA256}s3cret", "the scheme {SSHA256} is not known"},
		{"{ARGON2ID}" + ofArgon2, "the scheme {ARGON2ID} is not known"},
		{"{PLAIN}s3cret", "the scheme {PLAIN} is not known"},
		{"SCRAM-SHA-1$4096:s3cret", "the scheme SCRAM-SHA-1$ is not known"},
		{strings.Repeat("s3cret", 100), "longer than 512 bytes"},

		{swap(ofArgon2, "v=19", "v=16"), "version is 16"},
		{swap(ofArgon2, "v=19$", ""), "does not have the form"},
		{swap(ofArgon2, "m=65536", "m=131073"), "m is 131073"},
		{swap(ofArgon2, "m=65536", "m=7"), "m is 7 (KiB); it may be 8"},
		{swap(ofArgon2, "m=65536", "m=9999999999"), "m is 9999999999"},
		{swap(ofArgon2, "t=2", "t=17"), "t is 17; with m=65536 it may be 1 to 16"},
		{swap(ofArgon2, "t=2", "t=0"), "t is 0"},
		{swap(ofArgon2, "p=1", "p=0"), "p is 0"},
		{swap(ofArgon2, "p=1", "p=17"), "p is 17"},
		{swap(ofArgon2, "c29tZXNhbHQ", "c29t"), "the salt is not"},
		{swap(ofArgon2, "c29tZXNhbHQ", "c29tc"), "the salt is not"},
		{swap(ofArgon2, "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFhFdXP"), "the hash is not"},
		{ofArgon2 + "$", "does not have the form"},
		{ofArgon2 + "\n", "does not have the form"},

		{swap(ofBcrypt, "$10$", "$15$"), "the cost is 15"},
		{swap(ofBcrypt, "$10$", "$03$"), "the cost is 3"},
		{ofBcrypt + "a", "does not have the form"},

		{swap(ofRFC7677, "$4096", "$4095"), "4095 iterations"},
		{swap(ofRFC7677, "$4096", "$1000001"), "1000001 iterations"},
		{swap(ofRFC7677, "W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z"), "the salt is not"},
		{swap(ofRFC7677, "W22ZaJ0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6gQ"), "the salt is not"},
		{swap(ofRFC7677, ":wfPL", ":wfPLwfPL"), "a key is not 32 bytes"},
		{swap(ofRFC7677, "$WG5d", "$"), "a key is not 32 bytes"},
		{swap(ofRFC7677, ":wfPL", ""), "does not have the form"},
	} {
		_, err := Parse(tt.hash)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.hash, err, tt.want)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "CTFh") {
			t.Errorf("%q: the error %q tells what it should not", tt.hash, err)
		}
	}
}

// FuzzParse: nothing but what Parse describes is taken, and keys come back as they were written.
func FuzzParse(f *testing.F) {
	for _, text := range []string{ofRFC7677, ofArgon2, ofBcrypt, ofDovecot, "{PLAIN}x", "$1$", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			return
		}
		if h.Memory > MaxMemory || h.Threads < 1 || h.Threads > maxThreads || len(text) > maxHash {
			t.Fatalf("%q: %+v", text, h)
		}
		if h.Keys == nil {
			return
		}
		again, err := ParseKeys(h.Keys.String())
		if err != nil || again.String() != h.Keys.String() || again.Iterations < minIterations || again.Iterations > maxIterations {
			t.Fatalf("%q: %v, %v", text, again, err)
		}
	})
}

// Costs, for those who choose them.
func BenchmarkVerify(b *testing.B) {
	salt := []byte("0123456789abcdef")
	for _, tt := range []struct{ name, hash string }{
		{"argon2id new", newArgon2id("pencil", salt)},
		{"argon2id 64 MiB", ofArgon2},
		{"scram new", newKeys("pencil", salt, newIterations).String()},
		{"bcrypt 10", ofBcrypt},
	} {
		h, err := Parse(tt.hash)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				h.Verify("wrong")
			}
		})
	}
}
