// The command hardeningtest sends a mail server what attackers, broken clients and bad luck send, and checks that it survives:
// scripts/hardening builds and runs it. The cases are data, the folder cases has a file for each section; generate.go makes more of
// them, of the same kinds with other octets. It runs against any server that takes mail for a domain from strangers:
//
//	scripts/hardening [flags] ADDRESS
//
// Without an address it starts a Stagepost of its own, with -postfix a Postfix, in a temporary folder, on loopback. A server of
// somebody else is given with what it can do:
//
//	-domain NAME          the domain for which it takes mail from strangers (hardening.test)
//	-tls-address A        a listener that speaks TLS from the first octet
//	-submission A         a listener for mail of users
//	-user NAME:PASSWORD   one of them
//	-sink A               the next hop: this program listens there, and sees what the server under test passes on. Without it
//	                      only the dialogues are judged
//	-stagepost            the server is a Stagepost: it is held to what cases say behind "stagepost:"
//
// Each case is sent in three ways: in one segment, byte by byte, and with a pause of 200 ms in the middle. The verdict over each play
// is: passed; failed, it did something else; crashed, it no longer greets a new connection; hung, no reply and no end of the
// connection came in time. What needs a thing that the server does not offer is left out, and so is what is slow, without -slow.
//
// # Files of cases
//
// A line says one thing, its first word what. A file begins with "section NUMBER TITLE"; "#" in front is a comment.
//
//	case NAME              begins a case. It starts connected to the listener mx
//	part NAME              begins steps that cases take by "use NAME"
//	needs FEATURE ...      of a case: it is left out where the server lacks one; features() lists them
//	ways segment pause     of a case: only in these ways; the others are octets (byte by byte)
//	gone half close        of a case: also so that the client ends its connection (half close, reset, close) after each octet that it
//	                       sends, from the first "pause" on
//	bound 30s              of a case: the time for a reply, instead of 10 s
//	slow 6m                of a case: likewise, and it is played only with -slow
//	alone                  of a case: nothing else is played at the same time
//
// What the client does. Text between two steps of another kind is one group: that is what is cut into segments.
//
//	C: TEXT                sends a line, with CRLF
//	T: TEXT                sends text without
//	X: 0A 2E 0A            sends octets
//	1000 * C: TEXT         the same again and again; also T:, X: and S:
//	pause                  the place where the way "with a pause" pauses; without one it is the middle of each group
//	wait 2s                does nothing for a while
//	flood 1GB of TEXT      sends text again and again, until so much is sent or the connection ends, while the steps that follow are taken
//	flood 1kB every 5s of TEXT
//	connect LISTENER from 127.0.0.9   another connection; the one before stays open. Both words may be left out
//	each TEXT              what each connection of the next crowd sends first, with CRLF; {n} is its number
//	crowd 200 PATTERN with PATTERN    so many connections more from the same address, each greeted by a reply of the first pattern, and
//	                       one at least by one of the second; "crowd 200 from many ..." each from another address; "crowd 200 quiet"
//	                       without waiting for replies
//	TLS OPTION ...         a handshake: joined (with text before it in the segment of ClientHello), alpn=h2,http/1.1, version=1.1,
//	                       suites=RC4, name=NAME (of SNI), slow=1s (between two octets), fails (it must), may-fail, resumes (the
//	                       session of an earlier connection must be taken up), resumes-not (it must not), shows=rsa7640|rsa8676|evil
//	                       (a certificate of the client), forged (what follows is sent in records of this program's own making),
//	                       updates=N (likewise, after so many updates of the keys), early (text before it is sent as data before the
//	                       handshake, with which the connection ends)
//	again                  begins another handshake on the connection, which must be refused; after TLS version=1.2 forged
//	TLS close              sends close_notify; what follows is sent in clear
//	half close, reset, close
//
// What the server must do. A PATTERN is a choice: "250|5xx", "501 5.5.4", "554!" after which it closes the connection, "closed" without
// a reply, "5xx?" after which there is no more to the case. Where it closes as it may, or there is no more, the rest does not count
// until "connect", but for what is said about messages. Behind "stagepost:" stands a pattern that holds for a Stagepost instead.
//
//	S: PATTERN             its next reply
//	R: PATTERN             all its replies until it closes the connection, which it must
//	last PATTERN           the reply that was read last, once more
//	closed                 it closes the connection without a further reply
//	quiet                  it says nothing for 300 ms
//	offers KEYWORD, offers no KEYWORD   in its reply to the last EHLO
//	took at most 1MB       of the flood, which has ended by now because the connection did
//	arrived 1, arrived at most 1, arrived none   messages of this case that came to the next hop
//	arrived as told        one if the reply that was read last says so, else none
//	B: TEXT                a line of the body of each message that came; all such lines are the whole body
//	header TEXT, header no TEXT   what stands somewhere in the header of each message that came, in letters of any case, or nowhere
//	sender TEXT, recipient TEXT   as each message that came has it in MAIL and RCPT
//
// In TEXT braces are filled in: {from} and {to} are addresses of this play, {bad} one that the server does not take mail for, {domain},
// {token}, {user}, {password}, {n} the number of a repetition from 0; {x 00 0D} octets, {1000 * text} a repetition, {base64 text}, {random 1000} octets of any value; {{ is a brace.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

//go:embed cases/*.txt
var files embed.FS

// options are the flags.
type options struct {
	program, only, user, domain string
	tls, submission, sink       string
	postfix, json, slow         bool
	stagepost                   bool
	parallel, family            int
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "", "the binary of Stagepost that is started when no address is given")
	flag.BoolVar(&o.postfix, "postfix", false, "start a Postfix instead (root, the Debian package)")
	flag.BoolVar(&o.stagepost, "stagepost", false, "the server is a Stagepost: it is held to what only that promises, too")
	flag.StringVar(&o.tls, "tls-address", "", "where the server speaks TLS from the first octet")
	flag.StringVar(&o.submission, "submission", "", "where it takes mail of users")
	flag.StringVar(&o.sink, "sink", "", "where to listen as the next hop of the server")
	flag.StringVar(&o.user, "user", "", "NAME:PASSWORD of a user")
	flag.StringVar(&o.domain, "domain", "hardening.test", "the domain for which the server takes mail from strangers")
	flag.StringVar(&o.only, "only", "", "a regular expression: only cases whose section and name, as in \"1.1 E1\", match")
	flag.BoolVar(&o.json, "json", false, "write each play as a line of JSON instead")
	flag.BoolVar(&o.slow, "slow", false, "play the slow cases, too")
	flag.IntVar(&o.parallel, "parallel", 48, "how many cases are played at once")
	flag.IntVar(&o.family, "neighbours", 6, "how many octets the neighbours of E1 have at most")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, o, flag.Args(), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "hardening: %v\n", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run plays what the options ask for; ok tells that every play passed or was left out.
func run(ctx context.Context, o options, args []string, out io.Writer) (ok bool, err error) {
	sections, err := load()
	if err != nil {
		return false, err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return false, fmt.Errorf("-only: %w", err)
	}
	sections = append(sections, generated(o.family)...)
	slices.SortStableFunc(sections, func(a, b *section) int {
		return cmp.Or(cmp.Compare(len(a.number), len(b.number)), cmp.Compare(a.number, b.number))
	})
	t, err := o.target(args)
	if err != nil {
		return false, err
	}
	if t.close != nil {
		defer t.close()
	}
	if err := t.explore(); err != nil {
		return false, err
	}
	r := &runner{target: t, parallel: max(o.parallel, 1), slow: o.slow}
	results, fault := r.play(ctx, chosen(sections, only))
	if fault != nil && results == nil {
		return false, fault
	}
	if t.inspect != nil {
		results = append(results, t.inspect(only)...)
	}
	rep := &report{target: t.name, notes: t.notes, sections: sections, results: results}
	if o.json {
		err = rep.json(out)
	} else {
		rep.print(out)
	}
	return rep.ok(), errors.Join(fault, err)
}

// load reads the files of cases.
func load() (sections []*section, err error) {
	entries, err := files.ReadDir("cases")
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, e := range entries {
		name := "cases/" + e.Name()
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s, err := parse(name, string(text))
		sections, faults = append(sections, s), append(faults, err)
	}
	return sections, errors.Join(faults...)
}

// chosen gives the cases that match.
func chosen(sections []*section, only *regexp.Regexp) (scripts []*script) {
	for _, s := range sections {
		for _, c := range s.cases {
			if only.MatchString(c.section + " " + c.name) {
				scripts = append(scripts, c)
			}
		}
	}
	return scripts
}

// target is the server that the options name.
func (o options) target(args []string) (*target, error) {
	if len(args) > 1 {
		return nil, errors.New("want one address at most")
	}
	if len(args) == 0 && o.postfix {
		return startPostfix()
	}
	if len(args) == 0 {
		if o.program == "" {
			return nil, errors.New("want an address, -postfix, or the binary of Stagepost in -program; run scripts/hardening")
		}
		return startStagepost(o.program)
	}
	t := newTarget(args[0])
	t.addresses = map[string]string{"mx": args[0], "tls": o.tls, "submission": o.submission}
	t.domain, t.strict = o.domain, o.stagepost
	if o.user != "" {
		t.user, t.password, _ = strings.Cut(o.user, ":")
	}
	if o.sink != "" {
		s, err := newSink(o.sink)
		if err != nil {
			return nil, fmt.Errorf("-sink: %w", err)
		}
		t.sink, t.close = s, s.close
	}
	return t, nil
}
