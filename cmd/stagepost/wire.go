package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/web"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/observe/metrics"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/server"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/disk"
	"github.com/stagepost/stagepost/core/suspects"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// What is waited for when the server stops: sessions that send content, then attempts that wait for the reply to their
// final dot.
const (
	sessionGrace = 10 * time.Second
	attemptGrace = 30 * time.Second
)

// lastWords is how long standard error may take for the line with which the process ends.
const lastWords = 2 * time.Second

// Names in the data folder: compiled plugins, what is kept of indexes, and when a server was last seen.
const (
	wasmCache     = "wasm-cache"
	catalogFolder = "catalog"
	clockFile     = "clock"
)

// daemonOptions are what differs between serve, the demo and tests.
type daemonOptions struct {
	log      *slog.Logger
	flush    func()        // writes out what the log holds, before the process ends at once
	dropped  func() uint64 // lines of the log that were lost; may be nil
	console  io.Writer     // one line a generation, one a refusal
	resolver resolve.Resolver
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	fs       vfs.FS                        // of the store; nil: the system's
	capacity func() (disk.Capacity, error) // of the disk; nil: the system's
	roots    *x509.CertPool                // of servers that mail goes to; nil: the system's
	now      func() time.Time              // the wall clock; nil: the system's
	reports  bool                          // a crash of the process is to be reported in the data folder: of one server in a process
}

// What a daemon is doing.
const (
	phaseStarting = iota
	phaseReady
	phaseStopping
)

// daemon is a running server: the parts in the order they are started, which is the reverse of how they are stopped.
type daemon struct {
	daemonOptions
	file    string
	started time.Time

	store    *disk.Store
	suspects *suspects.File
	records  *observe.Records
	kv       *service.Store
	dns      *liveResolver
	wasm     *wasm.Engine
	plugins  *generation.Manager
	sender   *deliver.Sender
	outward  outward
	shaping  shaping
	ways     transports
	classes  classes
	queue    *queue.Queue
	intake   *intake.Intake
	census   *admin.Census
	gate     *gate.Gate
	smtp     *server.Server
	admin    *admin.Server
	watched  admin.Options // of the server at [admin]
	phase    atomic.Int32
	lately   traffic
	bound    bindings
	watching context.CancelFunc
	group    sync.WaitGroup
}

// startDaemon starts everything that the configuration in file asks for. When it returns, every listener is bound. ctx only
// bounds the start.
func startDaemon(ctx context.Context, file string, o daemonOptions) (*daemon, error) {
	d := &daemon{daemonOptions: o, file: file, started: time.Now(), gate: gate.New(gate.Options{})}
	if err := d.start(ctx); err != nil {
		d.Shutdown(ctx)
		return nil, err
	}
	return d, nil
}

func (d *daemon) start(ctx context.Context) (err error) {
	cfg, err := config.Load(d.file)
	if err != nil {
		return err
	}
	if d.store, err = disk.Open(disk.Options{Dir: cfg.Data, FS: d.fs, Capacity: d.capacity, Now: d.now, Since: queue.Seen(filepath.Join(cfg.Data, clockFile)), Wipe: cfg.Queue.Wipe, Log: d.log, OnFatal: d.fatal, Known: []string{"records", "kv", wasmCache, config.InstalledFolder, catalogFolder, admin.SocketName, admin.ScratchName, stsFolder, tlsrptFolder, suspectsFile, suspectsFile + ".new", crashFile, lastCrash, clockFile, clockFile + ".new"}}); err != nil {
		return err
	}
	d.suspects = openSuspects(cfg.Data, d.reports, d.log)
	if d.records, err = observe.OpenRecords(filepath.Join(cfg.Data, "records"), observe.RecordOptions{Size: cfg.Trace.Size, Age: cfg.Trace.Keep, Log: d.log}); err != nil {
		return fail(exitCantCreate, "the folder for records cannot be used: %w", err)
	}
	if d.kv, err = service.OpenStore(service.StoreOptions{Folder: filepath.Join(cfg.Data, "kv"), Log: d.log}); err != nil {
		return fail(exitCantCreate, "the folder for the plugins' values cannot be used: %w", err)
	}
	d.dns = newLiveResolver()
	if d.resolver != nil {
		d.dns.use(d.resolver)
	} else if r, err := newResolver(cfg); err == nil {
		d.dns.use(r)
	} else {
		return cfg.Errorf([]string{"resolver", "servers"}, "%s", err)
	}
	if d.wasm, err = wasm.NewEngine(wasm.EngineOptions{Cache: filepath.Join(cfg.Data, wasmCache), Log: d.log}); err != nil {
		return fail(exitCantCreate, "the folder for compiled plugins cannot be used: %w", err)
	}
	secrets := service.SecretFolder{Folder: d.secretFolder}
	host := service.NewHost(service.Options{Resolver: d.dns, KV: d.kv, Secrets: secrets, Classes: func() *bounce.Table { return d.classes.table(d.plugins.Config()) }, Hostname: func() string { return d.plugins.Config().Hostname }, Own: d.bound.own, Control: filepath.Join(cfg.Data, admin.SocketName), Dial: d.dial, Log: d.log})
	if d.plugins, err = generation.New(generation.Options{File: d.file, Host: host, Wasm: d.wasm, Log: d.log, Console: d.console, Prepare: d.prepare}); err != nil {
		return err
	}
	if err := d.openOutward(cfg.Data); err != nil {
		return err
	}
	current := d.plugins.Current()
	hostname := func() string { return d.plugins.Config().Hostname }
	attempts, idle := connections(d.gate.Reading().FileLimit)
	d.ways.poster = web.NewPoster(d.webOptions())
	d.sender = deliver.New(deliver.Options{Resolver: d.dns, Now: d.now, Hostname: hostname, Own: d.bound.own, Dial: d.dial, Source: d.source, Transport: d.transport, Post: d.post, Secret: secrets.Secret, MaxIdle: idle, TLS: d.tlsOptions()})
	if d.queue, err = queue.New(queue.Options{Store: d.store, Sender: d.sender, Current: current, Resolver: d.dns, Records: d.records, Log: d.log, Suspects: d.suspects, Now: d.now, Clock: filepath.Join(cfg.Data, clockFile), Attempts: attempts, Settings: func() queue.Settings {
		c := d.plugins.Config()
		return queue.Settings{Hostname: c.Hostname, Retry: c.Queue.Retry, Expire: c.Queue.Expire, Warn: c.Queue.Warn, Shape: d.shaping.shape(c), HasSource: d.hasSource, HasTransport: d.hasTransport, Classes: d.classes.table(c)}
	}}); err != nil {
		return err
	}
	d.intake = intake.New(intake.Options{Queue: d.queue, Current: current, Records: d.records, Now: d.now, Log: d.log, Settings: func() intake.Settings {
		c := d.plugins.Config()
		return intake.Settings{Hostname: c.Hostname, MaxSize: c.Limits.MessageSize, MaxRcpts: c.Limits.Recipients}
	}})
	host.Outbox(&service.Outbox{Intake: d.intake, Queue: d.queue})
	host.Shaper(d.queue)
	d.queue.KeepMeasures(d.plugins.Names()) // others may have gone while the server was down
	d.queue.Notify(notices(d.intake))
	d.smtp = server.New(server.Options{Intake: d.intake, Current: current, Records: d.records, Gate: d.gate, Log: d.log, Limits: func() server.Limits {
		c := d.plugins.Config().Limits
		return server.Limits{Sessions: c.Sessions, SessionsPerIP: c.SessionsPerIP, Junk: c.Errors, ErrorDelay: cmp.Or(c.ErrorDelay, -1),
			Command: c.CommandTimeout, Data: c.DataTimeout, Session: c.SessionTime}
	}})
	if err := d.serveControl(cfg.Data); err != nil {
		return err
	}
	commit, abort, err := d.bound.prepare(d, nil, d.plugins.Config()) // the files may have changed since cfg was read
	if err != nil {
		abort()
		return fail(exitUnavailable, "%w", err)
	}
	commit()
	d.phase.CompareAndSwap(phaseStarting, phaseReady)
	var watch context.Context
	watch, d.watching = context.WithCancel(context.WithoutCancel(ctx))
	d.group.Go(func() { d.plugins.Watch(watch) })
	d.group.Go(func() { generation.NewTicker(current, time.Now).Run(watch) })
	d.group.Go(func() { d.lately.watch(watch, d.traffic) })
	d.runOutward(watch)
	return nil
}

// connections is how many deliveries may run at once and how many connections may wait for more mail where the process may open so
// many files: an eighth of what there is waits, a quarter works, and sessions keep the rest. 0: no limit is known, or there is enough.
func connections(files int64) (attempts, idle int) {
	const least, plenty = 8, 16_000
	if files == 0 || files >= plenty {
		return 0, 0
	}
	return int(max(least, files/4)), int(max(least, files/8))
}

// secretFolder is where secrets are now.
func (d *daemon) secretFolder() string {
	return cmp.Or(d.plugins.Config().Secrets.Folder, os.Getenv("CREDENTIALS_DIRECTORY"))
}

func newResolver(cfg *config.Config) (resolve.Resolver, error) {
	return resolve.New(resolve.Options{Servers: cfg.Resolver.Servers, Timeout: cfg.Resolver.Timeout, TrustAD: cfg.Resolver.Trusted})
}

// fatal ends the process: what the disk holds is not known any more, so nobody may be told anything. The log has the event
// already.
func (d *daemon) fatal(line string) {
	if d.flush != nil {
		d.flush()
	}
	said := make(chan struct{})
	go func() {
		fmt.Fprintln(os.Stderr, line)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(lastWords):
	}
	os.Exit(exitIO)
}

// prepare opens what a new configuration needs; see generation.Options.
func (d *daemon) prepare(old, next *config.Config) (commit, abort func(), err error) {
	var dns resolve.Resolver
	if d.resolver == nil && !sameResolver(old, next) {
		if dns, err = newResolver(next); err != nil {
			return nil, func() {}, next.Errorf([]string{"resolver", "servers"}, "%s", err)
		}
	}
	bind, unbind, err := d.bound.prepare(d, old.Listeners, next)
	if err != nil {
		return nil, unbind, err
	}
	return func() {
		if dns != nil {
			d.dns.use(dns)
		}
		d.records.Limit(next.Trace.Size, next.Trace.Keep)
		d.store.Wipe(next.Queue.Wipe)
		bind()
	}, unbind, nil
}

// notices hands the queue's notices to intake, as mail from this server itself.
func notices(in *intake.Intake) queue.Submit {
	return func(ctx context.Context, to smtp.Address, params smtp.Params, of *message.Notice, content func(message.ID) ([]byte, error)) queue.Submitted {
		id, ans := in.Submit(ctx, &intake.Submission{Session: &message.Session{Role: message.RoleInternal, Origin: "dsn"}, Params: params, Rcpts: []smtp.Address{to}, Notice: of, Content: content})
		return queue.Submitted{ID: id, Reply: ans.Reply}
	}
}

// health tells why no mail is taken; nil: it is.
func (d *daemon) health() error { return healthOf(d.phase.Load(), d.store.Health(), d.gate.Reading()) }

func healthOf(phase int32, h store.Health, r gate.Reading) error {
	switch phase {
	case phaseStarting:
		return errors.New("the server is starting")
	case phaseStopping:
		return errors.New("the server is shutting down")
	}
	switch {
	case h.Full:
		return fmt.Errorf("the disk has too little space, or too few inodes: %s are free; mail is answered 452", size(h.Free))
	case h.Stalled:
		return errors.New("the disk does not keep up: writes wait; mail is answered 452")
	}
	switch r.Reached() {
	case gate.Memory:
		return fmt.Errorf("memory is nearly used up: %s of %s; new connections are answered 421", size(r.Memory), size(r.MemoryLimit))
	case gate.Descriptors:
		return fmt.Errorf("too many files and connections are open: %d of %d; new connections are answered 421", r.Files, r.FileLimit)
	}
	return nil
}

func (d *daemon) logDropped() uint64 {
	if d.dropped == nil {
		return 0
	}
	return d.dropped()
}

// serveControl opens the control socket.
func (d *daemon) serveControl(data string) error {
	l, err := admin.Listen(data)
	if err != nil {
		return err
	}
	registry, err := metrics.NewRegistry(families(d))
	if err != nil {
		return err
	}
	d.census = admin.NewCensus(d.store, d.queue.Active, time.Now)
	d.watched = admin.Options{Metrics: metrics.Handler(registry, d.log), Health: d.health, Log: d.log}
	d.admin = admin.NewServer(admin.Options{
		Metrics: d.watched.Metrics,
		Health:  d.health,
		Census:  d.census,
		Status:  d.status,
		Reload:  d.reload,
		Plugins: func() []admin.Plugin { return pluginsOf(d.plugins.Status().Plugins) },
		Order:   func() []admin.StageOrder { return orderOf(d.plugins.Order) },
		Active:  d.queue.Active,
		TLS:     d.outward.results.Day,
		Hands:   d.queue,
		Store:   d.store,
		Records: d.records,
		Log:     d.log,
	})
	d.group.Go(func() {
		if err := d.admin.Serve(l); err != nil {
			d.log.Error("the control socket failed; commands cannot reach this server", "error", err)
		}
	})
	return nil
}

func (d *daemon) reload(ctx context.Context) admin.ReloadResult {
	c := d.plugins.Reload(ctx)
	return admin.ReloadResult{Generation: c.Number, Changed: c.Changed, Err: c.Err, Took: c.Took}
}

func (d *daemon) status() admin.Status {
	st := d.plugins.Status()
	now, h, health := d.traffic(), d.store.Health(), "ok"
	if err := d.health(); err != nil {
		health = err.Error()
	}
	return admin.Status{
		Version: version(), Started: d.started, Health: health, Generation: st.Generation, Since: st.Since, Error: st.Error,
		Listeners: d.bound.status(d.smtp), Certificates: certificatesOf(d.plugins.Certificates()), Admin: d.bound.watched(), Traffic: now, LastMinute: d.lately.last(time.Now(), now),
		Store: admin.StoreStatus{Free: h.Free, Full: h.Full, Stalled: h.Stalled, Micros: h.Sync.Microseconds()},
		Lost:  admin.Lost{Records: d.records.Dropped(), Log: d.logDropped()}, Plugins: pluginsOf(st.Plugins),
	}
}

// Shutdown stops taking mail, lets go what can end in time, and closes everything. Mail that is left stays in the queue.
func (d *daemon) Shutdown(ctx context.Context) error {
	var errs []error
	d.phase.Store(phaseStopping)
	if d.watching != nil {
		d.watching()
	}
	bounded := func(grace time.Duration, stop func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		errs = append(errs, stop(ctx))
	}
	if d.smtp != nil {
		bounded(sessionGrace, d.smtp.Shutdown)
	}
	if d.queue != nil {
		bounded(attemptGrace, d.queue.Close)
	}
	if d.admin != nil {
		bounded(time.Second, d.admin.Shutdown)
	}
	d.bound.unwatch()
	d.group.Wait()
	if d.census != nil {
		d.census.Stop()
	}
	if d.sender != nil {
		d.sender.Close()
		d.ways.close()
	}
	d.closeOutward()
	if d.plugins != nil {
		d.plugins.Close()
	}
	if d.wasm != nil {
		d.wasm.Close()
	}
	if d.kv != nil {
		errs = append(errs, d.kv.Close())
	}
	if d.records != nil {
		errs = append(errs, d.records.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	return errors.Join(errs...)
}
