package transcript

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// What is to have come of it.

type (
	wantRefused struct{ text pattern }
	wantVerdict struct {
		form   string
		words  []string // of the verdict; "not asked" is empty
		stage  hooks.Stage
		plugin string // "" is the one under test
		rcpt   string
		detail *pattern
	}
	wantDelay struct{ d time.Duration }
	wantLog   struct{ line *pattern }
	wantKV    struct {
		key     string
		value   any // nil: none
		entries int // -1: not asked for
	}
	wantMetric struct {
		name string
		n    uint64
	}
	wantOutcome struct {
		result string
		reply  *pattern
		rcpt   string
	}
	wantAfter  struct{ d time.Duration }
	wantNotice struct{ yes bool }
)

func wantLines() []Line {
	return slices.Concat([]Line{
		{"want refused", "want refused PATTERN", "The plugin does not load with the settings of the case; PATTERN is what is said behind file and line. Nothing else of the case is run. " +
			"A refusal without file and line, or with a line of the transcript that is no setting, fails the case.", func(p *parser, rest string) action {
			if rest == "" {
				p.fail("write what is said: want refused …is not a network…")
				return nil
			}
			return &wantRefused{newPattern(unquote(rest))}
		}},
		{"want delay", "want delay 10s | none", "How long the replies to the line before were held back. Nobody really waits; the clock is set forward.", parseWantDelay},
		{"want log", "want log PATTERN | none", "A line that the plugin wrote to the log: `warn TEXT name=value`.", func(p *parser, rest string) action {
			if rest == "none" {
				return &wantLog{}
			}
			line := newPattern(unquote(rest))
			return &wantLog{&line}
		}},
		{"want kv", "want kv KEY = VALUE | KEY none | entries N", "What the plugin keeps.", parseWantKV},
		{"want metric", "want metric NAME = N", "What the plugin counted under a name with metric.count since the case began; 0 where it counted nothing.", parseWantMetric},
		{"want route", "want route HOP [source=NAME] [helo=NAME] [sender=ADDRESS] [site=NAME] [tls=WORD] [fallback=HOST:PORT,...|none] [auth=USER:SECRET|none] [for RCPT]", "Where a recipient goes, all routes together: mx:DOMAIN, smtp:HOST:PORT, lmtp:HOST:PORT, transport:NAME, plugin:NAME.", parseWantRoute},
		{"want outcome", "want outcome delivered|deferred|failed|held|discarded [for RCPT][: PATTERN]", "What the latest attempt of the recipients came to; PATTERN is held against the reply.", parseWantOutcome},
		{"want after", "want after 1h", "When a plugin wants the deferred recipients to be tried again.", func(p *parser, rest string) action {
			d, err := config.ParseDuration(rest)
			if err != nil {
				p.fail("%v", err)
				return nil
			}
			return &wantAfter{d}
		}},
		{"want notice", "want notice", "The sender is told of a failure.", alone(&wantNotice{true})},
		{"want no notice", "want no notice", "Nobody is told of it.", alone(&wantNotice{false})},
	}, measureLines()[1:], wantMailLines(), wantVerdictLines())
}

// wantVerdictLines has a line for each verdict.
func wantVerdictLines() []Line {
	lines := []Line{{"want VERDICT", "want VERDICT at STAGE [by PLUGIN] [for RCPT][: PATTERN]",
		"What the plugin answered at a stage to what was done last; of several answers, the latest. VERDICT is `next`, `accept local`, `reject 550 5.7.1` or only the first words of it, " +
			"or `error` when it failed; PATTERN is held against its text or reason, or against the error.", nil}, {"want not asked", "want not asked at STAGE", "The plugin was not asked.", func(p *parser, rest string) action { return parseVerdict(p, "", rest) }}}
	for _, k := range append(kindNames(), "error") {
		lines = append(lines, Line{"want " + k, "want " + k + " ... at STAGE", "", func(p *parser, rest string) action { return parseVerdict(p, k, rest) }})
	}
	return lines
}

func kindNames() (names []string) {
	for _, k := range hooks.Verdicts() {
		names = append(names, k.Name)
	}
	return names
}

func unquote(s string) string {
	if t, err := strconv.Unquote(s); err == nil {
		return t
	}
	return s
}

func parseVerdict(p *parser, kind, rest string) action {
	before, tail, ok := strings.Cut(" "+rest, " at ")
	if !ok {
		p.fail("write at which stage: want next at rcpt")
		return nil
	}
	w := &wantVerdict{form: cmp.Or(kind, "not asked") + " " + rest, words: strings.Fields(kind + before)}
	head, detail, ok := strings.Cut(tail, ":")
	if ok {
		d := newPattern(unquote(strings.TrimSpace(detail)))
		w.detail = &d
	}
	list := strings.Fields(head)
	if len(list)%2 != 1 {
		p.fail("write want VERDICT at STAGE [by PLUGIN] [for RCPT][: PATTERN]")
		return nil
	}
	var stages []string
	for _, s := range hooks.Stages() {
		stages = append(stages, s.Name)
	}
	if !p.oneOf("stage", list[0], stages) {
		return nil
	}
	w.stage, _ = hooks.StageByName(list[0])
	for i := 1; i < len(list); i += 2 {
		switch list[i] {
		case "by":
			w.plugin = list[i+1]
		case "for":
			w.rcpt = strings.Trim(list[i+1], "<>")
		default:
			p.oneOf("word", list[i], []string{"by", "for"})
			return nil
		}
	}
	if takes := append([]string{"", "next", "error"}, w.stage.Info().Verdicts.Names()...); !slices.Contains(takes, kind) {
		p.fail("%s takes %s, not %q", w.stage, strings.Join(takes[1:], ", "), kind)
		return nil
	}
	return w
}

func (w *wantVerdict) do(r *run) error {
	var here []observe.Step
	for _, s := range r.asked() {
		if s.Stage == w.stage.String() && (s.Plugin == w.plugin || w.plugin == "" && s.Plugin == r.plugin) &&
			(w.rcpt == "" || strings.HasPrefix(s.Detail, "<"+w.rcpt+">")) {
			here = append(here, s)
		}
	}
	if len(here) == 0 {
		if len(w.words) == 0 {
			return nil
		}
		return wanted(w.form, "it was not asked; "+r.wasAsked())
	}
	last := here[len(here)-1]
	detail := last.Detail
	if w.stage.Info().Scope == hooks.ScopeRcpt {
		_, detail, _ = strings.Cut(detail, "> ")
	}
	got := strings.Fields(strings.ReplaceAll(last.Verdict, ",", ""))
	if len(w.words) > 0 && w.words[0] == "error" {
		r.excused[last.Stage] = true
	}
	if len(w.words) > 0 && len(got) >= len(w.words) && slices.Equal(got[:len(w.words)], w.words) && (w.detail == nil || w.detail.match(detail)) {
		return nil
	}
	text := last.Verdict + " at " + last.Stage
	if detail != "" {
		text += ": " + detail
	}
	return wanted(w.form, text)
}

// wasAsked says who was asked, for a report.
func (r *run) wasAsked() string {
	var parts []string
	for _, s := range r.asked() {
		parts = append(parts, s.Plugin+" at "+s.Stage+" ("+s.Verdict+")")
	}
	if len(parts) == 0 {
		return "nobody was asked anything"
	}
	return "asked were " + strings.Join(parts, ", ")
}

// do is never called: a case with such a line is not run.
func (*wantRefused) do(*run) error { return nil }

// checkRefused holds the refusal of a load against what is wanted.
func (c *Case) checkRefused(err error) *Failure {
	l := c.refused[0]
	fail := func(got string) *Failure {
		return &Failure{Line: l.number, Run: "load", Wanted: "refused: " + l.act.(*wantRefused).text.text, Got: got}
	}
	if err == nil {
		return fail("the plugin loads with these settings")
	}
	texts := strings.Split(err.Error(), "\n")
	for _, text := range texts {
		at, _, ok := strings.Cut(text, ": ")
		file, number, hasLine := cutPlace(at)
		if !ok || !hasLine {
			return fail("a refusal without file and line: " + text)
		}
		if file == c.File.Name && !slices.ContainsFunc(c.settings, func(s setting) bool { return s.line == number }) && len(c.settings) > 0 {
			return fail("a refusal at a line that is no setting: " + text)
		}
	}
	for _, l = range c.refused {
		if !slices.ContainsFunc(texts, func(text string) bool {
			_, said, _ := strings.Cut(text, ": ")
			return l.act.(*wantRefused).text.match(said)
		}) {
			return fail(err.Error())
		}
	}
	return nil
}

// cutPlace divides "file:line".
func cutPlace(s string) (file string, line int, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, false
	}
	line, err := strconv.Atoi(s[i+1:])
	return s[:i], line, err == nil
}

func parseWantDelay(p *parser, rest string) action {
	if rest == "none" {
		return &wantDelay{}
	}
	d, err := config.ParseDuration(rest)
	if err != nil {
		p.fail("%v; write want delay 10s", err)
		return nil
	}
	return &wantDelay{d}
}

func (w *wantDelay) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.delayed != w.d {
		return wanted("a delay of "+config.FormatDuration(w.d), config.FormatDuration(r.delayed))
	}
	return nil
}

func (w *wantLog) do(r *run) error {
	lines := r.log.take()
	switch {
	case w.line == nil && len(lines) > 0:
		return wanted("nothing in the log", strings.Join(lines, "\n"))
	case w.line == nil || slices.ContainsFunc(lines, w.line.match):
		return nil
	case len(lines) == 0:
		return wanted("in the log: "+w.line.text, "nothing")
	}
	return wanted("in the log: "+w.line.text, strings.Join(lines, "\n"))
}

func parseWantKV(p *parser, rest string) action {
	if n, ok := cutWord(rest, "entries"); ok {
		entries, err := strconv.Atoi(n)
		if err != nil || entries < 0 {
			p.fail("write want kv entries 1")
			return nil
		}
		return &wantKV{entries: entries}
	}
	if key, ok := strings.CutSuffix(rest, " none"); ok {
		return &wantKV{key: bareKey(strings.TrimSpace(key)), entries: -1}
	}
	key, v, ok := cutAssignment(rest)
	if !ok {
		p.fail("write want kv KEY = VALUE, want kv KEY none, or want kv entries N")
		return nil
	}
	w := &wantKV{key: bareKey(key), entries: -1}
	if w.value, ok = p.value(v); !ok {
		return nil
	}
	return w
}

func (w *wantKV) do(r *run) error {
	if w.entries >= 0 {
		if keys := r.kv.entries(r.plugin); len(keys) != w.entries {
			return wanted(fmt.Sprintf("%d entries in kv", w.entries), fmt.Sprintf("%d: %s", len(keys), strings.Join(keys, ", ")))
		}
		return nil
	}
	got, _, err := r.kv.store.Get(r.plugin, w.key)
	if err != nil {
		return err
	}
	return compare("kv "+w.key, w.value, got)
}

func parseWantMetric(p *parser, rest string) action {
	name, v, _ := cutAssignment(rest)
	n, err := strconv.ParseUint(v, 10, 64)
	if name == "" || err != nil {
		p.fail("write want metric NAME = N, as listed = 1")
		return nil
	}
	return &wantMetric{name, n}
}

func (w *wantMetric) do(r *run) error {
	if got := r.counted(w.name); got != w.n {
		return wanted(fmt.Sprintf("metric %s = %d", w.name, w.n), fmt.Sprint(got))
	}
	return nil
}

// compare holds a value against the wanted one; nil is none.
func compare(what string, want, got any) error {
	if want == nil && got == nil || want != nil && same(want, got) {
		return nil
	}
	return wanted(what+" = "+show(want), show(got))
}

// copies are the recipients of the latest message, or the one that is named.
func (r *run) copies(rcpt string) (m *mail, places []int, err error) {
	if m, err = r.latest(); err != nil {
		return nil, nil, err
	}
	var who []smtp.Address
	if rcpt != "" {
		who = []smtp.Address{{Text: rcpt}}
	}
	places, err = m.some(who)
	return m, places, err
}

func parseWantOutcome(p *parser, rest string) action {
	head, text, ok := strings.Cut(rest, ":")
	list := strings.Fields(head)
	w := &wantOutcome{}
	if ok {
		reply := newPattern(unquote(strings.TrimSpace(text)))
		w.reply = &reply
	}
	if len(list) != 1 && (len(list) != 3 || list[1] != "for") {
		p.fail("write want outcome deferred [for RCPT][: PATTERN]")
		return nil
	}
	if len(list) == 3 {
		w.rcpt = strings.Trim(list[2], "<>")
	}
	var known []string
	for _, res := range []message.Result{message.Delivered, message.Deferred, message.Failed, message.Held, message.Discarded} {
		known = append(known, res.String())
	}
	if w.result = list[0]; !p.oneOf("outcome", w.result, known) {
		return nil
	}
	return w
}

func (w *wantOutcome) do(r *run) error {
	m, places, err := r.copies(w.rcpt)
	if err != nil {
		return err
	}
	for _, i := range places {
		o, want := m.rcpts[i].outcome, "<"+m.env.Rcpts[i].Address.Text+"> "+w.result
		if w.reply != nil {
			want += ": " + w.reply.text
		}
		switch {
		case o == nil:
			return wanted(want, "no outcome; write attempt before")
		case o.Result.String() != w.result || w.reply != nil && !w.reply.match(o.Reply.Error()):
			return wanted(want, o.Result.String()+": "+o.Reply.Error())
		}
	}
	return nil
}

func (w *wantAfter) do(r *run) error {
	m, places, err := r.copies("")
	if err != nil {
		return err
	}
	for _, i := range places {
		o := m.rcpts[i].outcome
		if o == nil || o.Result != message.Deferred {
			continue
		}
		if o.After != w.d {
			got := "when the schedule says"
			if o.After != 0 {
				got = config.FormatDuration(o.After)
			}
			return wanted("tried again after "+config.FormatDuration(w.d), got)
		}
		return nil
	}
	return wanted("tried again after "+config.FormatDuration(w.d), "nobody is deferred")
}

func (w *wantNotice) do(r *run) error {
	m, places, err := r.copies("")
	if err != nil {
		return err
	}
	owed := slices.ContainsFunc(places, func(i int) bool {
		d := &m.rcpts[i]
		return d.outcome != nil && d.outcome.Result == message.Failed && !d.told && owes(m.env)
	})
	if owed != w.yes {
		say := map[bool]string{true: "the sender is told", false: "nobody is told"}
		return wanted(say[w.yes], say[owed])
	}
	return nil
}
