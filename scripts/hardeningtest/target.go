package main

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// target is the server under test.
type target struct {
	name      string
	addresses map[string]string // by listener
	domain    string            // for which it takes mail
	user      string
	password  string
	strict    bool // it is Stagepost: what only that is held to is asked, too
	sink      *sink
	restart   func() error                        // after a crash; nil: it cannot be
	settle    func()                              // waits for the ends of sessions; nil: that cannot be seen
	close     func()                              // nil: there is nothing to end
	inspect   func(only *regexp.Regexp) []*result // what is looked at when all cases have been played; nil: nothing
	has       map[string]bool
	bound     time.Duration // for a reply or the end of a connection
	patience  time.Duration // for what was accepted to reach the next hop

	authority *authority // that the listener clients believes; nil: none
	notes     []string   // what is to be told besides verdicts

	run    string // begins the tokens of this run
	played atomic.Int64
}

const defaultBound = 10 * time.Second

func newTarget(name string) *target {
	return &target{name: name, addresses: map[string]string{}, domain: "hardening.test", has: map[string]bool{}, bound: defaultBound, patience: arrivalFor,
		run: strings.ToLower(rand.Text()[:6])}
}

// tokenLength is that of every token, so that all plays of a case send as much.
const tokenLength = 2 + 6 + 7

// token is a new one.
func (t *target) token() string { return fmt.Sprintf("tk%s%07d", t.run, t.played.Add(1)) }

var tokens = regexp.MustCompile(`tk[a-z2-7]{6}[0-9]{7}`)

func findToken(s string) string { return tokens.FindString(strings.ToLower(s)) }

// variables gives what stands for the names in braces.
func (t *target) variables(token string) map[string]string {
	return map[string]string{
		"token": token, "domain": t.domain, "user": t.user, "password": t.password,
		"from": token + "@client.test", "to": token + "@" + t.domain, "bad": token + "@elsewhere.test",
	}
}

// explore finds out what the server can do, from what it offers.
func (t *target) explore() error {
	t.has["sink"] = t.sink != nil
	t.has["user"] = t.user != ""
	t.has["tlsport"] = t.addresses["tls"] != ""
	t.has["submission"] = t.addresses["submission"] != ""
	t.has["xclient"] = t.addresses["xclient"] != ""
	t.has["proxy"] = t.addresses["proxy"] != ""
	t.has["submissions"] = t.addresses["submissions"] != ""
	t.has["clients"] = t.addresses["clients"] != ""
	t.has["many"] = mayOpen(manyFiles)
	lines, err := t.offered("mx")
	if err != nil {
		return fmt.Errorf("%s: %w", t.addresses["mx"], err)
	}
	if t.has["submission"] {
		more, err := t.offered("submission")
		if err != nil {
			return fmt.Errorf("%s: %w", t.addresses["submission"], err)
		}
		t.has["auth"] = slices.Contains(more, "AUTH")
	}
	for feature, keyword := range map[string]string{"tls": "STARTTLS", "chunking": "CHUNKING", "binarymime": "BINARYMIME", "smtputf8": "SMTPUTF8", "dsn": "DSN"} {
		t.has[feature] = slices.Contains(lines, keyword)
	}
	return nil
}

// offered gives the keywords of EHLO, in clear and then in TLS.
func (t *target) offered(listener string) (keywords []string, err error) {
	c, err := dial(t.addresses[listener], "", t.bound)
	if err != nil {
		return nil, err
	}
	defer c.end(closing)
	ask := func(text string) (reply, error) {
		if text != "" {
			c.write([][]byte{[]byte(text + "\r\n")}, 0, t.bound)
		}
		r, err := c.reply(t.bound)
		if err == nil && r.code/100 != 2 {
			err = fmt.Errorf("the server answers %s to %q", r, cmp.Or(text, "a connection"))
		}
		return r, err
	}
	if _, err = ask(""); err != nil {
		return nil, err
	}
	for encrypted := false; ; encrypted = true {
		r, err := ask("EHLO client.test")
		if err != nil {
			return nil, err
		}
		for _, line := range r.lines[1:] {
			word, _, _ := strings.Cut(strings.ToUpper(line), " ")
			keywords = append(keywords, word)
		}
		if encrypted || !slices.Contains(keywords, "STARTTLS") {
			break
		}
		if _, err := ask("STARTTLS"); err != nil {
			return nil, err
		}
		if err := c.handshake(&tls.Config{InsecureSkipVerify: true}, nil, 0, t.bound); err != nil { //nolint:gosec // anybody's certificate
			return nil, err
		}
	}
	_, err = ask("QUIT")
	return keywords, err
}

// greets tells whether the server greets a new connection, be it with 421.
func (t *target) greets() bool {
	c, err := dial(t.addresses["mx"], "", t.bound)
	if err != nil {
		return false
	}
	defer c.end(closing)
	_, err = c.reply(t.bound)
	return err == nil
}

// lacks names the first feature that a case needs and the server has not; "" if it has all.
func (t *target) lacks(c *script) string {
	for _, need := range c.needs {
		if !t.has[need] {
			return need
		}
	}
	return ""
}

// canary sends a message and waits until it has arrived: those accepted before have been tried by then.
func (t *target) canary() error {
	token := t.token()
	c, err := dial(t.addresses["mx"], "", t.bound)
	if err != nil {
		return err
	}
	defer c.end(closing)
	for _, text := range []string{"", "EHLO client.test\r\n", "MAIL FROM:<" + token + "@client.test>\r\n", "RCPT TO:<" + token + "@" + t.domain + ">\r\n", "DATA\r\n", "Subject: the last one\r\n\r\n.\r\n"} {
		if text != "" {
			c.write([][]byte{[]byte(text)}, 0, t.bound)
		}
		if r, err := c.reply(t.bound); err != nil || r.code >= 400 {
			return errors.Join(err, fmt.Errorf("a plain message is not taken: %v", r))
		}
	}
	for until := time.Now().Add(t.patience); len(t.sink.of(token)) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			return fmt.Errorf("a plain message has not reached the next hop after %s", t.patience)
		}
	}
	return nil
}
