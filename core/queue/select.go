package queue

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Selector chooses messages of the queue, and recipients of them. What is set must all be true; of several values one must be.
// Letters match in either case, and * stands for any text. A sender or recipient is an address, with or without angle brackets;
// <> is the null sender.
//
// Of a message's recipients those count for whom something is still to be done. Recipients, Domains, NextHops, Sites and Reasons choose
// among them; the others choose whole messages.
type Selector struct {
	Senders    []string
	Recipients []string
	Domains    []string // of recipients
	NextHops   []string // as listings show them: "mx:example.org"
	Sites      []string // that the next hops lead to
	Tenants    []string
	States     []string      // of messages, as listings show them
	Reasons    []string      // part of a last reply with its codes, or of why something is held
	Older      time.Duration // since arrival, at least; 0: not set
	Newer      time.Duration // since arrival, less than; 0: not set
	Limit      int           // messages; 0: all

	SiteOf func(lane store.Lane) string // needed where Sites are set
}

// Names of a Selector's values in a query, and of the flags of commands.
const (
	BySender    = "sender"
	ByRecipient = "recipient"
	ByDomain    = "domain"
	ByNextHop   = "next-hop"
	BySite      = "site"
	ByTenant    = "tenant"
	ByState     = "state"
	ByReason    = "reason"
	ByOlder     = "older"
	ByNewer     = "newer"
	ByLimit     = "limit"
)

const maxPatterns = 1000 // of one Selector

// ParseSelector takes the values of a Selector out of a query, and leaves the others there. An error is for those who asked.
func ParseSelector(q url.Values) (*Selector, error) {
	s, n := &Selector{}, 0
	for _, list := range []struct {
		name string
		into *[]string
	}{{BySender, &s.Senders}, {ByRecipient, &s.Recipients}, {ByDomain, &s.Domains}, {ByNextHop, &s.NextHops}, {BySite, &s.Sites}, {ByTenant, &s.Tenants}, {ByState, &s.States}, {ByReason, &s.Reasons}} {
		for _, v := range q[list.name] {
			v, err := pattern(list.name, v)
			if err != nil {
				return nil, err
			}
			*list.into = append(*list.into, v)
		}
		n += len(*list.into)
		delete(q, list.name)
	}
	if n > maxPatterns {
		return nil, fmt.Errorf("more than %d values to choose by", maxPatterns)
	}
	for _, age := range []struct {
		name string
		into *time.Duration
	}{{ByOlder, &s.Older}, {ByNewer, &s.Newer}} {
		v, err := single(q, age.name)
		if v == "" || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if *age.into, err = config.ParseDuration(v); err != nil || *age.into == 0 {
			return nil, fmt.Errorf(`%s: %q is not a duration such as "90s", "2h" or "1d12h"`, age.name, v)
		}
	}
	v, err := single(q, ByLimit)
	if v != "" {
		if s.Limit, err = strconv.Atoi(v); err != nil || s.Limit < 1 {
			return nil, fmt.Errorf("limit: %q is not a number from 1", v)
		}
	}
	return s, err
}

// single takes a value out of a query that may be there once.
func single(q url.Values, name string) (string, error) {
	list := q[name]
	delete(q, name)
	if len(list) > 1 {
		return "", fmt.Errorf("%s may be given once", name)
	}
	return strings.Join(list, ""), nil
}

// pattern checks one value and brings it to the form that is compared.
func pattern(name, v string) (string, error) {
	v = strings.ToLower(strings.TrimSpace(v))
	switch name {
	case BySender, ByRecipient:
		if v == "<>" && name == BySender {
			return "", nil
		}
		v = strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
		if !strings.ContainsAny(v, "@*:") && v != "postmaster" {
			return "", fmt.Errorf("%s: %q is no address; all of a domain is *@example.org, and the null sender <>", name, v)
		}
	case ByState:
		if !slices.Contains([]string{StateActive, StateDeferred, StateHeld, StateFailed}, v) {
			return "", fmt.Errorf("state: %q is none of active, deferred, held, failed", v)
		}
	case ByTenant: // mail of nobody has ""
	default:
		if v == "" {
			return "", fmt.Errorf("%s: it is empty", name)
		}
	}
	return v, nil
}

// Empty tells whether it chooses everything, but for a Limit.
func (s *Selector) Empty() bool {
	return len(s.Senders)+len(s.Recipients)+len(s.Domains)+len(s.NextHops)+len(s.Sites)+len(s.Tenants)+len(s.States)+len(s.Reasons) == 0 && s.Older == 0 && s.Newer == 0
}

// Choice is a message that was chosen, with the recipients that were.
type Choice struct {
	store.Item
	Rcpts []int // indexes; at least one, unless all that is left is to tell the sender
	Part  bool  // recipients were chosen, not the message; or not all of those for whom something is to be done
	hush  []int // a plugin said that nobody is to be told of their failure
}

// Choose tells whether a message is chosen. It is not asked about Limit.
func (s *Selector) Choose(it store.Item, active bool, now time.Time) (c Choice, ok bool) {
	env := it.Envelope
	age := now.Sub(env.Arrived)
	switch {
	case s.Older > 0 && age < s.Older, s.Newer > 0 && age >= s.Newer,
		len(s.Senders) > 0 && !anyMatches(s.Senders, env.Sender.Text, env.Sender.Local+"@"+env.Sender.Domain),
		len(s.Tenants) > 0 && !anyMatches(s.Tenants, env.Tenant),
		len(s.States) > 0 && !slices.Contains(s.States, LookAt(&it, active, now).State):
		return c, false
	}
	c.Item = it
	open := 0
	for i := range env.Rcpts {
		if i < len(it.State.Rcpts) && it.State.Rcpts[i].Open() {
			open++
			if s.rcpt(env.Rcpts[i], &it.State.Rcpts[i], it.State.Held) {
				c.Rcpts = append(c.Rcpts, i)
			}
		}
	}
	chosen := len(s.Recipients)+len(s.Domains)+len(s.NextHops)+len(s.Sites)+len(s.Reasons) > 0
	c.Part = chosen && len(c.Rcpts) < open
	return c, !chosen || len(c.Rcpts) > 0
}

func (s *Selector) rcpt(r *message.Rcpt, st *store.RcptState, held string) bool {
	a := r.Address
	if len(s.Recipients) > 0 && !anyMatches(s.Recipients, a.Text, a.Local+"@"+a.Domain) {
		return false
	}
	if len(s.Domains) > 0 {
		_, domain, _ := cutLast(a.Text, '@')
		if !anyMatches(s.Domains, a.Domain, domain) {
			return false
		}
	}
	if len(s.NextHops) > 0 && !anyMatches(s.NextHops, hopForms(st.Lane)...) {
		return false
	}
	if len(s.Sites) > 0 && !anyMatches(s.Sites, s.SiteOf(st.Lane)) {
		return false
	}
	if len(s.Reasons) == 0 {
		return true
	}
	last, held := strings.ToLower(LastReply(&st.Last)), strings.ToLower(held)
	return slices.ContainsFunc(s.Reasons, func(part string) bool { return strings.Contains(last, part) || strings.Contains(held, part) })
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// anyMatches tells whether one of the patterns, in lower case, matches one of the forms of a name.
func anyMatches(patterns []string, forms ...string) bool {
	for i, f := range forms {
		if f = strings.ToLower(f); i > 0 && f == strings.ToLower(forms[0]) || f == "@" && forms[0] == "" {
			continue
		}
		for _, p := range patterns {
			if matches(p, f) {
				return true
			}
		}
	}
	return false
}

// matches compares with a pattern in which * stands for any text, in time proportional to the product of the lengths at worst.
func matches(pattern, s string) bool {
	star, from := -1, 0 // where the last * was, and where the text behind it is tried
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
