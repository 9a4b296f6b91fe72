package pattern

import (
	"slices"
	"strings"
	"testing"
)

func TestCompile(t *testing.T) {
	for _, tt := range []struct{ text, err string }{
		{"(?P<a>x)(y)", ""},
		{"(", "missing closing )"},
		{strings.Repeat("a", MaxText+1), "longer than 1024 bytes"},
		{"(abc){600}", "is too large"},
		{"a{1001}", "invalid repeat count"},
	} {
		p, err := Compile(tt.text)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%.50q: %v, want %q", tt.text, err, tt.err)
			}
		case err != nil:
			t.Error(err)
		default:
			if got := p.Names(); !slices.Equal(got, []string{"", "a", ""}) {
				t.Errorf("%q", got)
			}
			if got := p.Find("-xy-"); !slices.Equal(got, []int{1, 3, 1, 2, 2, 3}) {
				t.Errorf("%v", got)
			}
			if p.Find("ya") != nil || p.Steps(strings.Repeat("y", 10)) == 0 {
				t.Error("it matches, or costs nothing")
			}
			if long := strings.Repeat("y", maxWork/p.Size); p.Check(long) != nil || p.Check(long+"y") == nil {
				t.Error("the bound on the text is another one")
			}
		}
	}
}
