package macro

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	known := []string{"user", "domain"}
	value := func(name string) string { return "<" + name + ">" }
	for _, tt := range []struct{ text, want, err string }{
		{"", "", ""},
		{"plain", "plain", ""},
		{"${domain}/${user}", "<domain>/<user>", ""},
		{"a$${user}$$b", "a${user}$b", ""},
		{"${user}${user}", "<user><user>", ""},
		{"$user", "", "a $ begins a name in braces, as ${user}"},
		{"a${user", "", "a $ begins a name in braces"},
		{"a$", "", "a $ begins a name in braces"},
		{"${}", "", "${} is not known"},
		{"${User}", "", "${User} is not known; there are ${user}, ${domain}"},
	} {
		text, err := Parse(tt.text, known)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.text, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
		} else if got := text.Expand(value); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.text, got, tt.want)
		}
	}
	begins, _ := Parse("${domain}-x", known)
	literal, _ := Parse("x-${domain}", known)
	if begins.Begins() != "domain" || literal.Begins() != "" || (Text{}).Begins() != "" {
		t.Error("with what a text begins")
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct{ local, delimiter, user, extension string }{
		{"joe", "+", "joe", ""},
		{"joe+a+b", "+", "joe", "a+b"},
		{"joe+", "+", "joe", ""},
		{"+joe", "+", "+joe", ""},
		{"joe+a", "", "joe+a", ""},
		{"joe-a", "-", "joe", "a"},
		{"", "+", "", ""},
	} {
		if user, extension := Split(tt.local, tt.delimiter); user != tt.user || extension != tt.extension {
			t.Errorf("%q by %q: %q and %q", tt.local, tt.delimiter, user, extension)
		}
	}
}

// FuzzParse: no text makes it fail otherwise than by an error, and what has no dollar sign stands for itself.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "${user}", "$", "$$", "a${domain}b$$", "${user", "${"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := Parse(s, []string{"user", "domain"})
		if err == nil && !strings.Contains(s, "$") && text.Expand(nil) != s {
			t.Errorf("%q became %q", s, text.Expand(nil))
		}
	})
}
