package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xdg-go/scram"
	"golang.org/x/crypto/bcrypt"

	"github.com/stagepost/stagepost/core/password"
)

// kind is what is kept of some users' passwords, and how it is asked for.
type kind struct {
	name, mechanism string
	prefix          string // of the users' names
	hash            string
}

const (
	usersEach = 4 // so that no account is throttled
	triesEach = 3 // of each of them
	oldCost   = 11
)

// kinds makes users of each kind. The dearest takes longer than answers are held back anyway.
func kinds(secret string) ([]kind, error) {
	argon2id, err1 := password.New(secret, false)
	keys, err2 := password.New(secret, true)
	cheap, err3 := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	dear, err4 := bcrypt.GenerateFromPassword([]byte(secret), oldCost)
	return []kind{
		{"bcrypt of cost 11", "PLAIN", "dear", string(dear)},
		{"bcrypt of cost 4", "PLAIN", "cheap", string(cheap)},
		{"argon2id", "PLAIN", "argon", argon2id},
		{"keys of SCRAM by PLAIN", "PLAIN", "keys", keys},
		{"keys of SCRAM", "SCRAM-SHA-256", "keys", keys},
	}, errors.Join(err1, err2, err3, err4)
}

// users is the table of them for the configuration.
func users(all []kind) string {
	var b strings.Builder
	for _, k := range all {
		for n := range usersEach {
			if k.mechanism == "PLAIN" {
				fmt.Fprintf(&b, "%q = %q\n", k.user(n), k.hash)
			}
		}
	}
	return b.String()
}

func (k kind) user(n int) string { return fmt.Sprintf("%s%d@timing.test", k.prefix, n) }

// timing compares how long it takes until the server refuses a wrong password of users and of names that are not there. They may differ by less than
// they differ among themselves.
func (s *server) timing() error {
	if _, err := s.target.tryLogin("PLAIN", s.kinds[0].user(0), "127.0.3.250"); err != nil { // somebody has logged in of late
		return err
	}
	notes, faults := make([]string, len(s.kinds)), make([]error, len(s.kinds))
	var group sync.WaitGroup
	for i, k := range s.kinds {
		group.Go(func() { notes[i], faults[i] = s.compare(i, k) })
	}
	group.Wait()
	s.target.notes = append(s.target.notes, notes...)
	return errors.Join(faults...)
}

func (s *server) compare(number int, k kind) (note string, err error) {
	var known, unknown []time.Duration
	for n := range usersEach * triesEach {
		from := fmt.Sprintf("127.0.3.%d", 1+number*50+2*n)
		a, err1 := s.target.tryLogin(k.mechanism, k.user(n%usersEach), from)
		b, err2 := s.target.tryLogin(k.mechanism, fmt.Sprintf("%s-nobody%d@timing.test", k.prefix, n), from)
		if err := errors.Join(err1, err2); err != nil {
			return "", fmt.Errorf("%s: %w", k.name, err)
		}
		known, unknown = append(known, a), append(unknown, b)
	}
	median := func(all []time.Duration) (middle, spread time.Duration) {
		slices.Sort(all)
		return all[len(all)/2], all[len(all)*3/4] - all[len(all)/4]
	}
	middle, spread := median(known)
	other, otherSpread := median(unknown)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	note = fmt.Sprintf("A8 %s: a wrong password is refused after %s (half of them within %s), a name that is not there after %s (%s)",
		k.name, ms(middle), ms(spread), ms(other), ms(otherSpread))
	if (middle - other).Abs() > max(spread, otherSpread) {
		return note, errors.New(note)
	}
	return note, nil
}

// tryLogin logs in with a wrong password, and gives the time until it was refused.
func (t *target) tryLogin(mechanism, user, from string) (took time.Duration, err error) {
	c, err := dial(t.addresses["submission"], from, t.bound)
	if err != nil {
		return 0, err
	}
	defer c.end(closing)
	say := func(line string, want int) (r reply, err error) {
		if line != "" {
			c.write([][]byte{[]byte(line + "\r\n")}, 0, t.bound)
		}
		if r, err = c.reply(t.bound); err == nil && r.code != want {
			err = fmt.Errorf("the server says %q to %q of %s", r, mechanism, user)
		}
		return r, err
	}
	if _, err = say("", 220); err == nil {
		_, err = say("EHLO client.test", 250)
	}
	if err == nil {
		_, err = say("STARTTLS", 220)
	}
	if err == nil {
		err = c.handshake(&tls.Config{InsecureSkipVerify: true}, nil, 0, t.bound) //nolint:gosec // anybody's certificate
	}
	if err == nil {
		_, err = say("EHLO client.test", 250)
	}
	if err != nil {
		return 0, err
	}
	b64 := base64.StdEncoding
	if mechanism == "PLAIN" {
		began := time.Now()
		_, err = say("AUTH PLAIN "+b64.EncodeToString([]byte("\x00"+user+"\x00wrong")), 535)
		return time.Since(began), err
	}
	client, err := scram.SHA256.NewClient(user, "wrong", "")
	if err != nil {
		return 0, err
	}
	exchange := client.NewConversation()
	first, err := exchange.Step("")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	r, err := say("AUTH "+mechanism+" "+b64.EncodeToString([]byte(first)), 334)
	took = time.Since(began)
	if err != nil {
		return 0, err
	}
	challenge, err := b64.DecodeString(r.lines[0])
	if err != nil {
		return 0, err
	}
	proof, err := exchange.Step(string(challenge)) // which takes this client long, too
	if err != nil {
		return 0, err
	}
	began = time.Now()
	_, err = say(b64.EncodeToString([]byte(proof)), 535)
	return took + time.Since(began), err
}
