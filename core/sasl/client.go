package sasl

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Client is the client's side of a log-in with a name and a password: it is fed with the server's challenges. It takes the server's word
// for nothing where the mechanism lets it ask for more: in SCRAM a server that does not have the user's keys is found out.
type Client struct {
	mechanism string
	step      func(challenge string) (response string, err error)
	initial   bool // it speaks first
	steps     int
	proven    func() bool // whether the server has shown all that it has to
}

// ErrServer says that a server did not show that it has the user's keys, or said what the mechanism does not allow.
var ErrServer = errors.New("the server does not keep to the mechanism, or does not know the password itself")

// Bounds of what a client does for a server that it cannot trust yet.
const (
	maxClientIterations = 1_000_000 // of SCRAM: a server that wants more wants our time
)

// Choose picks the first of the wanted mechanisms that a server offers; "" if there is none. One with -PLUS needs a binding.
func Choose(wanted, offered []string, binding *Binding) string {
	for _, m := range wanted {
		if slices.Contains(offered, m) && (m != ScramPlus || binding != nil) {
			return m
		}
	}
	return ""
}

// NewClient begins a log-in in one of PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS. plus: the server offers that, too. The error says what is
// wrong with name or password.
func NewClient(mechanism, name, secret string, binding *Binding, plus bool) (*Client, error) {
	if secret == "" || strings.ContainsAny(secret, "\x00\r\n") {
		return nil, errors.New("it is empty, or has line ends within")
	}
	c := &Client{mechanism: mechanism, initial: true, proven: func() bool { return true }}
	switch mechanism {
	case Plain:
		c.step = func(string) (string, error) { return "\x00" + name + "\x00" + secret, nil }
	case Login:
		c.initial = false
		c.step = func(string) (string, error) {
			if c.steps == 1 {
				return name, nil
			}
			return secret, nil
		}
	case ScramSHA256, ScramPlus:
		client, err := scram.SHA256.NewClient(name, secret, "")
		if err != nil {
			return nil, errors.New("SCRAM does not take it (RFC 4013)")
		}
		conv := client.NewConversation()
		switch {
		case mechanism == ScramPlus && binding == nil:
			return nil, errors.New("there is no connection to bind to")
		case mechanism == ScramPlus:
			conv = client.NewConversationWithChannelBinding(binding.of)
		case binding != nil && !plus: // the server is to say if somebody took that from its list
			conv = client.NewConversationAdvertisingChannelBinding()
		}
		c.step, c.proven = func(challenge string) (string, error) {
			if m := iterations.FindStringSubmatch(challenge); m != nil {
				if n, err := strconv.Atoi(m[1]); err != nil || n > maxClientIterations {
					return "", ErrServer
				}
			}
			return conv.Step(challenge)
		}, conv.Valid
	default:
		return nil, errors.New("no such mechanism for a password: " + mechanism)
	}
	return c, nil
}

var iterations = regexp.MustCompile(`,i=([0-9]+)`)

// SpeaksFirst tells whether Next is called once before any challenge came, with an empty one; else the server begins.
func (c *Client) SpeaksFirst() bool { return c.initial }

// Next answers a challenge.
func (c *Client) Next(challenge []byte) ([]byte, error) {
	if c.steps++; c.steps > c.most() {
		return nil, ErrServer
	}
	response, err := c.step(string(challenge))
	if err != nil {
		return nil, ErrServer
	}
	return []byte(response), nil
}

// most is how often a client speaks in a mechanism.
func (c *Client) most() int {
	switch c.mechanism {
	case Plain:
		return 1
	case Login:
		return 2
	}
	return 3
}

// Done tells whether the server may say that the log-in succeeded: it has shown all that it has to.
func (c *Client) Done() bool { return c.steps > 0 && c.proven() }
