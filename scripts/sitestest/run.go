package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/scripts/longrun"
)

// slowScripts are the ways in which sites are slow; they take turns.
func slowScripts() []remotetest.Script {
	return []remotetest.Script{
		{"EHLO": "delay 10s | 250 slow.example", "MAIL": "delay 10s | 250 ok", "RCPT": "delay 10s | 250 ok"},
		{"banner": "drip 220 slow.example ESMTP"},
		{"dot": "delay 30s | 250 taken"},
		{"banner": "silent"},
	}
}

// ledger keeps what came to the good sites.
type ledger struct {
	mu    sync.Mutex
	came  map[string]int // tokens
	times []time.Duration
}

const tokenField = "X-Token: "

// take is called by the good sites. A token ends in the time when its message was sent.
func (l *ledger) take(m *remotetest.Message) {
	_, rest, _ := bytes.Cut(m.Content, []byte(tokenField))
	token, _, _ := bytes.Cut(rest, []byte("\r\n"))
	_, sent, _ := strings.Cut(string(token), "@")
	nanos, _ := strconv.ParseInt(sent, 10, 64)
	took := time.Since(time.Unix(0, nanos))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came[string(token)]++
	l.times = append(l.times, took)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

func run(ctx context.Context, s settings, out io.Writer) (violations []string, err error) {
	alone, bad, err := once(ctx, s, 0, filepath.Join(s.dir, "alone"), out)
	if err != nil {
		return nil, err
	}
	beside, bad2, err := once(ctx, s, s.slow, filepath.Join(s.dir, "beside"), out)
	if err != nil {
		return nil, err
	}
	violations = append(bad, bad2...)
	part := beside / alone
	fmt.Fprintf(out, "%d good sites: %.0f messages a second alone, %.0f beside %d slow ones: %.0f %%\n", s.sites-s.slow, alone, beside, s.slow, 100*part)
	if part < s.least {
		violations = append(violations, fmt.Sprintf("rest: %.0f %% of the rate alone are left to the good sites, at least %.0f %% are to be", 100*part, 100*s.least))
	}
	return violations, nil
}

// once runs a server with the good sites and so many slow ones. rate is how many messages a second came to the good ones.
func once(ctx context.Context, s settings, slow int, dir string, out io.Writer) (rate float64, violations []string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return 0, nil, err
	}
	l := &ledger{came: map[string]int{}}
	hops, goods, slows := map[string]string{}, []string{}, []string{}
	for i := range s.sites - s.slow + slow {
		o, scripts, domain := remotetest.Options{Taken: l.take}, []remotetest.Script{{"EHLO": "250-good.example\n250-PIPELINING\n250 8BITMIME"}}, fmt.Sprintf("good%d.example", i)
		if i >= s.sites-s.slow {
			n := i % len(slowScripts())
			o, scripts, domain = remotetest.Options{Taken: func(*remotetest.Message) {}}, slowScripts()[n:n+1], fmt.Sprintf("slow%d.example", i)
			slows = append(slows, domain)
		} else {
			goods = append(goods, domain)
		}
		r := remotetest.Start(o, scripts...)
		defer r.Close()
		if hops[domain], err = r.ListenAt("127.0.0.1:0"); err != nil {
			return 0, nil, err
		}
	}
	if err := longrun.Configure(dir, hops); err != nil {
		return 0, nil, err
	}
	srv, err := longrun.Start(ctx, s.program, dir)
	if err != nil {
		return 0, nil, err
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			srv.Kill() // else it waits for the answers of slow sites
		}
	}
	defer stop()

	sending, cancel := context.WithTimeout(ctx, s.during)
	defer cancel()
	var accepted sync.Map // tokens
	var taken, toSlow, n atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range s.senders {
		group.Go(func() {
			stream(sending, srv.Address, func() (string, string) {
				i := n.Add(1)
				return goods[int(i)%len(goods)], fmt.Sprintf("%d@%d", i, time.Now().UnixNano())
			}, func(token string) {
				accepted.Store(token, true)
				taken.Add(1)
			})
		})
	}
	if slow > 0 {
		tick := time.NewTicker(time.Second / time.Duration(s.rate))
		defer tick.Stop()
		group.Go(func() {
			stream(sending, srv.Address, func() (string, string) {
				<-tick.C
				i := int(n.Add(1))
				return slows[i%len(slows)], fmt.Sprintf("slow %d", i)
			}, func(string) { toSlow.Add(1) })
		})
	}
	group.Wait()
	rate = float64(l.count()) / time.Since(began).Seconds()
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	for end := time.Now().Add(longrun.Patience); l.count() < int(taken.Load()) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	stop()

	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.times)
	share := func(percent int) time.Duration {
		if len(l.times) == 0 {
			return 0
		}
		return l.times[(len(l.times)-1)*percent/100].Round(time.Millisecond)
	}
	fmt.Fprintf(out, "%d good and %d slow sites, %v: %d accepted for the good, %d for the slow; %.0f a second came to the good, half of them within %v, 99 of 100 within %v, all within %v\n",
		len(goods), len(slows), s.during, taken.Load(), toSlow.Load(), rate, share(50), share(99), share(100))
	lost, doubled := 0, 0
	accepted.Range(func(token, _ any) bool {
		if l.came[token.(string)] == 0 {
			lost++
		}
		return true
	})
	for _, times := range l.came {
		if times > 1 {
			doubled++
		}
	}
	if lost > 0 {
		violations = append(violations, fmt.Sprintf("lost: %d messages for good sites beside %d slow ones did not come", lost, slow))
	}
	if doubled > 0 {
		violations = append(violations, fmt.Sprintf("doubled: %d messages beside %d slow sites", doubled, slow))
	}
	return rate, violations, nil
}

// stream sends messages over one connection after the other until ctx ends; next says to which domain and with which token.
func stream(ctx context.Context, address string, next func() (domain, token string), accepted func(token string)) {
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		converse(ctx, conn, next, accepted)
		conn.Close()
	}
}

// body is what messages hold.
var body = strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz\r\n", 50)

func converse(ctx context.Context, conn net.Conn, next func() (domain, token string), accepted func(token string)) {
	in := bufio.NewReader(conn)
	say := func(text, want string) bool {
		conn.SetDeadline(time.Now().Add(longrun.Patience))
		if _, err := io.WriteString(conn, text); err != nil {
			return false
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) {
				return false
			}
			if len(line) > 3 && line[3] != '-' {
				return true
			}
		}
	}
	if !say("", "220") || !say("EHLO client.example\r\n", "250") {
		return
	}
	for ctx.Err() == nil {
		domain, token := next()
		if !say("MAIL FROM:<>\r\n", "250") || !say("RCPT TO:<u@"+domain+">\r\n", "250") || !say("DATA\r\n", "354") ||
			!say(tokenField+token+"\r\nSubject: x\r\n\r\n"+body+".\r\n", "250") {
			return
		}
		accepted(token)
	}
}
