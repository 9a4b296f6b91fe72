package main

import (
	"errors"
	"maps"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/maildir"
	"github.com/stagepost/stagepost/core/deliver/pipe"
	"github.com/stagepost/stagepost/core/deliver/web"
	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/weburl"
	"github.com/stagepost/stagepost/plugins/service"
)

// transports are the ways out that the configuration declares. One that a reload does not change is kept, with its connections.
type transports struct {
	mu   sync.Mutex
	of   *config.Config
	made map[string]transport

	poster *web.Poster // to what plans name
}

type transport struct {
	deliver.Transport
	of    config.Transport
	close func()
}

// transport gives the sender a [transport.NAME].
func (d *daemon) transport(name string) (deliver.Transport, bool) {
	cfg, t := d.plugins.Config(), &d.ways
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != cfg {
		old := t.made
		t.of, t.made = cfg, make(map[string]transport, len(cfg.Transports))
		for name, c := range cfg.Transports {
			if o, ok := old[name]; ok && sameTransport(o.of, c) {
				t.made[name] = o
				delete(old, name)
			} else {
				t.made[name] = d.newTransport(name, c)
			}
		}
		for o := range maps.Values(old) {
			o.close()
		}
	}
	found, ok := t.made[name]
	return found.Transport, ok
}

func (d *daemon) hasTransport(name string) bool {
	_, ok := d.plugins.Config().Transports[name]
	return ok
}

func sameTransport(a, b config.Transport) bool {
	a.Concurrency, b.Concurrency = 0, 0 // which the queue minds
	return reflect.DeepEqual(a, b)
}

// newTransport makes what a table declares, which was checked when it was read.
func (d *daemon) newTransport(name string, c config.Transport) transport {
	t := transport{of: c, close: func() {}}
	hostname := func() string { return d.plugins.Config().Hostname }
	switch c.Type {
	case "lmtp":
		t.Socket = c.Socket
	case "maildir":
		folder, _ := macro.Parse(c.Folder, maildir.Names())
		t.Carrier = maildir.New(maildir.Options{Name: name, Root: c.Root, Folder: folder, Delimiter: c.Delimiter, Quota: c.Quota, Hostname: hostname})
	case "pipe":
		args := make([]macro.Text, len(c.Command)-1)
		for i, text := range c.Command[1:] {
			args[i], _ = macro.Parse(text, pipe.Names())
		}
		t.Carrier = pipe.New(pipe.Options{Name: name, Program: c.Command[0], Arguments: args, Delimiter: c.Delimiter, TimeLimit: c.TimeLimit, Hostname: hostname})
	case "https":
		o := d.webOptions()
		o.Name, o.Private, o.TimeLimit = name, c.Private, c.TimeLimit
		o.URL, _ = weburl.Parse(c.URL)
		o.Secret = func() ([]byte, error) {
			text, ok, err := service.SecretFolder{Folder: d.secretFolder}.Secret(c.Secret)
			if err == nil && !ok {
				err = errors.New("there is no secret " + c.Secret)
			}
			return text, err
		}
		w := web.New(o)
		t.Carrier, t.close = w, w.Close
	}
	return t
}

// postTime is how long a URL that a plan names may take to answer, as a transport may by default.
const postTime = 10 * time.Minute

// webOptions are the same for all that posts.
func (d *daemon) webOptions() web.Options {
	o := web.Options{TimeLimit: postTime, Resolver: d.dns, Own: d.bound.own, Dial: d.dial, Roots: d.roots, Agent: "stagepost", Now: d.now}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	return o
}

// post gives the sender the way to a URL.
func (d *daemon) post(to string, private bool, secret func() ([]byte, error)) deliver.Carrier {
	u, err := weburl.Parse(to)
	if err != nil { // it was read before
		return nil
	}
	return d.ways.poster.To(u, private, secret)
}

// close ends idle connections.
func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.made {
		one.close()
	}
	if t.poster != nil {
		t.poster.Close()
	}
}
