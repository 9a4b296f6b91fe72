package consent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
	"github.com/stagepost/stagepost/plugins/wasm/meter"
)

// kind is what a right is about: a part of the sheet.
type kind int

const (
	reads kind = iota
	changes
	allows
	contacts
	keeps
)

// verb says in a sentence about the plugin what a right of the kind is.
func (k kind) verb() string {
	return [...]string{"reads", "changes", "lets in", "contacts", "keeps"}[k]
}

// words of a right, by capability: its kind, and what is read, changed, contacted. The text has the value in it.
type words struct {
	kind kind
	say  func(value string) string
}

func plain(text string) func(string) string { return func(string) string { return text } }

// wordsOf has all capabilities.
func wordsOf() map[string]words {
	return map[string]words{
		"dns":     {contacts, plain("the DNS, about any name")},
		"spf":     {contacts, plain("the DNS, to check by SPF who may send for a domain")},
		"http":    {contacts, func(v string) string { return host(v) + ", by HTTP" }},
		"net":     {contacts, func(v string) string { return host(v) + ", by connections of its own" }},
		"inject":  {contacts, plain("anybody, by mail of its own")},
		"kv":      {keeps, plain("values of its own, between calls and through restarts")},
		"lookup":  {reads, func(v string) string { return "what is in " + named("lookup", v) }},
		"secrets": {reads, func(v string) string { return named("secret", v) + ", to use and hand on, not to see" }},
		"read": {reads, func(v string) string {
			if v == "headers" {
				return "the header of messages"
			}
			return "messages whole: header and body"
		}},
		"edit": {changes, func(v string) string {
			return map[string]string{"headers": "the header of messages", "sender": "the sender of messages", "rcpts": "the recipients of messages, also by adding some", "body": "the body of messages"}[v]
		}},
		"facts": {changes, func(v string) string { return "what is known of mail as " + v + ", which other plugins may go by" }},
		"route": {changes, func(v string) string { return "where mail is sent: " + nextHop(v) }},
		"shape": {changes, func(v string) string { return "when and where queued mail is sent: " + shaped(v) }},
		"relay": {allows, plain("mail for other systems, to be relayed")},
	}
}

// named is one of the operator's things by a pattern of its name.
func named(what, pattern string) string {
	switch {
	case pattern == "*":
		return "all your " + what + "s"
	case strings.Contains(pattern, "*"):
		return "those of your " + what + "s whose names match " + pattern
	}
	return "your " + what + " " + pattern
}

// host is an entry of http or net.
func host(entry string) string {
	network, port, isNetwork := manifest.Network(entry)
	path, isSocket := strings.CutPrefix(entry, "unix:/")
	switch {
	case entry == capability.AnySocket:
		return "any program on this machine that has a socket"
	case isSocket:
		return "the program on this machine behind the socket /" + path
	case entry == capability.Private:
		return "also hosts in private networks, and this machine"
	case isNetwork:
		return fmt.Sprintf("any host in the network %s, port %s", network, port)
	case entry == "*":
		return "any host"
	case strings.Contains(entry, "*"):
		return "hosts that match " + entry
	}
	return entry
}

// nextHop is an entry of route.
func nextHop(entry string) string {
	name, isTransport := strings.CutPrefix(entry, "transport:")
	switch {
	case entry == "mx":
		return "the servers of the recipient's domain"
	case isTransport:
		return named("transport", name)
	}
	return host(entry)
}

// shaped is an entry of shape.
func shaped(entry string) string {
	what, name, _ := strings.Cut(entry, ":")
	switch {
	case entry == "*":
		return "all"
	case name == "*":
		return "that of any " + what
	case strings.Contains(name, "*"):
		return "that of a " + what + " that matches " + name
	}
	return "that of the " + what + " " + name
}

// when is a stage in the words of people who do not write plugins.
func when(s hooks.Stage) string {
	return [...]string{
		hooks.Connect: "when a client connects", hooks.Helo: "when a client says its name", hooks.Auth: "when a client logs in",
		hooks.Mail: "when a message begins, by its sender", hooks.Rcpt: "for each recipient", hooks.Data: "when a message is here, before it is taken",
		hooks.Queue: "before a message goes into the queue", hooks.Route: "each time a message is to be sent", hooks.Deliver: "when mail is handed to it for delivery",
		hooks.Delivered: "when a message was delivered", hooks.Deferred: "when a delivery failed for now", hooks.Bounced: "when a delivery failed for good",
		hooks.Disconnect: "when a client has gone", hooks.Tick: "by the clock, without mail",
	}[s] + " (" + s.String() + ")"
}

// What comes with answers that refuse nothing.
const (
	users      = "clients that log in, as any user and with any groups"
	recipients = "recipients, as those of this system"
	delivered  = "whether mail counts as delivered, and so leaves the queue"
	planned    = "how mail is sent: in whose name, from which address, whether encrypted" // besides the next hop, for which there is a capability
)

// refusing are the answers that take something away from somebody.
func refusing() []hooks.Kind {
	return []hooks.Kind{hooks.Reject, hooks.Defer, hooks.Close, hooks.Discard, hooks.Hold}
}

// refusal is such an answer in plain words.
func refusal(s hooks.Stage, k hooks.Kind) string {
	switch {
	case s == hooks.Deferred && k == hooks.Defer:
		return "say when it is tried again"
	case s == hooks.Deferred && k == hooks.Reject:
		return "give it up and return it"
	case s == hooks.Bounced && k == hooks.Discard:
		return "keep it from the sender"
	case s >= hooks.Route && k == hooks.Reject:
		return "return it to the sender"
	case s >= hooks.Route && k == hooks.Defer:
		return "put it off"
	case s == hooks.Auth && k == hooks.Reject:
		return "refuse the log-in"
	case s == hooks.Auth && k == hooks.Defer:
		return "refuse it for now"
	}
	return [...]string{
		hooks.Reject: "refuse for good", hooks.Defer: "refuse for now", hooks.Close: "end the connection",
		hooks.Discard: "take it and throw it away", hooks.Hold: "hold it back",
	}[k]
}

// failing is what becomes of mail when the plugin fails at a stage.
func (h *Hook) failing() string {
	if h.onError == hooks.Next {
		return "as if it had not been asked"
	}
	return refusal(h.stage, h.onError)
}

// refuses is what the hook may refuse; "" is nothing.
func (h *Hook) refuses() string {
	var may []string
	for _, k := range refusing() {
		if h.answers.Has(k) {
			may = append(may, refusal(h.stage, k))
		}
	}
	if may == nil && h.onError == hooks.Next {
		return ""
	}
	text := when(h.stage) + ": "
	if may != nil {
		text += strings.Join(may, ", ") + "; "
	}
	return text + "when it fails: " + h.failing()
}

// about is the mail that the hook is asked about; "" is all.
func (h *Hook) about() string {
	var parts []string
	if len(h.Roles) > 0 {
		parts = append(parts, "in the role "+strings.Join(h.Roles, " or "))
	}
	if len(h.Listeners) > 0 {
		parts = append(parts, "through the listener "+strings.Join(h.Listeners, " or "))
	}
	switch {
	case h.User == nil:
	case *h.User:
		parts = append(parts, "of clients that have logged in")
	default:
		parts = append(parts, "of clients that have not logged in")
	}
	return strings.Join(parts, ", ")
}

// asked says when the hook is asked, and for how long it may be waited for.
func (h *Hook) asked() string {
	text := when(h.stage)
	if about := h.about(); about != "" {
		text += ", only mail " + about
	}
	if h.Every != "" {
		text += ", every " + h.Every
	}
	if h.Background {
		text += ", beside the session"
	}
	return text + "; at most " + h.Timeout
}

// say fills in the plain words.
func (s *Sheet) say() {
	parts := map[kind]*[]string{reads: &s.Reads, changes: &s.Changes, allows: &s.Allows, contacts: &s.Contacts, keeps: &s.Keeps}
	for i := range s.Hooks {
		h := &s.Hooks[i]
		s.Asked = append(s.Asked, h.asked())
		if text := h.refuses(); text != "" {
			s.Refuses = append(s.Refuses, text)
		}
	}
	s.sayStages()
	known := wordsOf()
	for _, need := range manifest.Words(s.asks) {
		name, value, _ := strings.Cut(need, " ")
		w := known[name]
		part := parts[w.kind]
		*part = append(*part, w.say(value))
	}
	if s.reads("throttle") {
		s.Keeps = append(s.Keeps, "counts of how often something happened, to hold it to a rate")
	}
	if s.reads("log") || s.reads("metric") {
		s.Keeps = append(s.Keeps, "lines in this server's log, and counts in its metrics")
	}
	s.sayLimits()
}

// sayStages tells what comes with the stages, whatever is asked for.
func (s *Sheet) sayStages() {
	from := func(first, last hooks.Stage) bool {
		return slices.ContainsFunc(s.Hooks, func(h Hook) bool { return first <= h.stage && h.stage <= last })
	}
	if from(hooks.Auth, hooks.Auth) {
		s.seen = append(s.seen, "the names and passwords that clients log in with")
	}
	if from(hooks.Connect, hooks.Disconnect) {
		s.seen = append(s.seen, "the address and name of the client, and who has logged in", "what other plugins found out about it and its mail")
	}
	if from(hooks.Mail, hooks.Bounced) {
		s.seen = append(s.seen, "sender and recipients of messages")
	}
	if from(hooks.Route, hooks.Bounced) {
		s.seen = append(s.seen, "what other servers said when mail was sent to them")
	}
	s.Reads = append(s.Reads, s.seen...)
	if s.may(hooks.Accept, hooks.Auth) {
		s.Allows = append(s.Allows, users)
	}
	if s.may(hooks.Accept, hooks.Rcpt) {
		s.Allows = append(s.Allows, recipients)
	}
	if s.may(hooks.RouteTo) {
		s.Changes = append(s.Changes, planned)
	}
	if s.may(hooks.Accept, hooks.Deliver) || s.may(hooks.Each, hooks.Deliver) {
		s.Changes = append(s.Changes, delivered)
	}
}

// sayLimits tells what holds for the plugin whatever it asks for. The numbers are those that the engines and services go by.
func (s *Sheet) sayLimits() {
	longest := time.Duration(0)
	for i := range s.Hooks {
		longest = max(longest, s.Hooks[i].timeout)
	}
	var steps, memory int64 = lua.DefaultInstructions, lua.DefaultBytes
	atOnce := fmt.Sprintf("%d calls at once, which have %s of memory together", lua.DefaultInstances, config.FormatSize(lua.SharedBytes))
	if s.Engine == "wasm" {
		steps, memory = wasm.CallFuel, int64(meter.DefaultLimits().Pages)<<16
		atOnce = fmt.Sprintf("%d calls at once, each in a memory of its own", wasm.DefaultInstances)
	}
	if longest == 0 { // it is never called
		return
	}
	s.Limits = append(s.Limits, fmt.Sprintf("one call: %s steps and %s of memory, within %s", grouped(steps), config.FormatSize(memory), config.FormatDuration(longest)), atOnce)
	b := service.CallBounds()
	if s.asks.DNS {
		s.Limits = append(s.Limits, fmt.Sprintf("one call: %d questions to the DNS", b.Questions))
	}
	if len(s.asks.HTTP) > 0 {
		s.Limits = append(s.Limits, fmt.Sprintf("one call: %d requests by HTTP, of whose answers %s each are read", b.Requests, config.FormatSize(int64(b.Response))))
	}
	if len(s.asks.Net) > 0 {
		s.Limits = append(s.Limits, fmt.Sprintf("one call: %d connections, by which %s are sent and %s received", b.Connections, config.FormatSize(int64(b.Sent)), config.FormatSize(int64(b.Received))))
	}
	if s.asks.Inject {
		s.Limits = append(s.Limits, fmt.Sprintf("one call: %d messages of its own, of %s each", b.Injected, config.FormatSize(int64(b.Injecting))))
	}
	if s.asks.KV {
		s.Limits = append(s.Limits, fmt.Sprintf("in all: %s values, and %s", grouped(service.StoreEntries), config.FormatSize(service.StoreBytes)))
	}
}

// grouped writes 1000000 as 1,000,000.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
