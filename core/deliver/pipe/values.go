package pipe

import (
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/macro"
)

// path is what programs find others by. The server's own environment is not theirs.
const path = "/usr/local/bin:/usr/bin:/bin"

// value is one that programs are told, under two names.
type value struct{ name, variable, text string }

// values are what one run is told.
type values struct{ list []value }

// Names are those that may stand in arguments.
func Names() (names []string) {
	for _, v := range (&Carrier{}).told(nil, 0) {
		names = append(names, v.name)
	}
	return names
}

// told lists what programs are told; without a job, its names.
func (c *Carrier) told(job *deliver.Job, rcpt int) []value {
	list := []value{
		{name: "sender", variable: "SENDER"}, {name: "recipient", variable: "RECIPIENT"}, {name: "original_recipient", variable: "ORIGINAL_RECIPIENT"},
		{name: "user", variable: "USER"}, {name: "extension", variable: "EXTENSION"}, {name: "domain", variable: "DOMAIN"}, {name: "mailbox", variable: "LOCAL"},
		{name: "queue_id", variable: "QUEUE_ID"}, {name: "key", variable: "KEY"}, {name: "size", variable: "SIZE"},
		{name: "client_address", variable: "CLIENT_ADDRESS"}, {name: "client_port", variable: "CLIENT_PORT"}, {name: "client_helo", variable: "CLIENT_HELO"},
		{name: "client_protocol", variable: "CLIENT_PROTOCOL"}, {name: "sasl_method", variable: "SASL_METHOD"}, {name: "sasl_username", variable: "SASL_USERNAME"},
	}
	if job == nil {
		return list
	}
	env, r := job.Env, job.Env.Rcpts[rcpt]
	user, extension := macro.Split(r.Address.Local, c.o.Delimiter)
	domain := r.Address.Domain
	if domain == "" {
		domain = c.o.Hostname()
	}
	texts := []string{job.Sender().Text, r.Address.Text, r.Original.Text, user, extension, domain, r.Address.Local,
		env.ID.String(), env.Key(r, rcpt), strconv.FormatInt(job.Sent().Size(), 10)}
	if s := env.Session; s != nil {
		address, port, protocol := "", "", ""
		if s.IP.IsValid() {
			address, port = s.IP.String(), strconv.Itoa(int(s.Port))
			if protocol = "SMTP"; s.ESMTP {
				protocol = "ESMTP"
			}
		}
		texts = append(texts, address, port, s.Helo, protocol, s.Auth, s.User)
	}
	for i, text := range texts {
		list[i].text = strings.ReplaceAll(text, "\x00", "") // which would end it
	}
	return list
}

func (c *Carrier) values(job *deliver.Job, rcpt int) *values { return &values{c.told(job, rcpt)} }

// argument is the text of a name. The null sender has one there, since many programs take an empty argument for a missing one.
func (v *values) argument(name string) string {
	for _, one := range v.list {
		if one.name == name {
			if name == "sender" && one.text == "" {
				return "MAILER-DAEMON"
			}
			return one.text
		}
	}
	return ""
}

// environment is all that a program has.
func (v *values) environment() []string {
	env := []string{"PATH=" + path, "LC_ALL=C"}
	for _, one := range v.list {
		env = append(env, one.variable+"="+one.text)
	}
	return env
}
