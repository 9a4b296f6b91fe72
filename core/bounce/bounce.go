// Package bounce sorts what mail servers say when they do not take a message: a mailbox that does not exist, one that is full, a
// sender that is blocked. Reply codes alone cannot tell, since 550 has been used for everything, and enhanced codes (RFC 3463) are
// often missing or general; so the words count, too.
//
// A Table is rules in order, of which the first that fits gives the class. Those that ship are the text classes.txt: phrases of which
// the meaning is sure stand first, then enhanced codes, then reply codes. Rules of the operator's own are written alike and asked
// before. What fits no rule is undetermined: nothing is guessed.
//
// Everything is bounded: a rule by its length, a table by its rules, and of a reply the first 1,000 bytes are looked at. Phrases
// are plain text, found in one pass each, so no reply takes long. Words with an @ in them are left out, because an address may
// say anything.
package bounce

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// Class is why mail was not taken.
type Class string

// Undetermined is the class of what fits no rule.
const Undetermined Class = "undetermined"

// Info declares one class.
type Info struct {
	Class Class
	Doc   string
}

// Classes declares them all.
func Classes() []Info {
	return []Info{
		{"bad-mailbox", "there is no such mailbox"},
		{"inactive", "the mailbox is disabled, closed, or has moved"},
		{"bad-domain", "the domain does not exist, or takes no mail"},
		{"full", "the mailbox is full"},
		{"too-large", "the message is too large"},
		{"bad-sender", "the sender's address is not accepted"},
		{"auth", "SPF, DKIM, DMARC or the name of this server do not hold"},
		{"blocked", "this server, its network, or a domain or link is on a list or has a bad name"},
		{"spam", "the message is taken for spam"},
		{"virus", "the message is taken for a virus"},
		{"content", "the form of the message, or what is attached, is not accepted"},
		{"policy", "a rule of the receiver, of which no more is known"},
		{"relay", "the server is not in charge of the recipient"},
		{"throttled", "too much mail at once, or too fast; greylisting, too"},
		{"network", "no connection, or it broke off"},
		{"routing", "no way is known, or mail goes round in circles"},
		{"protocol", "the servers did not understand each other, or could not encrypt as they have to"},
		{"system", "the receiver's system has trouble of its own"},
		{"expired", "another server gave up after trying for long"},
		{Undetermined, "nothing that tells why"},
	}
}

// Bounds.
const (
	MaxRule  = 500 // bytes of a rule's text
	MaxRules = 500 // of the operator's own
	maxReply = 1000
)

// Rule gives a class to replies. Both Status and Phrases must fit; where there are phrases, one of them is enough.
type Rule struct {
	Class   Class
	Status  string     // "*", a reply code such as "552" or "5xx", or an enhanced one such as "5.7.1" or "x.7.26"
	Phrases [][]string // in lower case; the parts of one follow each other
}

// ParseRule reads a rule: "CLASS STATUS", or "CLASS STATUS PHRASE | PHRASE", where * in a phrase stands for anything.
func ParseRule(text string) (Rule, error) {
	if len(text) > MaxRule {
		return Rule{}, fmt.Errorf("the rule has %d bytes; it may have %d", len(text), MaxRule)
	}
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return Rule{}, fmt.Errorf(`%q is no rule; write "CLASS STATUS" or "CLASS STATUS PHRASE | PHRASE"`, text)
	}
	r := Rule{Class: Class(fields[0]), Status: strings.ToLower(fields[1])}
	if !slices.ContainsFunc(Classes(), func(i Info) bool { return i.Class == r.Class }) {
		return Rule{}, fmt.Errorf("%q is no class; the classes are %s", fields[0], strings.Join(names(), ", "))
	}
	if !validStatus(r.Status) {
		return Rule{}, fmt.Errorf(`%q is no status; write "*", a reply code such as 552 or 5xx, or an enhanced code such as 5.7.1 or x.7.1`, fields[1])
	}
	if len(fields) == 2 {
		if r.Status == "*" {
			return Rule{}, fmt.Errorf("%q fits everything; name a status or a phrase", text)
		}
		return r, nil
	}
	for phrase := range strings.SplitSeq(strings.ToLower(strings.Join(fields[2:], " ")), "|") {
		parts := strings.Split(phrase, "*")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		if parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" }); len(parts) == 0 {
			return Rule{}, fmt.Errorf("%q has a phrase without a word", text)
		}
		r.Phrases = append(r.Phrases, parts)
	}
	return r, nil
}

func names() (all []string) {
	for _, i := range Classes() {
		all = append(all, string(i.Class))
	}
	return all
}

func validStatus(s string) bool {
	digits := func(s string, most int) bool {
		return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	}
	class, rest, enhanced := strings.Cut(s, ".")
	switch {
	case s == "*":
		return true
	case !enhanced:
		return len(s) == 3 && (s[0] == '4' || s[0] == '5') && (s[1:] == "xx" || digits(s[1:], 2))
	case class != "4" && class != "5" && class != "x":
		return false
	}
	subject, detail, ok := strings.Cut(rest, ".")
	return ok && digits(subject, 3) && digits(detail, 3)
}

//go:embed classes.txt
var shipped string

// Table gives classes. It is never changed.
type Table struct{ rules []Rule }

// New makes a table of rules that are asked first, and those that ship.
func New(own []Rule) *Table {
	t := &Table{rules: slices.Clone(own)}
	for line := range strings.Lines(shipped) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		r, err := ParseRule(line)
		if err != nil {
			panic("bounce: " + err.Error()) // the binary holds its own table, which a test reads
		}
		t.rules = append(t.rules, r)
	}
	return t
}

// Of is the class of a reply with that code (0: none is known), enhanced code ("": none) and text; "" for one that is no refusal.
func (t *Table) Of(code int, enhanced, text string) Class {
	if code/100 != 4 && code/100 != 5 && (code != 0 || enhanced == "" || enhanced[0] != '4' && enhanced[0] != '5') {
		return ""
	}
	text = plain(text)
	for i := range t.rules {
		if r := &t.rules[i]; fits(r.Status, code, enhanced) && (r.Phrases == nil || slices.ContainsFunc(r.Phrases, func(p []string) bool { return has(text, p) })) {
			return r.Class
		}
	}
	return Undetermined
}

// fits tells whether a code is one that a rule's status means.
func fits(status string, code int, enhanced string) bool {
	switch {
	case status == "*":
		return true
	case strings.Contains(status, "."):
		return len(enhanced) > 1 && (status[0] == 'x' || status[0] == enhanced[0]) && status[1:] == enhanced[1:]
	case int(status[0]-'0') != code/100:
		return false
	}
	return status[1] == 'x' || int(status[1]-'0')*10+int(status[2]-'0') == code%100
}

// has tells whether the parts of a phrase stand in a text, one after the other.
func has(text string, parts []string) bool {
	for _, p := range parts {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}

// plain is a text as phrases are compared with it: in lower case, words with one space between them, those with an @ left out.
func plain(text string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(strings.ToLower(text[:min(len(text), maxReply)])) {
		if strings.Contains(word, "@") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return b.String()
}
