package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// exposures bound the classes of the time between a reply and the kill; there is one more class, from the last bound on.
var exposures = [...]time.Duration{0, 1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond}

// report is what came out of a run.
type report struct {
	settings
	*ledger
	log               *logbook
	killing, draining time.Duration
	killed            map[event]int
	readyAfter        []time.Duration
	slow              []string        // starts, and what they waited for
	gaps              []time.Duration // from the dot of an ACK to its reply, in order
	ends              map[end]int
	unkHeld           int // UNK that the server had
	rcpts             int // of messages that the server took
	delivered, lost   int
	failedListed      int // refused by the sink, listed as failed
	failedTold        int // refused by the sink, the sender was told
	failedNull        int // refused by the sink, nobody is to be told
	expired           int // given up, the sender was told
	late              int // recipients of whose delay the sender was told
	unwanted          int // notices that were refused for good: nobody is told of that
	repeated, most    int // deliveries beyond the first; the most of one message to one recipient
	unconfirmed       int // U: attempts that the sink had and we cannot know of
	crashed           int // C
	refusedAgain      int // refused recipients tried again because of a crash
	noticesAgain      int // delivered again because of a crash
	exposed, undone   [len(exposures) + 1]int
	latest            time.Duration // the longest time before a kill whose delivery was repeated
	lagged            time.Duration // the longest that a mark was certainly late
	violations        []violation
}

// violation is one breach of a rule.
type violation struct {
	rule   string
	n      int    // the message, -1: none
	id     string // the server's, if known
	text   string
	detail string
}

func (r *report) violate(rule string, n int, id, format string, args ...any) {
	r.violations = append(r.violations, violation{rule: rule, n: n, id: id, text: fmt.Sprintf(format, args...)})
}

const explain = 5 // violations that are shown in full

// explain adds both ends' accounts and the server's own record to the first violations.
func (r *report) explain(ctx context.Context, sv *server) {
	for i := range r.violations[:min(len(r.violations), explain)] {
		v := &r.violations[i]
		if v.n < 0 {
			continue
		}
		v.detail = r.story(v.n)
		if v.id != "" {
			trace, err := sv.ask(ctx, "trace", v.id)
			if err != nil {
				trace += err.Error()
			}
			v.detail += indent("stagepost trace " + v.id + "\n" + strings.TrimSpace(trace))
		}
	}
}

// story is what both ends know of a message.
func (r *report) story(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	var zero time.Time
	at := func(t time.Time) string { return t.Sub(zero).Round(100 * time.Microsecond).String() }
	lives := map[int]bool{}
	if len(r.lives) > 0 {
		zero = r.lives[0].started
	}
	for _, s := range r.submissions {
		if s.n == n {
			fmt.Fprintf(&b, "    source: %s %q at %s, to process %d, for %s\n", s.end, s.reply, at(s.at), s.life, strings.Join(s.rcpts, ", "))
			lives[s.life] = true
		}
	}
	for i, a := range r.attempts {
		ours := a.owner == n
		var rcpts []string
		for _, rcpt := range a.rcpts {
			rcpts = append(rcpts, fmt.Sprintf("%s %d", rcpt.address, rcpt.code))
			ours = ours || strings.Contains(rcpt.address, fmt.Sprintf("-%d@", n))
		}
		if !ours {
			continue
		}
		lives[a.life] = true
		fmt.Fprintf(&b, "    sink: transaction %d, process %d, began %s", i, a.life, at(a.began))
		if !a.seen.IsZero() {
			fmt.Fprintf(&b, ", dot %s (id %s, SHA-256 %.12s)", at(a.seen), a.id, a.hash)
		}
		if !a.replied.IsZero() {
			fmt.Fprintf(&b, ", answered %s with %d", at(a.replied), a.dot)
		}
		if a.confirmed {
			b.WriteString(", confirmed")
		}
		fmt.Fprintf(&b, ": %s\n", strings.Join(rcpts, ", "))
	}
	for i, l := range r.lives {
		if lives[i] && !l.killed.IsZero() {
			fmt.Fprintf(&b, "    process %d: killed %s, %s after %s\n", i, at(l.killed), l.delay.Round(100*time.Microsecond), l.event)
		}
	}
	return b.String()
}

func (r *report) print(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-22s "+format+"\n", append([]any{name}, args...)...)
	}
	count := func(rule string) (n int) {
		for _, v := range r.violations {
			if v.rule == rule {
				n++
			}
		}
		return n
	}
	kills := 0
	var after []string
	for _, e := range events() {
		kills += r.killed[e]
		after = append(after, fmt.Sprintf("%s %d", e, r.killed[e]))
	}
	sent := 0
	for _, n := range r.ends {
		sent += n
	}
	fmt.Fprintln(w)
	line("kills", "%d in %.0f s, drained in %.0f s; after %s", kills, r.killing.Seconds(), r.draining.Seconds(), strings.Join(after, ", "))
	line("messages", "%d: %d ACK, %d NAK, %d UNK (%d of them taken), %d CUT", sent, r.ends[ack], r.ends[nak], r.ends[unk], r.unkHeld, r.ends[cut])
	line("recipients taken", "%d: %d delivered; refused by the sink: %d listed as failed, %d told to the sender, %d of the null sender; expired and told: %d",
		r.rcpts, r.delivered, r.failedListed, r.failedTold, r.failedNull, r.expired)
	line("lost (N1)", "%d; violations %d", r.lost, count("N1"))
	line("ghosts (N2)", "%d", count("N2"))
	line("UNK beyond one (N3)", "%d", count("N3"))
	line("duplicates (N4)", "%d deliveries beyond the first, at most %d of one; bound U + C = %d + %d; violations %d",
		r.repeated, r.most, r.unconfirmed, r.crashed, count("N4"))
	line("refused, again (N5)", "%d after crashes; violations %d", r.refusedAgain, count("N5"))
	line("bytes (N6)", "%d", count("N6"))
	line("told twice (N7)", "%d; told of a delay: %d recipients; %d notices refused, which makes none; %d delivered again after crashes", count("N7"), r.late, r.unwanted, r.noticesAgain)
	if n := len(r.gaps); n > 0 {
		line("dot to 250 (N8)", "median %s, 99 %% within %s, most %s", r.gaps[n/2].Round(10*time.Microsecond), r.gaps[n*99/100].Round(10*time.Microsecond), r.gaps[n-1].Round(time.Millisecond))
	}
	line("up", "%d", count("up"))
	if n := len(r.readyAfter); n > 0 {
		line("ready after restart", "median %s, most %s, of %d", r.readyAfter[n/2].Round(time.Millisecond), r.readyAfter[n-1].Round(time.Millisecond), n)
	}
	for _, s := range r.slow[:min(len(r.slow), 5)] {
		fmt.Fprintln(w, "a slow start took", s)
	}
	fmt.Fprintln(w, "taken by the sink so long before a kill, and repeated:")
	for k := range r.exposed {
		name := "the kill was first"
		switch {
		case k == len(exposures):
			name = "longer"
		case k > 0:
			name = "up to " + exposures[k].String()
		}
		line("  "+name, "%6d of %d", r.undone[k], r.exposed[k])
	}
	line("  longest, repeated", "%s; a mark was certainly late by at most %s", r.latest.Round(10*time.Microsecond), r.lagged.Round(10*time.Microsecond))
	r.log.print(w)
	if len(r.violations) == 0 {
		fmt.Fprintln(w, "no rule is violated")
		return
	}
	fmt.Fprintf(w, "\n%d VIOLATIONS\n", len(r.violations))
	for i, v := range r.violations {
		if i == 50 {
			fmt.Fprintf(w, "and %d more\n", len(r.violations)-i)
			break
		}
		fmt.Fprintf(w, "%s message %d %s: %s\n%s", v.rule, v.n, v.id, v.text, v.detail)
		if v.detail != "" {
			fmt.Fprintln(w)
		}
	}
}

// print shows the warnings and errors.
func (b *logbook) print(w io.Writer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for key := range b.count {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(w, "the server logged %d times: %s\n    %.300s\n", b.count[key], key, b.first[key])
	}
}
