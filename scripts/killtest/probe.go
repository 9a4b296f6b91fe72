package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/miekg/dns"
)

// What goes on inside the server shows outside in two ways: a plugin of ours asks the DNS in its calls, and the store makes
// files.

// plugin asks at the stages where a call stands between two things that must not come apart: content and commit, the debt of
// a notice and its end, an entry and its attempt, a refusal and its mark.
const plugin = `plugin { id = "probe", version = "1.0.0", api = 0, description = "tells the killer where mail is",
  needs = { dns = true },
  hook = { data = { on_error = "next" }, route = { on_error = "next" }, bounced = { on_error = "next" } } }

local function ask(m, stage)
  dns.get(m.id .. "." .. stage .. "." .. m.session.role .. ".probe.example", "A")
end

function on.data(m) ask(m, "data") end
function on.route(r) ask(r.message, "route") end
function on.bounced(r) ask(r.message, "bounced") end
`

// prober is the DNS server that the plugin asks: the call lasts until it answers.
type prober struct {
	*ledger
	address string
	server  *dns.Server
}

func newProber(l *ledger, dir string) (*prober, error) {
	folder := filepath.Join(dir, "plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "probe.lua"), []byte(plugin), 0o644); err != nil {
		return nil, err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &prober{ledger: l, address: conn.LocalAddr().String()}
	started := make(chan struct{})
	p.server = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(p.answer), NotifyStartedFunc: func() { close(started) }}
	go p.server.ActivateAndServe()
	<-started
	return p, nil
}

func (p *prober) close() { p.server.Shutdown() }

// answer says that there is no such name, now and then after a while.
func (p *prober) answer(w dns.ResponseWriter, query *dns.Msg) {
	if len(query.Question) == 1 {
		labels := strings.Split(query.Question[0].Name, ".")
		switch {
		case len(labels) > 2 && labels[1] == "data" && labels[2] == "internal":
			p.note(atNotice)
		case len(labels) > 2:
			p.note(atCall)
		}
	}
	if rand.IntN(5) == 0 {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	m := new(dns.Msg)
	w.WriteMsg(m.SetRcode(query, dns.RcodeNameError)) // who is dead does not hear it
}

// watchTables tells of the tables that the store writes: before the server is ready a flush of what its last life left in the
// log; afterwards compactions, and flushes, which begin with a new log.
func watchTables(s *server) (stop func(), err error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(s.dir, "data", "store")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if err := w.Add(folder); err != nil {
		return nil, fmt.Errorf("%s cannot be watched: %w", folder, err)
	}
	go func() {
		for {
			select {
			case e, ok := <-w.Events:
				if !ok {
					return
				}
				address, _ := s.where()
				ext := filepath.Ext(e.Name)
				switch {
				case !e.Has(fsnotify.Create):
				case address == "" && ext == ".sst":
					s.note(atFlush)
				case address != "" && (ext == ".sst" || ext == ".log"):
					s.note(atTable)
				}
			case _, ok := <-w.Errors: // what is missed is waited for once more
				if !ok {
					return
				}
			}
		}
	}()
	return func() { w.Close() }, nil
}
