package esmtp

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func mailParams(t testing.TB, text string) smtp.Params {
	t.Helper()
	_, params, err := smtp.ParseMail("FROM:<>" + text)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

func rcptParams(t testing.TB, text string) smtp.Params {
	t.Helper()
	_, params, err := smtp.ParseRcpt("TO:<a@b>"+text, true)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

func TestParseMail(t *testing.T) {
	from := func(s string) *smtp.Address {
		a, err := smtp.ParseUTF8Address(s)
		if err != nil {
			t.Fatal(err)
		}
		return &a
	}
	for text, want := range map[string]Mail{
		"":                                   {},
		" FOO=BAR":                           {},
		" SIZE=0":                            {},
		" SIZE=1000":                         {Size: 1000},
		" SIZE=9223372036854775808":          {Size: math.MaxInt64},
		" SIZE=99999999999999999999":         {Size: math.MaxInt64},
		" SIZE=00000000000000000007":         {Size: 7},
		" BODY=7BIT":                         {Body: Body7Bit},
		" BODY=8bitmime":                     {Body: Body8Bit},
		" BODY=BinaryMIME":                   {Body: BodyBinary},
		" SMTPUTF8 REQUIRETLS":               {UTF8: true, RequireTLS: true},
		" RET=hdrs ENVID=a+2Bb+3d+20c":       {Return: Headers, EnvelopeID: "a+b= c"},
		" RET=FULL":                          {Return: Full},
		" ENVID=" + strings.Repeat("x", 100): {EnvelopeID: strings.Repeat("x", 100)},
		" AUTH=<>":                           {Auth: &smtp.Address{}},
		" AUTH=e+3Dmc2@example.com":          {Auth: from("e=mc2@example.com")},
		" AUTH=+C3+A9@example.com SMTPUTF8":  {Auth: from("\u00e9@example.com"), UTF8: true},
		" HOLDFOR=1":                         {NotBefore: noon.Add(time.Second)},
		" HOLDFOR=604800":                    {NotBefore: noon.Add(MaxHold)},
		" HOLDUNTIL=2026-02-01T00:00:00Z":    {NotBefore: noon.Add(12 * time.Hour)},
		" BY=60;R":                           {By: By{At: noon.Add(time.Minute), Return: true}},
		" BY=+120;rt":                        {By: By{At: noon.Add(2 * time.Minute), Return: true, Trace: true}},
		" BY=0;N":                            {By: By{At: noon}},
		" BY=-5;NT":                          {By: By{At: noon.Add(-5 * time.Second), Trace: true}},
		" BY=120;R HOLDFOR=60":               {By: By{At: noon.Add(2 * time.Minute), Return: true}, NotBefore: noon.Add(time.Minute)},
		" BY=60;N HOLDFOR=600":               {By: By{At: noon.Add(time.Minute)}, NotBefore: noon.Add(10 * time.Minute)},
		" MT-PRIORITY=-9":                    {Priority: -9},
		" MT-PRIORITY=9":                     {Priority: 9},
	} {
		if m, err := ParseMail(mailParams(t, text), noon); err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("%s: got %+v, %v, want %+v", text, m, err, want)
		}
	}
	for text, want := range map[string]string{
		" SIZE=999999999999999999999":           "syntax error in SIZE",
		" SIZE=-1":                              "syntax error in SIZE",
		" SIZE=+1":                              "syntax error in SIZE",
		" SIZE":                                 "syntax error in SIZE",
		" BODY=BINARY":                          "BODY must be 7BIT, 8BITMIME or BINARYMIME",
		" BODY":                                 "BODY must be 7BIT, 8BITMIME or BINARYMIME",
		" SMTPUTF8=1":                           "SMTPUTF8 takes no value",
		" REQUIRETLS=yes":                       "REQUIRETLS takes no value",
		" RET=ALL":                              "RET must be FULL or HDRS",
		" ENVID=+0A":                            "ENVID stands for a control character",
		" ENVID=+00":                            "ENVID stands for a control character",
		" ENVID=a+7F":                           "ENVID stands for a control character",
		" ENVID=+C3+A9":                         "ENVID stands for characters that are not printable ASCII",
		" ENVID=a+":                             "in ENVID a \"+\" is not followed by two hexadecimal digits",
		" ENVID=a+0":                            "in ENVID a \"+\" is not followed by two hexadecimal digits",
		" ENVID=a+xy":                           "in ENVID a \"+\" is not followed by two hexadecimal digits",
		" ENVID":                                "ENVID must have 1 to 100 characters",
		" ENVID=" + strings.Repeat("x", 10_000): "ENVID must have 1 to 100 characters",
		" AUTH=x+0Aevil":                        "AUTH stands for a control character",
		" AUTH=x":                               "AUTH is neither <> nor an address",
		" AUTH=+C3+A9@example.com":              "AUTH is neither <> nor an address",
		" HOLDFOR=0":                            "HOLDFOR must be a number of seconds from 1 to 999999999",
		" HOLDFOR=1x":                           "HOLDFOR must be a number of seconds from 1 to 999999999",
		" HOLDFOR=604801":                       "a message may be held for 604800 seconds",
		" HOLDUNTIL=2026-01-31T12:00:00Z":       "HOLDUNTIL is over",
		" HOLDUNTIL=2027-01-31T12:00:00Z":       "a message may be held for 604800 seconds",
		" HOLDUNTIL=tomorrow":                   "HOLDUNTIL must be a time such as 2026-01-31T08:00:00Z",
		" HOLDFOR=1 HOLDUNTIL=2026-02-01T00:00:00Z": "HOLDFOR and HOLDUNTIL do not go together",
		" BY=59;R":            "BY with R must be at least 60 seconds",
		" BY=-60;R":           "BY with R must be at least 60 seconds",
		" BY=60":              "BY must be a number of seconds, \";\", R or N, and perhaps T",
		" BY=60;T":            "BY must be a number of seconds, \";\", R or N, and perhaps T",
		" BY=+-1;N":           "BY must be a number of seconds, \";\", R or N, and perhaps T",
		" BY=;N":              "BY must be a number of seconds, \";\", R or N, and perhaps T",
		" BY=9999999999;N":    "BY must be a number of seconds, \";\", R or N, and perhaps T",
		" BY=60;R HOLDFOR=60": "the message is to be held until it is too late to deliver it",
		" MT-PRIORITY=10":     "MT-PRIORITY must be a number from -9 to 9",
		" MT-PRIORITY=-0":     "MT-PRIORITY must be a number from -9 to 9",
		" MT-PRIORITY=+1":     "MT-PRIORITY must be a number from -9 to 9",
		" MT-PRIORITY":        "MT-PRIORITY must be a number from -9 to 9",
	} {
		if _, err := ParseMail(mailParams(t, text), noon); fmt.Sprint(err) != "501 5.5.4 "+want {
			t.Errorf("%.40s: got %v, want %s", text, err, want)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	for text, want := range map[string]Rcpt{
		"":                                {},
		" NOTIFY=never":                   {Notify: Never},
		" NOTIFY=SUCCESS,failure,DELAY":   {Notify: Success | Failure | Delay},
		" ORCPT=rfc822;a+2Bb@example.org": {Original: Recipient{"rfc822", "a+b@example.org"}},
		" ORCPT=X400;c+3Dde":              {Original: Recipient{"x400", "c=de"}},
		" ORCPT=utf-8;\\x{E9}+x":          {},
		" ORCPT=UTF-8;\\x{E9}\\x{2B}@x":   {Original: Recipient{"utf-8", "\u00e9+@x"}},
		" ORCPT=utf-8;\u00e9\\x{5C}@x":    {Original: Recipient{"utf-8", "\u00e9\\@x"}},
		" ORCPT=utf-8;\\x{1F600}@x":       {Original: Recipient{"utf-8", "\U0001f600@x"}},
	} {
		r, err := ParseRcpt(rcptParams(t, text))
		if strings.HasSuffix(text, "+x") { // "+" stands for nothing there
			if err == nil {
				t.Errorf("%s: got %+v", text, r)
			}
			continue
		}
		if err != nil || r != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, r, err, want)
		}
		if r.Original.Type != "" { // written and read again it is the same
			again, err := ParseRcpt(smtp.Params{{Key: "ORCPT", Value: r.Original.String()}})
			if err != nil || again.Original != r.Original || !printable(r.Original.String()+r.Original.Field()) {
				t.Errorf("%s: %+v, %v from %s", text, again, err, r.Original)
			}
		}
	}
	for text, want := range map[string]string{
		" NOTIFY=NEVER,SUCCESS":                     "NOTIFY=NEVER goes with nothing else",
		" NOTIFY":                                   "NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY",
		" NOTIFY=SUCCESS,":                          "NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY",
		" NOTIFY=ALWAYS":                            "NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY",
		" ORCPT=rfc822;a+00b":                       "ORCPT stands for a control character",
		" ORCPT=rfc822;a+0D+0Ab":                    "ORCPT stands for a control character",
		" ORCPT=rfc822;+C3+A9":                      "ORCPT stands for characters that are not printable ASCII",
		" ORCPT=rfc822;\u00e9":                      "ORCPT stands for characters that are not printable ASCII",
		" ORCPT=rfc822":                             "ORCPT must be a type of address, \";\" and an address",
		" ORCPT=;a@b":                               "ORCPT must be a type of address, \";\" and an address",
		" ORCPT=rfc822;":                            "ORCPT must have 1 to 500 characters",
		" ORCPT=utf-8;":                             "ORCPT is not an address as the type utf-8 has it",
		" ORCPT=utf-8;\\x{0}":                       "ORCPT stands for a control character",
		" ORCPT=utf-8;\\x{0A}":                      "ORCPT stands for a control character",
		" ORCPT=utf-8;\\x{202E}":                    "ORCPT stands for a control character",
		" ORCPT=utf-8;\\x{D800}":                    "ORCPT is not an address as the type utf-8 has it",
		" ORCPT=utf-8;\\x{110000}":                  "ORCPT is not an address as the type utf-8 has it",
		" ORCPT=utf-8;\\x{E9":                       "ORCPT is not an address as the type utf-8 has it",
		" ORCPT=utf-8;\\E9":                         "ORCPT is not an address as the type utf-8 has it",
		" ORCPT=rfc822;" + strings.Repeat("a", 500): "ORCPT must be a type of address, \";\" and an address",
	} {
		if _, err := ParseRcpt(rcptParams(t, text)); fmt.Sprint(err) != "501 5.5.4 "+want {
			t.Errorf("%.40s: got %v, want %s", text, err, want)
		}
	}
}

func TestOffer(t *testing.T) {
	plain := Offer{MaxSize: 1000, MaxRcpts: 50, Now: noon}
	for _, c := range []struct {
		name    string
		change  func(*Offer)
		come    []string // lines that are there beyond those of plain
		go_     []string // that are not
		mail    string
		refused string // "" when mail may be given
	}{
		{name: "plain", mail: " SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x"},
		{name: "unknown", mail: " FOO=BAR", refused: "FOO"},
		{name: "of RCPT", mail: " NOTIFY=NEVER", refused: "NOTIFY"},
		{name: "in clear", mail: " REQUIRETLS", refused: "REQUIRETLS"},
		{name: "with TLS", change: func(o *Offer) { o.TLS, o.StartTLS = true, true }, come: []string{"REQUIRETLS"}, mail: " REQUIRETLS"},
		{name: "TLS to be had", change: func(o *Offer) { o.StartTLS = true }, come: []string{"STARTTLS"}},
		{name: "nobody", mail: " HOLDFOR=5", refused: "HOLDFOR"},
		{name: "nobody", mail: " BY=120;R", refused: "BY"},
		{name: "nobody", mail: " MT-PRIORITY=3", refused: "MT-PRIORITY"},
		{name: "no log-in", mail: " AUTH=<>", refused: "AUTH"},
		{name: "a log-in to be had", change: func(o *Offer) { o.Mechanisms = []string{"PLAIN", "LOGIN"} }, come: []string{"AUTH PLAIN LOGIN"}, mail: " AUTH=<>"},
		{name: "logged in", change: func(o *Offer) { o.LoggedIn, o.Mechanisms = true, []string{"PLAIN"} },
			come: []string{"DELIVERBY 60", "FUTURERELEASE 604800 2026-02-07T12:00:00Z", "MT-PRIORITY MIXER"}, mail: " AUTH=<> HOLDFOR=5 BY=120;R MT-PRIORITY=3"},
		{name: "chunks", change: func(o *Offer) { o.Chunking = true }, come: []string{"BINARYMIME", "CHUNKING"}, mail: " BODY=BINARYMIME"},
		{name: "without them", mail: " BODY=BINARYMIME", refused: "BODY=BINARYMIME"},
		{name: "chunks left out", change: func(o *Offer) { o.Chunking, o.Without = true, []string{"chunking"} }, mail: " BODY=BINARYMIME", refused: "BODY=BINARYMIME"},
		{name: "binary left out", change: func(o *Offer) { o.Chunking, o.Without = true, []string{"binarymime"} }, come: []string{"CHUNKING"}},
		{name: "left out", change: func(o *Offer) { o.Without = []string{"dsn", "limits"} }, go_: []string{"DSN", "LIMITS RCPTMAX=50"}, mail: " RET=FULL", refused: "RET"},
		{name: "UTF-8 left out", change: func(o *Offer) { o.Without = []string{"smtputf8"} }, go_: []string{"SMTPUTF8"}, mail: " SMTPUTF8", refused: "SMTPUTF8"},
	} {
		o := plain
		if c.change != nil {
			c.change(&o)
		}
		want := []string{"8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "HELP", "LIMITS RCPTMAX=50", "PIPELINING", "SIZE 1000", "SMTPUTF8"}
		want = slices.DeleteFunc(append(want, c.come...), func(line string) bool { return slices.Contains(c.go_, line) })
		got := o.Lines()
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: it offers %q, want %q", c.name, got, want)
		}
		err := o.Mail(mailParams(t, c.mail))
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s:%s: %v", c.name, c.mail, err)
		}
	}
	if err := plain.Rcpt(rcptParams(t, " NOTIFY=NEVER ORCPT=rfc822;a@b")); err != nil {
		t.Error(err)
	}
	if err := plain.Rcpt(rcptParams(t, " RET=FULL")); fmt.Sprint(err) != "555 5.5.4 parameter RET is not known, or not offered here" {
		t.Error(err)
	}
	if s := Switchable(); !slices.Contains(s, "dsn") || slices.Contains(s, "size") {
		t.Errorf("switchable: %q", s)
	}
}

func TestParseExtensions(t *testing.T) {
	r := smtp.NewReply(250, "", "mx.example.org PIPELINING", "size 1000", "8BITMIME", "AUTH PLAIN  LOGIN ", "AUTH=LOGIN", "SIZE 5", "", "x y_z", "-X", "bad\tkey")
	want := Extensions{"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN  LOGIN", "X": "y_z"}
	ext := ParseExtensions(r)
	if !reflect.DeepEqual(ext, want) {
		t.Errorf("got %v, want %v", ext, want)
	}
	if !ext.Has("8BITMIME") || ext.Has("PIPELINING") || ext.Size() != 1000 {
		t.Errorf("Has and Size disagree with %v", ext)
	}
	for _, size := range []string{"", "0", "x", "-1", "99999999999999999999"} {
		if got := (Extensions{"SIZE": size}).Size(); got != 0 {
			t.Errorf("SIZE %s: got %d, want 0", size, got)
		}
	}
}

// checkReply checks that an error is a permanent reply that can be sent.
func checkReply(t *testing.T, err error) {
	t.Helper()
	var reply smtp.Reply
	if !errors.As(err, &reply) || reply.Check() != nil || reply.Code/100 != 5 {
		t.Fatalf("bad error %v", err)
	}
}

func FuzzParseMail(f *testing.F) {
	for _, seed := range []string{" SIZE=1 BODY=BINARYMIME", " ENVID=a+2Bb RET=HDRS", " AUTH=<> SMTPUTF8", " HOLDFOR=5 BY=-120;NT", " HOLDUNTIL=2026-02-01T00:00:00Z MT-PRIORITY=-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, params, err := smtp.ParseMail("FROM:<>" + text)
		if err != nil {
			return
		}
		o := Offer{TLS: true, LoggedIn: true, Chunking: true, Now: noon}
		if err := o.Mail(params); err != nil {
			checkReply(t, err)
		}
		m, err := ParseMail(params, noon)
		if err != nil {
			checkReply(t, err)
			return
		}
		if m.Size < 0 || m.Priority < -9 || m.Priority > 9 || !printable(m.EnvelopeID) || m.NotBefore.After(noon.Add(MaxHold)) || m.By.Return && m.By.At.Before(noon.Add(MinBy)) {
			t.Fatalf("%q: %+v", text, m)
		}
		if m.EnvelopeID != "" { // what was understood, written again, is understood alike
			value := EncodeXtext(m.EnvelopeID)
			if got, err := xtext(&smtp.Param{Key: "ENVID", Value: value}, 3*maxEnvelopeID); err != nil || got != m.EnvelopeID || strings.ContainsAny(value, " =") {
				t.Fatalf("%q: %q, %v from %q", text, got, err, value)
			}
		}
	})
}

func FuzzParseRcpt(f *testing.F) {
	for _, seed := range []string{" NOTIFY=SUCCESS,DELAY", " NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x", " ORCPT=utf-8;\\x{E9}\u00e9@x", " ORCPT=utf-8;\\x{202E}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, params, err := smtp.ParseRcpt("TO:<a@b>"+text, true)
		if err != nil {
			return
		}
		r, err := ParseRcpt(params)
		if err != nil {
			checkReply(t, err)
			return
		}
		if strings.ContainsFunc(r.Original.Address, smtp.IsControl) || r.Notify&Never != 0 && r.Notify != Never {
			t.Fatalf("%q: %+v", text, r)
		}
		if value := r.Original.String(); value != "" && len(value) <= maxOriginal {
			again, err := ParseRcpt(smtp.Params{{Key: "ORCPT", Value: value}})
			if err != nil || again.Original != r.Original || !printable(value) {
				t.Fatalf("%q: %+v, %v from %q", text, again, err, value)
			}
		}
	})
}
