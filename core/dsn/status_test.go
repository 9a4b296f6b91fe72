package dsn

import "testing"

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		kind     Kind
		code     int
		enhanced string
		want     string
	}{
		{Failed, 550, "5.1.1", "5.1.1"},
		{Failed, 550, "5.01.001", "5.1.1"},
		{Failed, 0, "5.7.26", "5.7.26"},
		{Failed, 550, "", "5.0.0"},
		{Failed, 0, "", "5.0.0"},
		{Failed, 250, "2.0.0", "5.0.0"},
		{Failed, 550, "4.1.1", "5.0.0"}, // the reply code is what was acted upon
		{Failed, 451, "4.7.1", "4.4.7"},
		{Failed, 451, "", "4.4.7"},
		{Failed, 0, "4.2.2", "4.4.7"},
		{Delayed, 452, "4.2.2", "4.2.2"},
		{Delayed, 554, "5.7.1", "4.7.1"},
		{Delayed, 421, "", "4.0.0"},
		{Delayed, 0, "", "4.0.0"},
		{Delayed, 250, "2.1.5", "4.0.0"},
	} {
		if got := Status(c.kind, c.code, c.enhanced); got != c.want {
			t.Errorf("%v %d %q: %s, want %s", c.kind, c.code, c.enhanced, got, c.want)
		}
	}
	for _, s := range []string{"5", "5.", "5.1", "5.1.", "5..1", "5.1.1.1", "5.1.1000", "5.-1.1", "5.+1.1", "5.1.1 x", "5.1.1\r\n", "3.1.1", "55.1.1", "5.x.1"} {
		if got := Status(Failed, 0, s); got != "5.0.0" {
			t.Errorf("%q: %s", s, got)
		}
	}
}

func TestMeaning(t *testing.T) {
	for _, c := range []struct{ status, why string }{
		{"5.1.1", "There is no such mailbox."},
		{"4.2.2", "The mailbox is full."},
		{"4.4.7", "It could not be delivered in the time allowed."},
		{"5.7.26", "The message was refused by a rule of the receiving mail server."},
		{"5.0.0", ""}, {"5.9.1", ""}, {"", ""},
	} {
		if why, advice := meaning(c.status); why != c.why || (why == "") != (advice == "") {
			t.Errorf("%s: %q %q", c.status, why, advice)
		}
	}
}
