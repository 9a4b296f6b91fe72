package service

import (
	"errors"
	"fmt"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/report"
)

// What a look at a message costs, besides a part for what is looked at.
const (
	reportSteps = 200
	reportBytes = 16 << 10
)

func reportService() Service {
	return Service{Name: "report", Doc: "Mail that comes back: delivery status notifications (RFC 3464, RFC 6533), feedback reports (RFC 5965, RFC 6591), and of other mail what X-Failed-Recipients and Auto-Submitted tell. " +
		"The first MiB of a message is looked at, 100 recipients are told, and texts have at most 1,000 bytes. Anybody may send a report about anything: it is what somebody says. The page `returns` has an example.",
		Funcs: []Func{{
			Name: "report.parse", Result: "table?",
			Doc: "What the message reports, from the stage data on; needs read = \"body\". nil: nothing. `kind` is delivery, feedback or auto-reply. `recipients` is a list of `recipient` (the address that was tried), `original` (as the sender gave it), `action` (failed, delayed, delivered, relayed, expanded), `status`, `code`, `diagnostic`, `remote` and `class`, " +
				"which is one of the bounce classes; `more` tells that there are others. `reporting_mta`, `envelope_id`, and `original` with `message_id`, `return_path`, `from`, `to` and `subject` of the message in question. " +
				"A complaint has `feedback` (abuse, fraud, virus, not-spam, auth-failure, other), `user_agent`, `mail_from`, `source_ip`, `incidents`, and the lists `domains`, `uris` and `authentication_results`; " +
				"auth-failure has `auth_failure`, `delivery_result`, `dkim_domain`, `dkim_selector`, `spf_dns` and `alignment`, too. What is not said is nil.",
			Call: func(c *Context, _ []any) (any, error) { return c.report() },
		}}}
}

// classes are the bounce classes in force.
func (h *Host) classes() *bounce.Table {
	if h.Classes != nil {
		return h.Classes()
	}
	return h.shipped()
}

func (c *Context) report() (any, error) {
	if err := c.call.Reading(capability.ReadBody); err != nil {
		return nil, err
	}
	if c.call.Message == nil {
		return nil, fmt.Errorf("there is no message at %s", c.call.Stage)
	}
	content, err := c.call.Message.Body()
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, errors.New("there is no content yet: it is there from data on")
	}
	looked := int(min(content.Size(), report.MaxContent))
	if err := c.spend(reportSteps+looked/16, reportBytes); err != nil {
		return nil, err
	}
	h, err := c.call.Message.Header()
	if err != nil {
		return nil, err
	}
	r, err := report.Parse(content, h)
	if r == nil || err != nil {
		return nil, err
	}
	return reported(r, c.host.classes()), nil
}

// said is a table of what is not empty.
type said map[string]any

func (s said) text(name, text string) {
	if text != "" {
		s[name] = text
	}
}

func (s said) list(name string, texts []string) {
	all := make([]any, len(texts))
	for i, t := range texts {
		all[i] = t
	}
	s[name] = all
}

func reported(r *report.Report, classes *bounce.Table) map[string]any {
	m := said{"kind": string(r.Kind), "more": r.More}
	m.text("reporting_mta", r.ReportingMTA)
	m.text("envelope_id", r.EnvelopeID)
	rcpts := make([]any, 0, len(r.Rcpts))
	for i := range r.Rcpts {
		rcpt := &r.Rcpts[i]
		t := said{}
		t.text("recipient", rcpt.Final)
		t.text("original", rcpt.Original)
		t.text("action", rcpt.Action)
		t.text("status", rcpt.Status)
		if rcpt.Code != 0 {
			t["code"] = int64(rcpt.Code)
		}
		t.text("diagnostic", rcpt.Diagnostic)
		t.text("remote", rcpt.RemoteMTA)
		t.text("class", string(classes.Of(rcpt.Reply())))
		rcpts = append(rcpts, map[string]any(t))
	}
	m["recipients"] = rcpts
	o := said{}
	o.text("message_id", r.Original.MessageID)
	o.text("return_path", r.Original.ReturnPath)
	o.text("from", r.Original.From)
	o.text("to", r.Original.To)
	o.text("subject", r.Original.Subject)
	m["original"] = map[string]any(o)
	if f := r.Feedback; f != nil {
		m.text("feedback", f.Type)
		m.text("user_agent", f.UserAgent)
		m.text("mail_from", f.MailFrom)
		m.text("source_ip", f.SourceIP)
		m["incidents"] = int64(f.Incidents)
		m.list("domains", f.Domains)
		m.list("uris", f.URIs)
		m.list("authentication_results", f.AuthResults)
		m.text("auth_failure", f.AuthFailure)
		m.text("delivery_result", f.DeliveryResult)
		m.text("dkim_domain", f.DKIMDomain)
		m.text("dkim_selector", f.DKIMSelector)
		m.text("spf_dns", f.SPFDNS)
		m.text("alignment", f.Alignment)
	}
	return m
}
