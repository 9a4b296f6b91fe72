package tlsrpt

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	const none = "none"
	for _, c := range []struct {
		texts string // one a line
		want  string // destinations, or a part of the error, or none
		fails bool
	}{
		{texts: "v=TLSRPTv1; rua=mailto:r@x.test", want: "mailto:r@x.test"},
		{texts: "v=TLSRPTv1;rua=mailto:r@x.test;", want: "mailto:r@x.test"},
		{texts: "v=TLSRPTv1 ; rua=mailto:r@x.test , https://r.x.test/v1 ; ext=1", want: "mailto:r@x.test https://r.x.test/v1"},
		{texts: "v=spf1 -all\nv=TLSRPTv1; rua=HTTPS://r.x.test", want: "HTTPS://r.x.test"},
		{texts: "", want: none},
		{texts: "v=spf1 -all", want: none},
		{texts: "v=tlsrptv1; rua=mailto:r@x.test", want: none},
		{texts: "v=TLSRPTv10; rua=mailto:r@x.test", want: none},
		{texts: "v=TLSRPTv1", want: none},
		{texts: " v=TLSRPTv1; rua=mailto:r@x.test", want: none},
		{texts: "v=TLSRPTv1; rua=mailto:r@x.test\nv=TLSRPTv1; rua=mailto:s@x.test", want: "several", fails: true},
		{texts: "v=TLSRPTv1;", want: "no rua", fails: true},
		{texts: "v=TLSRPTv1; rua=", want: `""`, fails: true},
		{texts: "v=TLSRPTv1; rua=r@x.test", want: `"r@x.test"`, fails: true},
		{texts: "v=TLSRPTv1; rua=mailto:r@x.test,", want: `""`, fails: true},
		{texts: "v=TLSRPTv1; rua=http://x.test", want: "http://x.test", fails: true},
		{texts: "v=TLSRPTv1; rua=https:x.test", want: "https:x.test", fails: true},
		{texts: "v=TLSRPTv1; rua=mailto:r@x.test!10m", want: "!10m", fails: true},
		{texts: "v=TLSRPTv1; rua=mailto:r@x.test; rua=mailto:s@x.test", want: "twice", fails: true},
		{texts: "v=TLSRPTv1; reports", want: `"reports"`, fails: true},
		{texts: "v=TLSRPTv1; rua=" + strings.Repeat("mailto:r@x.test,", maxDestinations) + "mailto:s@x.test", want: "more than 20", fails: true},
		{texts: "v=TLSRPTv1; " + strings.Repeat("x", 1000), want: strings.Repeat("x", 60) + "...", fails: true},
	} {
		got, err := ParseRecord(strings.Split(c.texts, "\n"))
		switch {
		case c.want == none:
			if !errors.Is(err, ErrNoRecord) {
				t.Errorf("%q: got %q, %v, want none", c.texts, got, err)
			}
		case c.fails:
			if err == nil || errors.Is(err, ErrNoRecord) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: got %q, %v, want an error with %q", c.texts, got, err, c.want)
			}
		case err != nil || strings.Join(got, " ") != c.want:
			t.Errorf("%q: got %q, %v, want %q", c.texts, got, err, c.want)
		}
	}
}

// FuzzParseRecord: a record has destinations or an error, and never both or more than may be.
func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{"v=TLSRPTv1; rua=mailto:r@x.test, https://r.x.test/v1", "v=TLSRPTv1;;;=;rua", "v=TLSRPTv1; a=b; rua=mailto:%2C@x\nv=spf1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, texts string) {
		got, err := ParseRecord(strings.Split(texts, "\n"))
		if (err == nil) != (len(got) > 0) || len(got) > maxDestinations {
			t.Fatalf("%q: %q, %v", texts, got, err)
		}
		for _, uri := range got {
			if strings.ContainsAny(uri, " ,;!\x00") {
				t.Fatalf("%q: the destination %q", texts, uri)
			}
		}
	})
}
