package hooks

import (
	"cmp"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

func sessionObject() Object {
	str := func(f func(*message.Session) string) func(any) string {
		return func(o any) string { return f(o.(*message.Session)) }
	}
	return Object{Name: "session", Doc: "the client and its connection; after 250 the same, stored, without facts", Fields: []Field{
		{Name: "id", Type: TypeString, Str: str(func(s *message.Session) string { return s.ID }), Doc: "names the session in the log"},
		{Name: "role", Type: TypeString, Str: str(func(s *message.Session) string { return string(s.Role) }), Doc: "mx, submission, lmtp, api, sendmail or internal"},
		{Name: "listener", Type: TypeString, Str: str(func(s *message.Session) string { return s.Listener }), Doc: "name of the [[listener]]"},
		{Name: "origin", Type: TypeString, Str: str(func(s *message.Session) string { return s.Origin }), Doc: "smtp, or who brought mail without a client"},
		{Name: "ip", Type: TypeString, Optional: true, Str: str(func(s *message.Session) string { return ipText(s.IP) }), Doc: "address of the client"},
		{Name: "port", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*message.Session).Port) }, Doc: "port of the client"},
		{Name: "local_ip", Type: TypeString, Optional: true, Str: str(func(s *message.Session) string { return ipText(s.LocalIP) }), Doc: "our address"},
		{Name: "local_port", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*message.Session).LocalPort) }, Doc: "our port"},
		{Name: "helo", Type: TypeString, Optional: true, Str: str(func(s *message.Session) string { return s.Helo }), Doc: "name given with HELO or EHLO; nil before"},
		{Name: "esmtp", Type: TypeBool, Bool: func(o any) bool { return o.(*message.Session).ESMTP }, Doc: "true after EHLO"},
		{Name: "user", Type: TypeString, Optional: true, Str: str(func(s *message.Session) string { return s.User }), Doc: "who logged in; nil if nobody"},
		{Name: "groups", Type: TypeList, Value: func(o any) any { return texts(o.(*message.Session).Groups) }, Doc: "groups of the user"},
		{Name: "early", Type: TypeBool, Bool: func(o any) bool { return o.(*message.Session).Early }, Doc: "the client spoke before the greeting"},
		{Name: "errors", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*message.Session).Errors) }, Doc: "commands refused so far"},
		{Name: "history", Type: TypeList, Value: func(o any) any { return history(o.(*message.Session)) }, Doc: "verdicts other than next so far: list of {stage, plugin, verdict, code, reason}"},
		{Name: "facts", Type: TypeFacts, Doc: "facts by full name, as in session.facts[\"plugin.key\"]"},
		{Name: "my", Type: TypeMyFacts, Doc: "this plugin's own facts, by key"},
		{Name: "tls", Type: TypeObject, Of: "tls", Optional: true, Value: func(o any) any {
			if t := o.(*message.Session).TLS; t != nil {
				return t
			}
			return nil
		}, Doc: "how the session is encrypted; nil in clear"},
	}}
}

func tlsObject() Object {
	str := func(f func(*message.TLS) string) func(any) string {
		return func(o any) string { return f(o.(*message.TLS)) }
	}
	return Object{Name: "tls", Doc: "how a session is encrypted", Fields: []Field{
		{Name: "version", Type: TypeString, Str: str(func(t *message.TLS) string { return t.Version }), Doc: "TLSv1.2 or TLSv1.3"},
		{Name: "cipher", Type: TypeString, Str: str(func(t *message.TLS) string { return t.Cipher }), Doc: "registered name of the cipher suite"},
		{Name: "sni", Type: TypeString, Optional: true, Str: str(func(t *message.TLS) string { return t.SNI }), Doc: "name that the client asked for, in lower case"},
		{Name: "client", Type: TypeString, Optional: true, Str: str(func(t *message.TLS) string { return t.Client }), Doc: "subject of the client's certificate, if one of the listener's authorities issued it"},
	}}
}

func loginObject() Object {
	str := func(f func(*LoginView) string) func(any) string {
		return func(o any) string { return f(o.(*LoginView)) }
	}
	return Object{Name: "login", Doc: "credentials that a client gave", Fields: []Field{
		{Name: "session", Type: TypeObject, Of: "session", Value: func(o any) any { return o.(*LoginView).Session }, Doc: "the session"},
		{Name: "mechanism", Type: TypeString, Str: str(func(l *LoginView) string { return l.Mechanism }), Doc: "SASL mechanism"},
		{Name: "name", Type: TypeString, Str: str(func(l *LoginView) string { return l.Name }), Doc: "name given"},
		{Name: "kind", Type: TypeString, Str: str(func(l *LoginView) string { return l.Kind }), Doc: "password, token, certificate or scram"},
		{Name: "password", Type: TypeString, Optional: true, Str: str(func(l *LoginView) string {
			if l.Kind != "password" {
				return ""
			}
			return l.Secret
		}), Doc: "the password, for kind password"},
		{Name: "token", Type: TypeString, Optional: true, Str: str(func(l *LoginView) string {
			if l.Kind != "token" {
				return ""
			}
			return l.Secret
		}), Doc: "the token, for kind token"},
		{Name: "certificate", Type: TypeMap, Optional: true, Value: func(o any) any {
			if c := o.(*LoginView).Certificate; c != nil {
				return c
			}
			return nil
		}, Doc: "the client's certificate, which was verified, for kind certificate: {subject, issuer, names, fingerprint}"},
	}}
}

func messageObject() Object {
	return Object{Name: "message", Doc: "the message and its envelope", Fields: []Field{
		{Name: "id", Type: TypeString, Str: func(o any) string { return o.(*MessageView).ID.String() }, Doc: "names the message in log, Received and trace"},
		{Name: "key", Type: TypeString, Str: func(o any) string { return o.(*MessageView).Key() }, Doc: "idempotency key: the same at every attempt"},
		{Name: "session", Type: TypeObject, Of: "session", Value: func(o any) any { return o.(*MessageView).Session }, Doc: "the session that brought it"},
		{Name: "sender", Type: TypeObject, Of: "address", Value: func(o any) any { return &o.(*MessageView).Sender }, Doc: "reverse-path; the null sender has text \"\""},
		{Name: "params", Type: TypeMap, Value: func(o any) any { return params(o.(*MessageView).Params) }, Doc: "parameters of MAIL FROM, by upper-case keyword"},
		{Name: "size", Type: TypeInt, Int: func(o any) int64 { return o.(*MessageView).Envelope.Size }, Doc: "bytes; before data as declared with SIZE, else 0"},
		{Name: "tenant", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*MessageView).Tenant }, Doc: "set with schedule"},
		{Name: "rcpts", Type: TypeList, Of: "rcpt", Value: func(o any) any { return o.(*MessageView).rcpts() }, Doc: "recipients accepted so far"},
		{Name: "facts", Type: TypeFacts, Doc: "facts by full name"},
		{Name: "my", Type: TypeMyFacts, Doc: "this plugin's own facts, by key"},
		{Name: "content", Type: TypeObject, Of: "content", Value: func(o any) any { return contentOf(o.(*MessageView)) }, Optional: true, Doc: "the bytes as the client sent them, or as plugins rewrote them; from data on"},
		{Name: "body_start", Type: TypeInt, Int: func(o any) int64 { return o.(*MessageView).bodyStart() }, Doc: "where in content the body begins, behind the header and its empty line; 0 before data"},
		{Name: "parts", Type: TypeList, Of: "part", Read: capability.ReadBody, Value: func(o any) any { return partsOf(o.(*MessageView)) }, Doc: "the parts that are no multipart themselves, in order; a message without MIME is one; from data on"},
		{Name: "parts_cut", Type: TypeBool, Read: capability.ReadBody, Bool: func(o any) bool { _, cut, _ := o.(*MessageView).Parts(); return cut }, Doc: "there are more than 1,000 parts, or they are nested more than 10 deep, and not all are listed"},
	}, Methods: []Method{
		{"header", "name: string, n?: integer", "string?", fromData, "read", "value of the n-th (first) field of that name, unfolded"},
		{"headers", "name?: string", "{name: string, value: string, raw: string}[]", fromData, "read", "all fields, or those of that name"},
		{"add_header", "name: string, text: string", "", []Stage{Mail, Rcpt, Data, Queue}, "edit headers", "put a field on top, below our Received"},
		{"set_header", "name: string, text: string", "", []Stage{Data}, "edit headers", "replace the first field of that name, drop the others; add it if there is none"},
		{"remove_header", "name: string, n?: integer", "", []Stage{Data}, "edit headers", "drop all fields of that name, or the n-th"},
		{"rewrite", "fn: fun(chunk: string, last: boolean): string?", "", []Stage{Data}, "edit body", "a new body: what the function returns for each piece of the old one; needs read = \"body\", too"},
		{"set_content", "{subject?, text?, html?}", "", []Stage{Data}, "edit body", "a new body of text, HTML or both, with the header fields that go with it; a subject needs edit = {\"headers\"}, too"},
		{"set_sender", "address: string", "", []Stage{Data}, "edit sender", "another reverse-path; \"\" is the null one"},
		{"add_rcpt", "address: string, class: \"local\"|\"relay\"", "", []Stage{Data}, "edit rcpts", "one more recipient; it is not asked at rcpt"},
		{"schedule", "{tenant?, priority?, not_before?, expires?}", "", []Stage{Mail, Rcpt, Data, Queue}, "", "when and how the queue sends it; times as now() gives them"},
	}}
}

var fromData = []Stage{Data, Queue, Route, Deliver, Delivered, Deferred, Bounced}

func rcptObject() Object {
	return Object{Name: "rcpt", Doc: "one recipient", Fields: []Field{
		{Name: "message", Type: TypeObject, Of: "message", Value: func(o any) any { return o.(*RcptView).Message }, Doc: "the message"},
		{Name: "address", Type: TypeObject, Of: "address", Value: func(o any) any { return &o.(*RcptView).Address }, Doc: "where it goes"},
		{Name: "original", Type: TypeObject, Of: "address", Value: func(o any) any { return &o.(*RcptView).Original }, Doc: "as given at RCPT"},
		{Name: "params", Type: TypeMap, Value: func(o any) any { return params(o.(*RcptView).Params) }, Doc: "parameters of RCPT TO"},
		{Name: "class", Type: TypeString, Optional: true, Str: func(o any) string { return string(o.(*RcptView).Class) }, Doc: "local or relay once accepted; nil before"},
		{Name: "key", Type: TypeString, Str: func(o any) string { return o.(*RcptView).Key() }, Doc: "idempotency key of this copy"},
		{Name: "facts", Type: TypeFacts, Doc: "facts by full name"},
		{Name: "my", Type: TypeMyFacts, Doc: "this plugin's own facts, by key"},
		{Name: "attempts", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*RcptView).Attempts) }, Doc: "tries so far, in the queue"},
		{Name: "first_try", Type: TypeTime, Optional: true, Time: func(o any) time.Time { return o.(*RcptView).FirstTry }, Doc: "time of the first try"},
		{Name: "last", Type: TypeObject, Of: "last", Optional: true, Value: func(o any) any { return o.(*RcptView).Last.Known() }, Doc: "the latest outcome"},
		{Name: "site", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*RcptView).Way.Site }, Doc: "in delivered, deferred and bounced, whose limits counted: the exchangers with commas between them, or a name in the configuration or a plan"},
		{Name: "source", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*RcptView).Way.Source }, Doc: "there, the [source.NAME] it was sent from; nil: the system chose the address"},
		{Name: "next_hop", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*RcptView).Way.Hop }, Doc: "there, where it was to go, as queue list shows it: mx:example.org"},
	}, Methods: []Method{
		{"add_header", "name: string, text: string", "", []Stage{Data}, "edit headers", "put a field on top of this recipient's copy alone, above our Received"},
		{"rename", "address: string | string[]", "", []Stage{Rcpt}, "edit rcpts", "deliver to another address, or to several"},
	}}
}

func deliveryObject() Object {
	return Object{Name: "delivery", Doc: "one attempt of the recipients that share a plan", Fields: []Field{
		{Name: "message", Type: TypeObject, Of: "message", Value: func(o any) any { return o.(*DeliveryView).Message }, Doc: "the message"},
		{Name: "rcpts", Type: TypeList, Of: "rcpt", Value: func(o any) any { return o.(*DeliveryView).Rcpts }, Doc: "the recipients of this attempt"},
		{Name: "plan", Type: TypeObject, Of: "plan", Value: func(o any) any { return o.(*DeliveryView).Plan }, Doc: "the plan that led here"},
		{Name: "number", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*DeliveryView).Number) }, Doc: "number of the attempt, from 1"},
		{Name: "parcel", Type: TypeMap, Optional: true, Value: func(o any) any { return o.(*DeliveryView).Parcel.Value() }, Doc: "what a plugin handed in by inject{via}, which is no mail: from (the plugin), key, content; nil for mail"},
	}}
}

func addressObject() Object {
	return Object{Name: "address", Doc: "an address of the envelope", Fields: []Field{
		{Name: "text", Type: TypeString, Str: func(o any) string { return o.(*smtp.Address).Text }, Doc: "as given, without angle brackets; \"\" for the null sender"},
		{Name: "mailbox", Type: TypeString, Str: func(o any) string { return o.(*smtp.Address).Local }, Doc: "local part, quotes removed, case kept, in normal form C"},
		{Name: "domain", Type: TypeString, Str: func(o any) string { return o.(*smtp.Address).Domain }, Doc: "domain in lower case and xn-- labels, or an address literal in brackets"},
	}}
}

func planObject() Object {
	return Object{Name: "plan", Doc: "where a recipient goes", Fields: []Field{
		{Name: "via", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Plan).Via }, Doc: "smtp, lmtp, a transport or a plugin"},
		{Name: "hosts", Type: TypeList, Value: func(o any) any { return texts(o.(*message.Plan).Hosts) }, Doc: "next hops in order, host:port; beside mx, where to fall back to"},
		{Name: "mx", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Plan).MX }, Doc: "domain whose MX is looked up"},
		{Name: "helo", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Plan).Helo }, Doc: "name to greet with"},
		{Name: "sender", Type: TypeString, Optional: true, Str: func(o any) string { return cmp.Or(o.(*message.Plan).Sender, &smtp.Address{}).Text }, Doc: "reverse-path of this copy"},
		{Name: "source", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Plan).Source }, Doc: "the [source.NAME] or [pool.NAME] it is sent from"},
		{Name: "site", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Plan).Site }, Doc: "whose limits count"},
		{Name: "tls", Type: TypeString, Optional: true, Str: func(o any) string { return string(o.(*message.Plan).TLS) }, Doc: "auto, none, opportunistic, required, verified or implicit"},
	}}
}

func lastObject() Object {
	return Object{Name: "last", Doc: "the latest outcome of a recipient", Fields: []Field{
		{Name: "code", Type: TypeInt, Int: func(o any) int64 { return int64(o.(*message.Last).Code) }, Doc: "SMTP code"},
		{Name: "enhanced", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Last).Enhanced }, Doc: "enhanced code"},
		{Name: "host", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Last).Host }, Doc: "who said so; nil: this server"},
		{Name: "text", Type: TypeString, Str: func(o any) string { return o.(*message.Last).Text }, Doc: "the reply"},
		{Name: "class", Type: TypeString, Optional: true, Str: func(o any) string { return o.(*message.Last).Class }, Doc: "why it was not taken, as the page `returns` lists: bad-mailbox, full, blocked ...; nil: it was"},
	}}
}

func contentObject() Object {
	return Object{Name: "content", Doc: "the message's bytes as the client sent them", Fields: []Field{
		{Name: "size", Type: TypeInt, Int: func(o any) int64 { return o.(message.Content).Size() }, Doc: "bytes"},
	}, Methods: []Method{
		{"read", "offset: integer, n: integer", "string", fromData, "read body", "at most n bytes from offset (0 is the first); \"\" at the end"},
		{"chunks", "n?: integer", "fun(): string?", fromData, "read body", "iterate over the content in pieces of at most n bytes (65,536)"},
	}}
}

func partObject() Object {
	str := func(f func(*message.Part) string) func(any) string {
		return func(o any) string { return f(o.(*message.Part)) }
	}
	return Object{Name: "part", Doc: "a part of a message: a text, an attachment", Fields: []Field{
		{Name: "type", Type: TypeString, Str: str(func(p *message.Part) string { return p.Type }), Doc: "media type in lower case"},
		{Name: "charset", Type: TypeString, Optional: true, Str: str(func(p *message.Part) string { return p.Charset }), Doc: "charset that it gives, in lower case"},
		{Name: "filename", Type: TypeString, Optional: true, Str: str(func(p *message.Part) string { return p.Filename }), Doc: "name that it gives to a file"},
		{Name: "size", Type: TypeInt, Int: func(o any) int64 { return o.(*message.Part).Size() }, Doc: "bytes as it stands in the message, encoded"},
		{Name: "content", Type: TypeObject, Of: "content", Value: func(o any) any { return o.(*message.Part).Content() }, Doc: "its bytes, decoded"},
	}, Methods: []Method{
		{"text", "", "string", fromData, "read body", "its text in UTF-8; an error for what is no text or has more than 1 MiB"},
	}}
}

func tickObject() Object {
	return Object{Name: "tick", Doc: "a beat of the clock", Fields: []Field{
		{Name: "time", Type: TypeTime, Time: func(o any) time.Time { return o.(*TickView).Time }, Doc: "when"},
	}}
}
