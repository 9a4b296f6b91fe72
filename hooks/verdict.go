package hooks

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/core/smtp"
)

// Kind is a verdict's kind. Next is what a nil *Verdict means. Its value is its number in the WASM ABI.
type Kind uint8

// The kinds.
const (
	Next Kind = iota
	Accept
	Reject
	Defer
	Close
	Discard
	Hold
	RouteTo
	Each
	kindCount
)

// KindInfo declares one kind.
type KindInfo struct {
	Kind Kind
	Name string // the word in plugins: next, accept ...
	Form string // how it is written, for the manual and the stubs
	Doc  string
}

var kindTable = [kindCount]KindInfo{
	{Next, "next", "nil", "no opinion; the next hook is asked"},
	{Accept, "accept", `accept "local" | accept "relay" | accept() | accept{user, groups, scram}`, "rcpt: this recipient is wanted, of that class; deliver: delivered; auth: logged in. Later hooks are still asked"},
	{Reject, "reject", `reject "text" | reject{text, code, enhanced, reason, delay}`, "refuse for good; 550 5.7.1 unless said otherwise; ends the stage"},
	{Defer, "defer", `defer "text" | defer{text, code, enhanced, reason, delay, after}`, "refuse for now; 451 4.7.1 unless said otherwise; ends the stage"},
	{Close, "close", `close "text" | close{text, code, enhanced, reason, delay}`, "reply, then end the connection; 421 4.7.0 unless said otherwise"},
	{Discard, "discard", `discard "why"`, "say 250 and forget it; later hooks are still asked"},
	{Hold, "hold", `hold "why"`, "accept into the queue and keep it there until released by hand; later hooks are still asked"},
	{RouteTo, "route", `route{via, hosts, mx, public, tls, auth, source, helo, sender, site}`, "where it goes; plans merge by field, first setter wins"},
	{Each, "each", `each(function(r) return verdict end)`, "one verdict for each recipient; data: reject, defer, discard or hold, nil: no opinion; deliver: accept, reject or defer, nil: deferred"},
}

// Verdicts declares the kinds, indexed by Kind.
func Verdicts() []KindInfo { return append([]KindInfo(nil), kindTable[:]...) }

// String is the kind's word.
func (k Kind) String() string { return kindTable[k].Name }

// Kinds is a set of kinds.
type Kinds uint16

func kinds(ks ...Kind) (set Kinds) {
	for _, k := range ks {
		set |= 1 << k
	}
	return set
}

// Has tells whether k is in the set.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// Names lists the words of the set, in order of declaration.
func (s Kinds) Names() (names []string) {
	for k := Next; k < kindCount; k++ {
		if s.Has(k) {
			names = append(names, k.String())
		}
	}
	return names
}

// Verdict is a plugin's answer. A nil *Verdict is next. It is a plain value: nothing in it outlives its stage.
type Verdict struct {
	Kind     Kind
	Code     int           // 0 = the kind's default
	Enhanced string        // "" = the kind's default
	Text     string        // of the reply, for the client
	Reason   string        // for the record: reject and defer a word, discard and hold the why
	Delay    time.Duration // before the reply, at most MaxDelay
	After    time.Duration // defer in the queue: when to try again; 0 = by the schedule
	Class    message.Class // accept at rcpt
	User     string        // accept at auth
	Groups   []string
	Scram    string        // accept at auth, for kind scram: the keys, as password.ParseKeys reads them; the exchange decides
	Plan     *message.Plan // route
	Each     []*Verdict    // each: one for every recipient (Call.Rcpts), in order; nil: no opinion at data, defer at deliver
}

// Bounds of verdicts.
const (
	MaxText   = 400 // bytes of reply text
	MaxReason = 400
	MaxDelay  = 60 * time.Second
	maxAfter  = 30 * 24 * time.Hour
)

// Check tells whether v may be answered at s, and fills in the kind's default reply. The error is for the plugin's author.
func (v *Verdict) Check(s Stage) error {
	if v == nil {
		return nil
	}
	may := s.Verdicts()
	if v.Kind >= kindCount || v.Kind == Next || !may.Has(v.Kind) {
		if may == 0 {
			return fmt.Errorf("%s takes no verdict, not %q", s, v.Kind)
		}
		return fmt.Errorf("%s takes %s, not %q", s, strings.Join(may.Names(), ", "), v.Kind)
	}
	if len(v.Reason) > MaxReason {
		v.Reason = v.Reason[:MaxReason]
	}
	switch v.Kind {
	case Accept:
		return v.checkAccept(s)
	case Reject:
		if s == Auth { // RFC 4954 section 6
			return v.checkReply(5, 535, "5.7.8", "the credentials are wrong")
		}
		return v.checkReply(5, 550, "5.7.1", "refused by policy")
	case Defer:
		if v.After < 0 || v.After > maxAfter {
			return fmt.Errorf("defer: after is %s; it may be 0 to %s", v.After, maxAfter)
		}
		if s == Auth {
			return v.checkReply(4, 454, "4.7.0", "cannot log in now, try again later")
		}
		return v.checkReply(4, 451, "4.7.1", "try again later")
	case Close:
		return v.checkReply(0, 421, "4.7.0", "closing the connection")
	case RouteTo:
		if v.Plan == nil {
			return fmt.Errorf("route names no next hop")
		}
		return v.Plan.Check()
	case Each:
		for i, e := range v.Each {
			if e == nil {
				continue
			}
			if e.Kind == Each || e.Kind == Close {
				return fmt.Errorf("each: verdict %d is %s, which is no verdict on one recipient", i+1, e.Kind)
			}
			if err := e.Check(s); err != nil {
				return fmt.Errorf("each: verdict %d: %w", i+1, err)
			}
		}
	}
	return nil
}

const maxUser = 1000 // bytes

func (v *Verdict) checkAccept(s Stage) error {
	switch {
	case s == Rcpt && v.Class != Local && v.Class != Relay:
		return fmt.Errorf(`accept at rcpt names a class, "local" or "relay", not %q`, string(v.Class))
	case s == Auth && v.User == "":
		return fmt.Errorf("accept at auth names a user")
	case len(v.User) > maxUser || !utf8.ValidString(v.User) || strings.ContainsFunc(v.User, unicode.IsControl):
		return fmt.Errorf("accept: the user %.60q has control characters, or more than %d bytes", v.User, maxUser)
	case v.Scram != "":
		if _, err := password.ParseKeys(v.Scram); err != nil {
			return fmt.Errorf("accept: scram: %w", err)
		}
	}
	return nil
}

func (v *Verdict) checkReply(class, code int, enhanced, text string) error {
	if v.Code == 0 {
		v.Code = code
	}
	if v.Enhanced == "" {
		v.Enhanced = fmt.Sprintf("%d%s", v.Code/100, enhanced[1:])
	}
	if v.Text == "" {
		v.Text = text
	}
	if c := v.Code / 100; (class != 0 && c != class) || (class == 0 && c != 4 && c != 5) {
		return fmt.Errorf("%s: code %d is not a %s reply", v.Kind, v.Code, [...]string{0: "4xx or 5xx", 4: "4xx", 5: "5xx"}[class])
	}
	if v.Delay < 0 || v.Delay > MaxDelay {
		return fmt.Errorf("%s: delay is %s; it may be 0 to %s", v.Kind, v.Delay, MaxDelay)
	}
	if len(v.Text) > MaxText || !utf8.ValidString(v.Text) {
		return fmt.Errorf("%s: text must be valid UTF-8 of at most %d bytes", v.Kind, MaxText)
	}
	if err := v.Reply().Check(); err != nil {
		return fmt.Errorf("%s: %w", v.Kind, err)
	}
	return nil
}

// Reply is the SMTP reply of a checked reject, defer or close.
func (v *Verdict) Reply() smtp.Reply { return smtp.NewReply(v.Code, v.Enhanced, v.Text) }
