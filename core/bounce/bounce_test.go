package bounce

import (
	"strings"
	"testing"
)

// TestOf: what servers say, in the words that large ones use, and what it comes to.
func TestOf(t *testing.T) {
	table := New(nil)
	for _, c := range []struct {
		code           int
		enhanced, text string
		want           Class
	}{
		{550, "5.1.1", "The email account that you tried to reach does not exist. Please try double-checking the recipient's email address", "bad-mailbox"},
		{550, "", "<u@example.org>: Recipient address rejected: User unknown in local recipient table", "bad-mailbox"},
		{550, "5.4.1", "Recipient address rejected: Access denied. AS(201806281)", "bad-mailbox"},
		{554, "", "delivery error: dd This user doesn't have a example.com account (u@example.com) [0]", "bad-mailbox"},
		{550, "", "Unrouteable address", "bad-mailbox"},
		{553, "", "sorry, no mailbox here by that name", "bad-mailbox"},
		{550, "5.2.1", "The email account that you tried to reach is inactive.", "inactive"},
		{550, "5.2.1", "the mailbox takes nothing", "inactive"},
		{450, "4.2.1", "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.", "throttled"},
		{452, "4.2.2", "The recipient's inbox is out of storage space.", "full"},
		{552, "", "", "full"},
		{552, "5.3.4", "Message size exceeds fixed limit", "too-large"},
		{552, "5.2.3", "your message exceeded Google's message size limits", "too-large"},
		{550, "5.1.2", "example.invalid: no such domain", "bad-domain"},
		{556, "5.1.10", "Domain does not accept mail (nullMX)", "bad-domain"},
		{550, "5.7.26", "This mail has been blocked because the sender is unauthenticated.", "auth"},
		{550, "5.7.1", "Email rejected per DMARC policy for example.org", "auth"},
		{550, "5.7.25", "The IP address sending this message does not have a PTR record", "auth"},
		{554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "blocked"},
		{550, "5.7.1", "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your provider since part of their network is on our block list (S3140).", "blocked"},
		{550, "5.7.1", "this message is likely unsolicited mail", "spam"},
		{554, "5.7.1", "Message identified as SPAM", "spam"},
		{554, "", "5.7.0 virus found: Eicar-Test", "virus"},
		{552, "5.7.0", "This message was blocked because its content presents a potential security issue: attachment", "content"},
		{554, "5.7.1", "<u@example.org>: Relay access denied", "relay"},
		{421, "4.7.0", "Try again later, closing connection.", "throttled"},
		{421, "4.7.0", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", "throttled"},
		{450, "4.2.0", "<u@example.org>: Recipient address rejected: Greylisted", "throttled"},
		{451, "4.4.1", "connect to 192.0.2.1:25: connection refused", "network"},
		{421, "", "bye", "network"},
		{554, "5.4.6", "Too many hops", "routing"},
		{554, "5.5.0", "no", "protocol"},
		{550, "5.6.7", "takes no addresses beyond ASCII (SMTPUTF8)", "protocol"},
		{451, "4.3.0", "queue file write error", "system"},
		{550, "5.4.7", "the time in which it was to be delivered is over", "expired"},
		{0, "5.1.1", "", "bad-mailbox"},
		{550, "5.1.8", "Sender address rejected: Domain not found", "bad-sender"},
		{550, "5.7.1", "no", "policy"},
		{550, "", "no", Undetermined},
		{550, "", "", Undetermined},
		{550, "", "<spam-message@spamhaus.org>... <blacklist@x>, refused", Undetermined}, // an address may say anything
		{250, "2.0.0", "ok, it is not spam", ""},
		{0, "2.0.0", "user unknown", ""},
		{0, "", "", ""},
	} {
		if got := table.Of(c.code, c.enhanced, c.text); got != c.want {
			t.Errorf("%d %s %s: %q, want %q", c.code, c.enhanced, c.text, got, c.want)
		}
	}
}

// TestOwn: rules of the operator's own come first, in order.
func TestOwn(t *testing.T) {
	var own []Rule
	for _, text := range []string{"policy 5.1.1 house*rule", "spam 554 house rule | door", "full x.1.1", "system 5xx"} {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, r)
	}
	table := New(own)
	for _, c := range []struct {
		code           int
		enhanced, text string
		want           Class
	}{
		{550, "5.1.1", "the HOUSE has a Rule", "policy"},
		{550, "5.1.1", "the rule of the house", "full"},
		{450, "4.1.1", "", "full"},
		{554, "", "at the door", "spam"},
		{550, "5.2.2", "", "system"},
		{450, "4.2.2", "", "full"},
		{450, "", "user unknown", "bad-mailbox"},
	} {
		if got := table.Of(c.code, c.enhanced, c.text); got != c.want {
			t.Errorf("%d %s %s: %q, want %q", c.code, c.enhanced, c.text, got, c.want)
		}
	}
}

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "no rule",
		"full":                               "no rule",
		"ful 552":                            "no class; the classes are bad-mailbox",
		"full 652":                           "no status",
		"full 55":                            "no status",
		"full 55x":                           "no status",
		"full 5.2":                           "no status",
		"full 5.2.x":                         "no status",
		"full 2.2.2":                         "no status",
		"full *":                             "fits everything",
		"full * a | | b":                     "without a word",
		"full * *":                           "without a word",
		"full * " + strings.Repeat("x", 500): "it may have 500",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestShipped: each class has a rule, and each status and phrase leads to the class of its rule or to that of one before it, never
// to nothing.
func TestShipped(t *testing.T) {
	table := New(nil)
	has := map[Class]bool{Undetermined: true}
	for _, r := range table.rules {
		has[r.Class] = true
		for _, p := range r.Phrases {
			if got := table.Of(550, "", strings.Join(p, " ")); r.Status == "*" && got == Undetermined {
				t.Errorf("%s: the phrase %q is not found", r.Class, p)
			}
		}
	}
	for _, i := range Classes() {
		if !has[i.Class] {
			t.Errorf("%s has no rule", i.Class)
		}
	}
}

// FuzzOf: whatever a server says, there is one class, and only for a refusal.
func FuzzOf(f *testing.F) {
	f.Add(550, "5.1.1", "user unknown")
	f.Add(0, "x", "*")
	f.Add(-1, "5.", "\xff@")
	table := New(nil)
	f.Fuzz(func(t *testing.T, code int, enhanced, text string) {
		class := table.Of(code, enhanced, text)
		if code >= 400 && code <= 599 && class == "" || code >= 200 && code < 400 && class != "" {
			t.Errorf("%d %q %q: %q", code, enhanced, text, class)
		}
	})
}
