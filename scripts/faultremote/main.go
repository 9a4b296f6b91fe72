// The command faultremote is a mail server that misbehaves as a file of scripts tells it, at an address, for whoever wants to see
// what a mail system makes of it:
//
//	go run ./scripts/faultremote -listen 127.0.0.1:2526 FILE [CASE]
//
// The form of the file is that of remotetest.Parse; cases/ beside this holds the misbehaviours that the server itself is tested with.
// Of a case with several hosts, -host names one. What is said on each connection is printed, "C:" by the client and "S:" by this.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// Notes are the words of cases that are about the test and not about the server.
func notes() []string { return []string{"row", "dns", "later", "down", "unreachable", "send", "want"} }

func main() {
	listen := flag.String("listen", "127.0.0.1:2526", "the address to serve")
	host := flag.String("host", "", "the host of the case; default: the first")
	flag.Parse()
	if flag.NArg() < 1 || flag.NArg() > 2 {
		fail(64, errors.New("a file of scripts is needed, and the name of a case if it has several; -help lists the flags"))
	}
	text, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		fail(66, err)
	}
	scripts, err := choose(string(text), flag.Arg(1), *host)
	if err != nil {
		fail(65, fmt.Errorf("%s: %w", flag.Arg(0), err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var mu sync.Mutex
	r := remotetest.Start(remotetest.Options{Log: func(c *remotetest.Conn, line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %q\n", c.Client(), line)
	}}, scripts...)
	defer r.Close()
	address, err := r.ListenAt(*listen)
	if err != nil {
		fail(69, err)
	}
	fmt.Println("ready:", address)
	<-ctx.Done()
}

// choose finds the scripts of a host.
func choose(text, name, host string) ([]remotetest.Script, error) {
	cases, err := remotetest.Parse(text, notes()...)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, c := range cases {
		known = append(known, c.Name)
		if name != "" && c.Name != name {
			continue
		}
		for _, h := range c.Hosts {
			if host == "" || h.Name == host {
				return h.Scripts, nil
			}
		}
		return nil, fmt.Errorf("the case %q has no host %q", c.Name, host)
	}
	return nil, fmt.Errorf("there is no case %q; there are: %s", name, strings.Join(known, "; "))
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "faultremote:", err)
	os.Exit(code)
}
