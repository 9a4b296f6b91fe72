package transcript

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// What lies outside of the plugin: the answers of others, and the services.

// given is an answer of plugins that are not loaded, from its line on.
type given struct {
	pos     string
	stage   hooks.Stage
	verdict *hooks.Verdict // nil for next, for an error, and for a fact
	failure string         // the text of an error
	owner   string         // of a fact: session, message, rcpt
	fact    string
	value   any
	whose   pattern
}

// others is the name under which such answers are recorded. No plugin can be called so.
const others = "(given)"

type (
	givenDNS struct {
		name    string // "" stands for all
		records []string
		clear   bool // what was said of the name before is forgotten
		down    bool
		up      bool
	}
	givenKV struct {
		state string // "up", "down", "full"; "" sets a value
		key   string
		value any
		ttl   time.Duration
	}
	givenLookup struct {
		name  string
		state string // "up", "down"; "" says what is under a key
		key   string
		value any // nil: nothing
	}
	givenHop struct{ reply smtp.Reply }
)

func givenLines() []Line {
	lines := []Line{
		{"given dns", "given dns NAME TYPE DATA | NAME servfail|refused|timeout|nxdomain [TYPE] | down | up",
			"The DNS. A name of which nothing is said does not exist; servfail, refused and timeout are a DNS that cannot tell, down is one that cannot tell anything.", parseDNS},
		{"given kv", "given kv down | up | full | KEY = VALUE [for TTL]", "The values that plugins keep: they cannot be had, they take no more, or one is there already (for a day, unless TTL is given). What is said of all of them holds for the buckets of throttle, too.", parseKV},
		{"given lookup", "given lookup NAME KEY = VALUE | KEY | KEY none | down | up", "What is in [lookup.NAME], key by key: nothing at the beginning; a KEY alone is one without a value, for which plugins get true. " +
			"A lookup that is down cannot tell. One that is named here may stand in settings: config domains = \"lookup:NAME\".", parseLookup},
		{"given hop", `given hop CODE [ENHANCED] ["TEXT"]`, "What next hops answer to attempts; 250 until something else is given.", parseHop},
	}
	lines = append(append(lines, slices.Concat(outsideLines(), spfLines(), measureLines()[:1])...), Line{"given STAGE", "given STAGE next|accept|reject|defer|close|discard|hold|route|error|fact ... [PATTERN]",
		"What plugins that are not loaded answer at a stage, before the plugin is asked: " +
			"`accept CLASS`, at auth `accept USER`; `reject [CODE] [ENHANCED] [\"TEXT\"]`, and so `defer` and `close`; `discard [\"WHY\"]`, and so `hold`; `route HOP` (`mx:DOMAIN`, `smtp:HOST:PORT`, `lmtp:HOST:PORT`); " +
			"`error [\"TEXT\"]` when such a plugin fails and its on_error is next; `fact session|message|rcpt NAME = VALUE [for PATTERN]`. " +
			"PATTERN, in which `*` stands for anything, is held against the recipient; where there is none, the sender, the name that logs in, the HELO name, the client's address. Of several that fit the latest counts.", nil})
	for _, s := range hooks.Stages() {
		switch s.Stage {
		case hooks.Deliver, hooks.Tick: // the one is asked of one plugin, the other of nobody
			continue
		}
		verdicts := append([]string{"next", "error", "fact"}, s.Verdicts.Names()...)
		verdicts = slices.DeleteFunc(verdicts, func(v string) bool { return v == "each" })
		lines = append(lines, Line{"given " + s.Name, "given " + s.Name + " " + strings.Join(verdicts, "|") + " ...", "", func(p *parser, rest string) action { return parseGiven(p, s, verdicts, rest) }})
	}
	return lines
}

// parseGiven reads what follows `given STAGE`.
func parseGiven(p *parser, s hooks.StageInfo, verdicts []string, rest string) action {
	kind, rest, _ := strings.Cut(rest, " ")
	if !p.oneOf("answer", kind, verdicts) {
		return nil
	}
	g := &given{stage: s.Stage, whose: newGlob("*")}
	if kind == "fact" {
		return p.givenFact(g, rest)
	}
	list, err := words(rest)
	if err != nil {
		p.fail("%v", err)
		return nil
	}
	if kind == "next" || kind == "error" {
		if kind == "error" {
			if g.failure = "it fails, as the transcript says"; len(list) > 0 && list[0].quoted {
				g.failure, list = list[0].text, list[1:]
			}
		}
	} else if list = p.givenVerdict(g, kind, list); g.verdict == nil {
		return nil
	}
	switch {
	case len(list) == 1 && !list[0].quoted:
		g.whose = newGlob(list[0].text)
	case len(list) > 0:
		p.fail("%q is too much; behind an answer stands one pattern, texts stand in quotes", list[len(list)-1].text)
		return nil
	}
	return g
}

var (
	codePattern     = regexp.MustCompile(`^[245][0-9]{2}$`)
	enhancedPattern = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)
	hopPattern      = regexp.MustCompile(`^(mx|smtp|lmtp):(.+)$`)
	lookupPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	factPattern     = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+$`)
)

// givenVerdict reads a verdict and returns the words behind it.
func (p *parser) givenVerdict(g *given, kind string, list []word) []word {
	v := &hooks.Verdict{}
	for _, k := range hooks.Verdicts() {
		if k.Name == kind {
			v.Kind = k.Kind
		}
	}
	take := func(ok func(word) bool, into *string) {
		if len(list) > 0 && ok(list[0]) {
			*into, list = list[0].text, list[1:]
		}
	}
	bare := func(re *regexp.Regexp) func(word) bool {
		return func(w word) bool { return !w.quoted && re.MatchString(w.text) }
	}
	quoted := func(w word) bool { return w.quoted }
	switch v.Kind {
	case hooks.Accept:
		if g.stage == hooks.Auth {
			take(func(word) bool { return true }, &v.User)
			break
		}
		var class string
		take(func(w word) bool { return w.text == "local" || w.text == "relay" }, &class)
		v.Class = message.Class(class)
	case hooks.Reject, hooks.Defer, hooks.Close:
		var code string
		take(bare(codePattern), &code)
		v.Code, _ = strconv.Atoi(code)
		take(bare(enhancedPattern), &v.Enhanced)
		take(quoted, &v.Text)
	case hooks.Discard, hooks.Hold:
		take(quoted, &v.Reason)
	case hooks.RouteTo:
		var hop string
		if take(bare(hopPattern), &hop); hop == "" {
			p.fail("write a next hop: mx:DOMAIN, smtp:HOST:PORT or lmtp:HOST:PORT")
			return nil
		}
		via, host, _ := strings.Cut(hop, ":")
		if v.Plan = (&message.Plan{Via: via, Hosts: []string{host}}); via == "mx" {
			v.Plan = &message.Plan{MX: host}
		}
	}
	checked := *v
	if err := checked.Check(g.stage); err != nil {
		p.fail("%v", err)
		return nil
	}
	g.verdict = v
	return list
}

func (p *parser) givenFact(g *given, rest string) action {
	owner, assigned, _ := strings.Cut(rest, " ")
	if !p.oneOf("owner of a fact", owner, []string{"session", "message", "rcpt"}) {
		return nil
	}
	name, v, ok := cutAssignment(assigned)
	if !ok || !factPattern.MatchString(name) {
		p.fail("write given %s fact %s NAME = VALUE, as spam.score = 5", g.stage, owner)
		return nil
	}
	scope := g.stage.Info().Scope
	switch {
	case g.stage > hooks.Queue && g.stage != hooks.Disconnect,
		owner == "message" && (scope == hooks.ScopeSession || scope == hooks.ScopeLogin),
		owner == "rcpt" && scope != hooks.ScopeRcpt:
		p.fail("at %s no fact can be set on a %s", g.stage, owner)
		return nil
	}
	if before, whose, found := cutLast(v, " for "); found {
		v, g.whose = before, newGlob(whose)
	}
	if g.value, ok = p.value(v); !ok {
		return nil
	}
	g.owner, g.fact = owner, name
	return g
}

// cutLast divides at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+len(sep):]), true
}

// value reads a value that facts and kv can hold. Several words stand in quotes, so that nothing that was meant otherwise passes
// for a text.
func (p *parser) value(text string) (any, bool) {
	v := value(text)
	if _, err := message.SizeOf(v); err != nil {
		p.fail("%v", err)
		return nil, false
	}
	if s, ok := v.(string); ok && s == text && strings.ContainsAny(s, " \t\"") {
		p.fail("%s is no value; a text of several words stands in quotes", text)
		return nil, false
	}
	return v, true
}

func parseDNS(p *parser, rest string) action {
	const form = "write given dns NAME TYPE DATA, as example.org MX 10 mx.example.org"
	name, data, _ := strings.Cut(rest, " ")
	data = strings.TrimSpace(data)
	if data == "" {
		switch name {
		case "down":
			return &givenDNS{down: true}
		case "up":
			return &givenDNS{up: true}
		}
		p.fail(form)
		return nil
	}
	g := &givenDNS{name: strings.ToLower(strings.TrimSuffix(name, "."))}
	first, more, _ := strings.Cut(data, " ")
	switch first {
	case "nxdomain":
		g.clear = true
	case "servfail", "refused":
		g.records = []string{"!" + data}
	case "timeout":
		g.records = []string{"!silent " + more}
	default:
		if _, err := resolve.ParseType(first); err != nil {
			p.fail("%v; or it says servfail, refused, timeout or nxdomain", err)
			return nil
		}
		g.records = []string{data}
	}
	if g.clear && more != "" {
		p.fail("a name that does not exist has no type")
		return nil
	}
	if _, err := parseZone(map[string][]string{g.name: g.records}); err != nil {
		p.fail("%s", strings.TrimPrefix(err.Error(), "zone: "))
		return nil
	}
	return g
}

func parseKV(p *parser, rest string) action {
	if slices.Contains([]string{"up", "down", "full"}, rest) {
		return &givenKV{state: rest}
	}
	key, v, ok := cutAssignment(rest)
	if !ok {
		p.fail("write given kv down, or given kv KEY = VALUE")
		return nil
	}
	g := &givenKV{key: bareKey(key), ttl: 24 * time.Hour}
	if before, ttl, found := cutLast(v, " for "); found {
		d, err := config.ParseDuration(ttl)
		if err != nil || d <= 0 {
			p.fail("%q is no time to live; write it as 5m", ttl)
			return nil
		}
		v, g.ttl = before, d
	}
	if g.value, ok = p.value(v); !ok {
		return nil
	}
	return g
}

func parseLookup(p *parser, rest string) action {
	const form = "write given lookup NAME KEY = VALUE, given lookup NAME KEY, or given lookup NAME down"
	name, rest, _ := strings.Cut(rest, " ")
	g := &givenLookup{name: name}
	rest = strings.TrimSpace(rest)
	if !lookupPattern.MatchString(name) || rest == "" {
		p.fail(form)
		return nil
	}
	if rest == "up" || rest == "down" {
		g.state = rest
		return g
	}
	if key, ok := strings.CutSuffix(rest, " none"); ok {
		g.key = strings.ToLower(bareKey(strings.TrimSpace(key)))
		return g
	}
	key, v, ok := cutAssignment(rest)
	switch {
	case !ok && strings.ContainsAny(rest, " \t"):
		p.fail(form)
		return nil
	case !ok:
		key, g.value = rest, true
	default:
		text, ok := p.value(v)
		if !ok {
			return nil
		}
		if g.value = text; text != true {
			g.value = fmt.Sprint(text)
		}
	}
	g.key = strings.ToLower(bareKey(key))
	return g
}

// bareKey is a key that may stand in quotes.
func bareKey(s string) string {
	if t, err := strconv.Unquote(s); err == nil {
		return t
	}
	return s
}

func parseHop(p *parser, rest string) action {
	list := p.words(rest, `given hop CODE [ENHANCED] ["TEXT"]`, 1, 3)
	if list == nil {
		return nil
	}
	code, err := strconv.Atoi(list[0].text)
	if err != nil || !codePattern.MatchString(list[0].text) {
		p.fail("%q is no reply of a next hop; write 250, 451 or 550", list[0].text)
		return nil
	}
	reply := smtp.NewReply(code, "", "said the next hop")
	for _, w := range list[1:] {
		if !w.quoted && enhancedPattern.MatchString(w.text) {
			reply.Enhanced = w.text
		} else if w.quoted {
			reply.Text = []string{w.text}
		} else {
			p.fail(`write given hop CODE [ENHANCED] ["TEXT"]`)
			return nil
		}
	}
	if err := reply.Check(); err != nil {
		p.fail("%v", err)
		return nil
	}
	return &givenHop{reply}
}

// otherHooks stand for the plugins that are not loaded. There is always one at connect, which makes a client logged in, and
// one at rcpt.
func (w *world) otherHooks() []*hooks.Hook {
	byStage := map[hooks.Stage][]*given{hooks.Connect: nil, hooks.Rcpt: nil}
	for _, g := range w.c.others {
		byStage[g.stage] = append(byStage[g.stage], g)
	}
	var out []*hooks.Hook
	for stage, list := range byStage {
		h := &hooks.Hook{
			Plugin: others, Stage: stage, Order: -1_000_000, OnError: hooks.Next, Timeout: hooks.DefaultTimeout, Pos: w.c.File.place(w.c.Line),
			Needs: &capability.Needs{Read: capability.ReadBody, Relay: true, Route: []string{"mx", "*"}},
		}
		for _, g := range list {
			h.Pos = g.pos
			if g.fact != "" {
				h.Sets = append(h.Sets, g.fact)
				h.Needs.Facts = append(h.Needs.Facts, g.fact)
			}
		}
		h.Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) { return w.answer(c, list) })
		out = append(out, h)
	}
	return out
}

// answer is what the plugins that are not loaded say.
func (w *world) answer(c *hooks.Call, list []*given) (v *hooks.Verdict, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Stage == hooks.Connect && w.client != nil { // stands for the log-in, and for a client that is too early
		c.Session.User, c.Session.Groups, c.Session.Early = w.client.user, w.client.groups, w.client.early
	}
	if w.warming && c.Stage == hooks.Rcpt {
		return &hooks.Verdict{Kind: hooks.Accept, Class: hooks.Local}, nil
	}
	for _, g := range list {
		if !w.valid[g] || !g.whose.match(subject(c)) {
			continue
		}
		if g.fact != "" {
			owner := &c.Session.Facts
			switch g.owner {
			case "message":
				owner = &c.Message.Facts
			case "rcpt":
				owner = &c.Rcpt.Facts
			}
			if err := c.SetFact(owner, g.fact, g.value); err != nil {
				return nil, err
			}
			continue
		}
		v, err = nil, nil
		switch {
		case g.failure != "":
			err = errors.New(g.failure)
		case g.verdict != nil:
			own := *g.verdict
			if own.Plan != nil {
				plan := *own.Plan
				plan.Hosts = slices.Clone(plan.Hosts)
				own.Plan = &plan
			}
			v = &own
		}
	}
	return v, err
}

// subject is what the pattern of an answer is held against.
func subject(c *hooks.Call) string {
	switch c.Stage.Info().Scope {
	case hooks.ScopeRcpt:
		return c.Rcpt.Address.Text
	case hooks.ScopeMessage:
		return c.Message.Sender.Text
	case hooks.ScopeLogin:
		return c.Login.Name
	case hooks.ScopeSession:
		if c.Stage == hooks.Helo {
			return c.Session.Helo
		}
		return c.Session.IP.String()
	}
	return ""
}
