package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
)

// selectorFlags adds the flags that choose messages; reason is the name of the one that looks at replies.
func selectorFlags(cmd *cobra.Command, reason string) func() (url.Values, error) {
	f := cmd.Flags()
	lists := map[string]*[]string{}
	for _, l := range []struct{ name, flag, usage string }{
		{queue.BySender, queue.BySender, "from this address; <> is the null sender"},
		{queue.ByRecipient, queue.ByRecipient, "to this address"},
		{queue.ByDomain, queue.ByDomain, "to recipients of this domain"},
		{queue.ByNextHop, queue.ByNextHop, "that waits for this next hop, as queue list --json shows it"},
		{queue.BySite, queue.BySite, "that waits for a next hop of this site"},
		{queue.ByTenant, queue.ByTenant, "of this tenant"},
		{queue.ByState, queue.ByState, "active, deferred, held or failed"},
		{reason, reason, "with this text in a last reply, or in why it is held"},
	} {
		list := []string{}
		lists[l.name] = &list
		f.StringArrayVar(&list, l.flag, nil, "mail "+l.usage)
	}
	var older, newer string
	var limit int
	f.StringVar(&older, queue.ByOlder, "", "mail that came at least so long ago, as in 90m or 2d")
	f.StringVar(&newer, queue.ByNewer, "", "mail that came less than so long ago")
	f.IntVar(&limit, queue.ByLimit, 0, "the first messages alone")
	_ = cmd.RegisterFlagCompletionFunc(queue.ByState, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{admin.StateActive, admin.StateDeferred, admin.StateHeld, admin.StateFailed}, cobra.ShellCompDirectiveNoFileComp
	})
	return func() (url.Values, error) {
		q := url.Values{}
		for name, list := range lists {
			if len(*list) > 0 {
				q[name] = *list
			}
		}
		for name, v := range map[string]string{queue.ByOlder: older, queue.ByNewer: newer} {
			if f.Changed(name) {
				q.Set(name, v)
			}
		}
		if f.Changed(queue.ByLimit) {
			q.Set(queue.ByLimit, fmt.Sprint(limit))
		}
		trial := url.Values{}
		for name, v := range q {
			if name == ofReason {
				name = queue.ByReason
			}
			trial[name] = slices.Clone(v)
		}
		if _, err := queue.ParseSelector(trial); err != nil {
			return nil, fail(exitUsage, "%w", err)
		}
		return q, nil
	}
}

// ofReason is what the flag is called that looks at replies, where --reason gives one.
const ofReason = "of-reason"

const selecting = "\n\nMessages are named by their ids, or chosen by flags: all that are given must be true, and where one is given several times, one of\n" +
	"its values. In names * stands for any text; upper and lower case are the same.\n"

func (a *app) queueHoldCommand() *cobra.Command {
	var reason string
	cmd := a.handCommand(queue.Hold, ofReason, "Stop all attempts to deliver messages, until they are released",
		"hold stops all attempts to deliver a message until it is released, also over restarts. An attempt that is under way ends as\n"+
			"it would. Mail that is held does not expire.",
		func(q url.Values) error {
			if reason != "" {
				q.Set("reason", reason)
			}
			return nil
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at the queue (default \"by hand\")")
	return cmd
}

func (a *app) queueReleaseCommand() *cobra.Command {
	return a.handCommand(queue.Release, queue.ByReason, "Let messages go on that are held",
		"release lets a message go on that was held by hand or by a plugin, all of it or some of its recipients. They are tried at once.", nil)
}

func (a *app) queueRetryCommand() *cobra.Command {
	return a.handCommand(queue.Retry, queue.ByReason, "Try messages now that wait for their next attempt",
		"retry makes the recipients of a message that wait for their next attempt due at once. Those that failed for good stay so. Chosen by\n"+
			"recipient, domain, next hop or reason, the others of a message wait on.", nil)
}

func (a *app) queueBounceCommand() *cobra.Command {
	var reply string
	cmd := a.handCommand(queue.Bounce, queue.ByReason, "Give messages up, and tell their senders",
		"bounce fails the recipients of a message for good, and its sender is told as of any failure. Chosen by recipient, domain, next hop or\n"+
			"reason, the others of a message go on. Those who are being tried right now are left alone.",
		func(q url.Values) error {
			if reply != "" {
				if _, err := queue.ParseReply(reply); err != nil {
					return fail(exitUsage, "--reply: %w", err)
				}
				q.Set("reply", reply)
			}
			return nil
		})
	cmd.Flags().StringVar(&reply, "reply", "", "what the sender is told (default \"550 5.7.0 returned by the postmaster\")")
	return cmd
}

func (a *app) queueDeleteCommand() *cobra.Command {
	return a.handCommand(queue.Delete, queue.ByReason, "Take messages out of the queue; nobody is told",
		"delete takes a message out of the queue for ever. Its sender is not told. Its record stays. Chosen by recipient, domain, next hop or\n"+
			"reason, the others of a message go on.", nil)
}

func (a *app) queueRerouteCommand() *cobra.Command {
	var to string
	var clear bool
	cmd := a.handCommand(queue.Reroute, queue.ByReason, "Send messages to another next hop",
		"reroute chooses the next hop of recipients for all attempts to come, whatever plugins say, and makes those due at once that wait:\n"+
			"host:port or smtp:host:port, lmtp:host:port, mx:domain for the exchangers of a domain, or transport:name. Those of a message that is held go there\n"+
			"when it is released. --clear leaves it to the plugins again, from the next attempt on. queue show tells what was chosen.",
		func(q url.Values) error {
			if clear == (to != "") {
				return fail(exitUsage, "say where with --to host:port, or --clear")
			}
			if clear {
				q.Set("clear", "")
				return nil
			}
			if _, err := message.ParseHop(to); err != nil {
				return fail(exitUsage, "--to: %w", err)
			}
			q.Set("to", to)
			return nil
		})
	cmd.Flags().StringVar(&to, "to", "", "the next hop: host:port, lmtp:host:port, mx:domain or transport:name")
	cmd.Flags().BoolVar(&clear, "clear", false, "let plugins choose again")
	return cmd
}

// handCommand makes the command of a verb; more adds what else it was given to the query.
func (a *app) handCommand(verb queue.Verb, reason, short, long string, more func(url.Values) error) *cobra.Command {
	name := string(verb)
	cmd := &cobra.Command{
		Use:   name + " [ID...]",
		Short: short,
		Long: long + selecting + "\nThe ID - stands for those that standard input has, separated by white space. What cannot be done for one message is said,\n" +
			"and the others are gone on with; the exit code is that of the first that failed, 66 when it is not in the queue.",
	}
	query := selectorFlags(cmd, reason)
	all := cmd.Flags().Bool("all", false, "all messages of the queue")
	dry := cmd.Flags().Bool("dry-run", false, "only say what would be done")
	asJSON := jsonFlag(cmd, "JSON Lines: one object a message, with its result or error")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		if n := len(q); len(args) == 0 && !*all && (n == 0 || n == 1 && q.Has(queue.ByLimit)) {
			return fail(exitUsage, "%s needs the ids of messages, flags that choose some, or --all", cmd.CommandPath())
		}
		if more != nil {
			if err := more(q); err != nil {
				return err
			}
		}
		if *dry {
			q.Set("dry-run", "")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		w := &handWork{app: a, client: c, cmd: cmd, out: outputOf(cmd), verb: verb, query: q, json: *asJSON, dry: *dry}
		if len(args) > 0 {
			return w.byID(args)
		}
		if *all {
			q.Set("all", "")
		}
		if *asJSON {
			q.Set("each", "")
		}
		return w.byChoice()
	}
	return cmd
}

// handWork is one command by hand.
type handWork struct {
	app    *app
	client *admin.Client
	cmd    *cobra.Command
	out    output
	verb   queue.Verb
	query  url.Values
	json   bool
	dry    bool

	alone       bool  // one message was named
	first       error // of those that failed
	all, failed int
}

// byID names the messages, as many at once as one request takes.
func (w *handWork) byID(args []string) error {
	w.alone = len(args) == 1 && args[0] != "-"
	var part []string
	for id, err := range ids(args, w.cmd.InOrStdin()) {
		if err != nil {
			return err
		}
		if part = append(part, id); len(part) == admin.MaxIDs {
			if err := w.named(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	if len(part) > 0 {
		if err := w.named(part); err != nil {
			return err
		}
	}
	if w.failed == 0 || w.alone {
		return w.first
	}
	return fail(w.app.exitCode(w.first), "queue %s failed for %d of %s", w.verb, w.failed, count(w.all, "message"))
}

func (w *handWork) named(part []string) error {
	for h, err := range w.client.Hand(w.cmd.Context(), w.verb, w.query, part) {
		if err != nil {
			if w.cmd.Context().Err() != nil {
				return fail(exitTemporary, "stopped: %s of %s", w.done(int64(w.all-w.failed), 0), count(w.all, "message"))
			}
			return err
		}
		if h.Progress != nil {
			continue
		}
		if err := w.line(&h); err != nil {
			return err
		}
	}
	return nil
}

// line shows what became of one message.
func (w *handWork) line(h *admin.Handled) error {
	w.all++
	if h.Error == "" {
		if w.json {
			return w.out.json(h)
		}
		w.out.printf("%s %s\n", printable(h.ID), printable(h.Result))
		return nil
	}
	err := &admin.Error{Status: h.Status, Text: h.Error, Hint: h.Hint}
	if w.failed++; w.first == nil {
		w.first = err
	}
	switch {
	case w.json:
		return w.out.json(failedHand{h.ID, h.Error, h.Hint})
	case !w.alone:
		w.cmd.PrintErrln(printable(err.Error()))
	}
	return nil
}

// byChoice goes through the queue. An interrupt stops it in order, so that what was done is known.
func (w *handWork) byChoice() error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.cmd.Context()))
	defer cancel()
	bar := newBar(w.cmd, !w.json)
	defer bar.clear()
	var last admin.Progress
	number := make(chan uint64, 1)
	go func() { // waits for an interrupt
		select {
		case <-w.cmd.Context().Done():
		case <-ctx.Done():
			return
		}
		wait, enough := context.WithTimeout(ctx, stopTime)
		defer enough()
		select {
		case work := <-number:
			if w.client.StopWork(wait, work) == nil {
				<-wait.Done() // for its last line
			}
		case <-wait.Done():
		}
		cancel()
	}()
	for h, err := range w.client.Hand(ctx, w.verb, w.query, nil) {
		if err != nil {
			bar.clear()
			if w.cmd.Context().Err() != nil {
				return fail(exitTemporary, "stopped: %s at least", w.done(last.Done, last.Recipients))
			}
			if last.Done > 0 {
				return fmt.Errorf("%s, then: %w", w.done(last.Done, last.Recipients), err)
			}
			return err
		}
		if p := h.Progress; p != nil {
			if last.Work == 0 {
				number <- p.Work
			}
			last = *p
			bar.show(&last, w.done(last.Done, 0))
			continue
		}
		bar.clear()
		if h.Error != "" {
			if err := w.out.json(failedHand{h.ID, h.Error, h.Hint}); err != nil {
				return err
			}
		} else if err := w.out.json(h); err != nil {
			return err
		}
	}
	bar.clear()
	if last.Stopped {
		return fail(exitTemporary, "stopped: %s", w.done(last.Done, last.Recipients))
	}
	if w.json {
		return nil
	}
	if last.Done == 0 && len(last.Left) == 0 {
		w.out.printf("no message is like that\n")
		return nil
	}
	w.out.printf("%s\n", w.done(last.Done, last.Recipients))
	for _, why := range slices.Sorted(maps.Keys(last.Left)) {
		w.out.printf("%s left as it was: it %s\n", count(last.Left[why], "message"), printable(why))
	}
	return nil
}

// stopTime is how long a command that is stopped waits for the server's last word.
const stopTime = 10 * time.Second

// done says how many were changed.
func (w *handWork) done(messages, recipients int64) string {
	words := w.verb.Done()
	if w.dry {
		words = "would be " + words
	}
	whose := count(messages, "message")
	if recipients > messages {
		whose = count(recipients, "recipient") + " of " + whose
	}
	if w.dry {
		return whose + " " + words
	}
	return words + " " + whose
}

// bar shows on a terminal how far long work is.
type bar struct {
	w     io.Writer
	begun time.Time
	drawn bool
}

const barAfter = 500 * time.Millisecond // shorter work needs none

func newBar(cmd *cobra.Command, wanted bool) *bar {
	b := &bar{begun: time.Now()}
	if f, ok := cmd.ErrOrStderr().(*os.File); ok && wanted && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) {
		b.w = f
	}
	return b
}

func (b *bar) show(p *admin.Progress, done string) {
	b.line(func(took time.Duration) string { return barLine(p, done, took) })
}

// line draws a line, if the work has taken long enough.
func (b *bar) line(words func(took time.Duration) string) {
	if took := time.Since(b.begun); b.w != nil && took >= barAfter {
		b.drawn = true
		fmt.Fprintf(b.w, "\r\x1b[K%s", b.fitting(words(took)))
	}
}

// fitting cuts off what the terminal would put into another line, from which it would not be taken away again.
func (b *bar) fitting(line string) string {
	f, ok := b.w.(*os.File)
	if !ok {
		return line
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if all := []rune(line); err == nil && columns > 0 && len(all) >= columns {
		return string(all[:columns-1])
	}
	return line
}

// barLine is how far it is in words, with a bar of 20 characters.
func barLine(p *admin.Progress, done string, took time.Duration) string {
	total := max(p.Total, p.Looked, 1)
	full := int(20 * p.Looked / total)
	return fmt.Sprintf("[%s%s] %3d %%  %s, %d/s", strings.Repeat("#", full), strings.Repeat(".", 20-full), 100*p.Looked/total, done, int(float64(p.Looked)/max(took.Seconds(), 0.001)))
}

func (b *bar) clear() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
}

// failedHand is what JSON output says of a message that was not changed.
type failedHand struct {
	ID    string `json:"id"`
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// ids gives the arguments; for - the words of in, as they come.
func ids(args []string, in io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, arg := range args {
			if arg != "-" {
				if !yield(arg, nil) {
					return
				}
				continue
			}
			words := bufio.NewScanner(in)
			words.Split(bufio.ScanWords)
			for words.Scan() {
				if !yield(words.Text(), nil) {
					return
				}
			}
			if err := words.Err(); err != nil {
				yield("", fail(exitIO, "standard input cannot be read: %w", err))
				return
			}
		}
	}
}
