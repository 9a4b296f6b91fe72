package message

import (
	"reflect"
	"testing"
)

// TestClone: a copy is the same, and neither sees what becomes of the other.
func TestClone(t *testing.T) {
	env := func() *Envelope {
		e := &Envelope{Session: &Session{Helo: "a", Groups: []string{"g"}, History: []Note{{Stage: "helo"}}}, Rcpts: []*Rcpt{{By: "x"}}}
		e.Facts.Set("a.b", int64(1))
		e.Session.Facts.Set("a.b", int64(1))
		e.Rcpts[0].Facts.Set("a.b", int64(1))
		return e
	}
	e := env()
	owners := Owners{}
	c := e.Clone(owners)
	c.Session = e.Session.Clone(owners)
	if len(owners) != 3 || owners[&c.Facts] != &e.Facts || owners[&c.Session.Facts] != &e.Session.Facts || owners[&c.Rcpts[0].Facts] != &e.Rcpts[0].Facts {
		t.Errorf("owners %v", owners)
	}
	if !reflect.DeepEqual(c, e) {
		t.Fatalf("the copy is %+v", c)
	}
	for _, f := range []*Facts{&e.Facts, &e.Session.Facts, &e.Rcpts[0].Facts} {
		f.Set("a.b", int64(2))
		f.Set("a.c", int64(3))
	}
	e.Session.Groups[0], e.Session.History[0].Stage, e.Rcpts[0].By = "h", "mail", "y"
	e.Rcpts = append(e.Rcpts, &Rcpt{})
	if !reflect.DeepEqual(c, env()) {
		t.Errorf("the copy became %+v", c)
	}
}
