package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/hooks"
)

// show sends the demo's messages and prints their records as they grow.
type show struct {
	out    output
	table  *table
	daemon *daemon
	world  *internet
	server string
	dir    string
	begun  time.Time
	last   *posted // whose steps were printed last

	// Where the demo goes on: the newest generation that a step named, and what was answered to the message before.
	generation uint64
	answers    map[string]bool
}

// play sends every letter and follows them until each came to its end.
func (s *show) play(ctx context.Context) error {
	s.out.printf("%s listens on %s; its files are in %s\n", s.out.paint(bold, "mx1.demo.example"), s.server, printable(s.dir))
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	var open []*posted
	letters := demoLetters()
	for i := range letters {
		p, err := letters[i].post(ctx, s.server)
		if err != nil {
			return s.reason(parent, fmt.Errorf("the message to <%s>: %w", letters[i].to[0], err))
		}
		// Most are at an end at once; then their lines stand together.
		for end := time.Now().Add(demoPace); len(p.outcomes) == 0 && time.Now().Before(end) && sleep(ctx, demoLook) == nil; {
			if err := s.follow(ctx, p, s.print); err != nil {
				return s.reason(parent, err)
			}
		}
		open = append(open, p)
	}
	for {
		var left []string
		for _, p := range open {
			if err := s.follow(ctx, p, s.print); err != nil {
				return s.reason(parent, err)
			}
			done, err := p.ended()
			if err != nil {
				return s.reason(parent, err)
			}
			if !done {
				left = append(left, p.id)
			}
		}
		if len(left) == 0 {
			break
		}
		if err := sleep(ctx, demoLook); err != nil {
			return s.reason(parent, fmt.Errorf("%s came to no end in %s; with --keep DIR there is something to look at", strings.Join(left, ", "), duration(demoPatience)))
		}
	}
	return s.reason(parent, s.summary(open))
}

// reason is an error of the demo: what went wrong is the server's or this machine's doing, unless the user broke it off.
func (s *show) reason(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = errors.New("it was broken off before every message came to its end")
	}
	return fail(1, "the demo failed: %w", err)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow prints what is new in the record of a message.
func (s *show) follow(ctx context.Context, p *posted, print func(*posted, *observe.Step)) error {
	steps, err := s.daemon.records.Find(ctx, p.id)
	if err != nil {
		return err
	}
	for i := p.shown; i < len(steps); i++ {
		print(p, &steps[i])
		p.note(&steps[i])
	}
	p.shown = len(steps)
	s.table.flush()
	return nil
}

// print adds a line for a step, under a heading where another message was the subject before.
func (s *show) print(p *posted, step *observe.Step) {
	if s.last != p {
		s.table.flush()
		about := p.about
		if p.shown > 0 {
			about = "once more"
		}
		s.out.printf("\n%s to %s: %s\n", s.out.paint(bold, p.id), strings.Join(p.to, ", "), about)
		s.last = p
	}
	s.row(step, "")
}

// row adds a line of the table: stage, plugin, verdict, time, and what there is to say.
func (s *show) row(step *observe.Step, mark string) {
	took := ""
	if step.Micros > 0 {
		took = duration(time.Duration(step.Micros) * time.Microsecond)
	}
	var what []string
	if len(step.Edits) > 0 {
		what = append(what, "edits: "+strings.Join(step.Edits, ", "))
	}
	if step.Detail != "" {
		what = append(what, step.Detail)
	}
	p := plain
	if mark != "" {
		what, p = append(what, mark), yellow
	}
	s.table.add(text("  "+step.Stage), text(step.Plugin), cell{step.Verdict, verdictPaint(step.Verdict)}, text(took), cell{strings.Join(what, "; "), p})
}

// summary checks what arrived and says what came of it all.
func (s *show) summary(all []*posted) error {
	var count [waits + 1]int
	for _, p := range all {
		for i, to := range p.to {
			count[p.want[i]]++
			got, there := s.world.got(to)
			switch want := p.want[i] == arrives || p.want[i] == arrivesLater; {
			case want != there:
				return fmt.Errorf("<%s>: whether it arrived is %t, and its record says otherwise", to, there)
			case want && fieldOf(got, "Subject") != "[demo] Hello":
				return fmt.Errorf("<%s>: the subject is %q, and the plugin hello should have made it %q", to, fieldOf(got, "Subject"), "[demo] Hello")
			}
		}
	}
	s.out.printf("\n%d messages in %s: %d recipients delivered, %d of them at the second try; %d refused; %d waits for its server.\n",
		len(all), duration(time.Since(s.begun)), count[arrives]+count[arrivesLater], count[arrivesLater], count[refused], count[waits])
	s.out.printf("The subject left as \"Hello\" and arrived as \"[demo] Hello\": that is plugins/hello.lua, at stage data.\n")
	return nil
}

// goOn sends the first letter again and again, so that a change of a plugin can be watched, until ctx ends.
func (s *show) goOn(ctx context.Context) error {
	file := filepath.Join(s.dir, "plugins", "hello.lua")
	s.out.printf("\n%s\n  in %s:%d\n  write defer in place of reject, and save. Ctrl-C ends the demo.\n\n",
		s.out.paint(bold, "The server goes on. Change a plugin and watch:"), printable(file), lineWith(file, "nobody reads this mailbox"))
	letter := demoLetters()[0]
	for sleep(ctx, demoPace) == nil {
		p, err := letter.post(ctx, s.server)
		switch {
		case err == nil:
			s.compare(s.collect(ctx, p))
		case ctx.Err() == nil:
			s.out.printf("  %s\n", printable(err.Error()))
		}
	}
	s.out.printf("\n")
	return nil
}

// collect returns the record of a message, with its first outcome if that does not take long.
func (s *show) collect(ctx context.Context, p *posted) []observe.Step {
	var steps []observe.Step
	for end := time.Now().Add(demoPace); len(p.outcomes) == 0 && time.Now().Before(end); {
		if s.follow(ctx, p, func(_ *posted, step *observe.Step) { steps = append(steps, *step) }) != nil || sleep(ctx, demoLook) != nil {
			break
		}
	}
	return steps
}

// compare prints what hello answered and what became of the message, and marks what plugins of a new generation answered
// otherwise than to the message before.
func (s *show) compare(steps []observe.Step) {
	newest := s.generation
	for i := range steps {
		newest = max(newest, steps[i].Generation)
	}
	answers := map[string]bool{}
	for i := range steps {
		step := &steps[i]
		key := fmt.Sprint(step.Stage, step.Plugin, step.Verdict, step.Edits, step.Detail)
		answers[key] = true
		switch {
		case step.Plugin != "" && newest > s.generation && s.answers != nil && !s.answers[key]:
			s.row(step, fmt.Sprintf("<- changed in generation %d", newest))
		case step.Plugin == "hello" && step.Verdict != hooks.Next.String(), step.Stage == "outcome":
			s.row(step, "")
		}
	}
	s.table.flush()
	s.generation, s.answers = newest, answers
}

// lineWith finds the line of a file that holds a text; 1 if none does.
func lineWith(file, text string) int {
	data, _ := os.ReadFile(file)
	before, _, found := strings.Cut(string(data), text)
	if !found {
		return 1
	}
	return 1 + strings.Count(before, "\n")
}
