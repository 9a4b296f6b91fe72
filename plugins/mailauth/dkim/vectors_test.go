package dkim

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

func example(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rfcZone has the keys of the RFCs' examples, split as they are there.
func rfcZone(t testing.TB) *resolvetest.Resolver {
	return resolvetest.New(t, map[string][]string{
		"brisbane._domainkey.example.com":          {`TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ" "KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt" "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v" "/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi" "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"`},
		"brisbane._domainkey.football.example.com": {`TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`},
		"test._domainkey.football.example.com":     {`TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"`},
	})
}

// TestVectors: the signed messages of RFC 6376 appendix A.2, with the white space that was signed and not that of the RFC's pages, and of RFC
// 8463 appendix A.3.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		file string
		want []Checked
	}{
		{"rfc6376.eml", []Checked{{Result: Pass, Domain: "example.com", Selector: "brisbane", Identity: "joe@football.example.com", Algorithm: RSASHA256, B: "AuUoFEfD", KeyBits: 1024}}},
		{"rfc8463.eml", []Checked{
			{Result: Pass, Domain: "football.example.com", Selector: "brisbane", Identity: "@football.example.com", Algorithm: Ed25519SHA256, B: "/gCrinpc", KeyBits: 256},
			{Result: Pass, Domain: "football.example.com", Selector: "test", Identity: "@football.example.com", Algorithm: RSASHA256, B: "F45dVWDf", KeyBits: 1024},
		}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := check(t, Verifier{Resolver: rfcZone(t)}, example(t, tt.file))
			if len(r.Checked) != len(tt.want) || r.Untried != 0 || r.Result() != Pass {
				t.Fatalf("%+v", r)
			}
			for i, want := range tt.want {
				if r.Checked[i] != want {
					t.Errorf("got  %+v\nwant %+v", r.Checked[i], want)
				}
			}
			for _, edit := range []func(string) string{swap("hungry", "angry"), swap("dinner", "supper"), swap("Joe SixPack", "Joe Sixpack")} {
				for _, got := range check(t, Verifier{Resolver: rfcZone(t)}, edit(example(t, tt.file))).Checked {
					if got.Result != Fail {
						t.Errorf("changed: %+v", got)
					}
				}
			}
		})
	}
}

// TestKeysOfRFC: the private keys of RFC 8463 are those of its records, and make the very signature where one has no choice.
func TestKeysOfRFC(t *testing.T) {
	ed, err := ParsePrivateKey([]byte("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := record(t, ed), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r, err := ParsePrivateKey([]byte(example(t, "rfc8463.pem")))
	if err != nil {
		t.Fatal(err)
	}
	if got := record(t, r); !strings.HasSuffix(got, "Ip3G+2kryOTIKT+l/K4w3QIDAQAB") {
		t.Error(got)
	}
	text := example(t, "rfc8463.eml")
	_, fields, body := split(t, text)
	names := strings.Split("from:to:subject:date:message-id:from:subject:date", ":")
	at := time.Unix(1528637909, 0)
	values, err := Sign(context.Background(), fields, strings.NewReader(body),
		Signing{Domain: "football.example.com", Selector: "brisbane", Key: ed, Header: Relaxed, Body: Relaxed, Names: names, Time: at},
		Signing{Domain: "football.example.com", Selector: "test", Key: r, Header: Relaxed, Body: Relaxed, Names: names, Time: at})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range check(t, Verifier{Resolver: rfcZone(t)}, Field+": "+values[0]+"\r\n"+Field+": "+values[1]+"\r\n"+text).Checked {
		if got.Result != Pass {
			t.Errorf("%d: %+v", i, got)
		}
	}
}
