package main

import (
	"sync/atomic"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
)

// source gives the sender a [source.NAME].
func (d *daemon) source(name string) (deliver.Source, bool) {
	s, ok := d.plugins.Config().Sources[name]
	return deliver.Source{Addrs: s.Address, Helo: s.Helo}, ok
}

func (d *daemon) hasSource(name string) bool {
	_, ok := d.source(name)
	return ok
}

// shaping is the limits of sites, made once of a configuration.
type shaping struct {
	made atomic.Pointer[struct {
		of    *config.Config
		shape *queue.Shape
	}]
}

func (s *shaping) shape(c *config.Config) *queue.Shape {
	if m := s.made.Load(); m != nil && m.of == c {
		return m.shape
	}
	shape := shapeOf(c)
	s.made.Store(&struct {
		of    *config.Config
		shape *queue.Shape
	}{c, shape})
	return shape
}

// classes is the table of bounce classes, made once of a configuration.
type classes struct {
	made atomic.Pointer[struct {
		of    *config.Config
		table *bounce.Table
	}]
}

func (s *classes) table(c *config.Config) *bounce.Table {
	if m := s.made.Load(); m != nil && m.of == c {
		return m.table
	}
	table := bounce.New(c.Queue.Classes)
	s.made.Store(&struct {
		of    *config.Config
		table *bounce.Table
	}{c, table})
	return table
}

// shapeOf takes the limits from a configuration, each with its place in the file.
func shapeOf(c *config.Config) *queue.Shape {
	origin := func(at []string) func(key string) string {
		return func(key string) string {
			if path := append(at[:len(at):len(at)], key); c.Written(path...) {
				return c.Where(path...)
			}
			return ""
		}
	}
	limits := func(at []string, concurrency int, rate config.Rate, messages int, prefer, tls string) queue.Limits {
		by := origin(at)
		return queue.Limits{Concurrency: concurrency, Rate: queue.Rate(rate), ConnectionMessages: messages, Prefer: prefer, TLS: message.TLSLevel(tls),
			By: queue.Origin{Concurrency: by("concurrency"), Rate: by("rate"), ConnectionMessages: by("connection_messages"), Prefer: by("prefer"), TLS: by("tls")}}
	}
	times := func(into map[string]queue.Times, table, name string, t *config.Times) {
		if t.Retry != nil || t.Expire > 0 || t.Warn != nil {
			by := origin([]string{table, name})
			into[name] = queue.Times{Retry: t.Retry, Expire: t.Expire, Warn: t.Warn, By: queue.TimesOrigin{Retry: by("retry"), Expire: by("expire"), Warn: by("warn")}}
		}
	}
	q, by := c.Queue, origin([]string{"queue"})
	s := &queue.Shape{Default: limits([]string{"queue"}, q.Concurrency, q.Rate, q.ConnectionMessages, q.Prefer, q.TLS), Sites: map[string]queue.Limits{},
		Pools: map[string]*queue.Pool{}, Warmups: map[string]*queue.Warmup{}, SiteTimes: map[string]queue.Times{}, Senders: map[string]queue.Times{}, TimesBy: queue.TimesOrigin{Retry: by("retry"), Expire: by("expire"), Warn: by("warn")}}
	for name, l := range c.Sites {
		at := []string{"site", name}
		bounds := limits(at, l.Concurrency, l.Rate, l.ConnectionMessages, l.Prefer, l.TLS)
		if l.Window != nil {
			bounds.Window, bounds.By.Window = l.Window, origin(at)("window")
		}
		s.Sites[name] = bounds
		times(s.SiteTimes, "site", name, &l.Times)
	}
	for name, p := range c.Pools {
		pool := &queue.Pool{Sources: p.Sources}
		if len(p.Weights) > 0 {
			pool.Weights = p.Weights
		}
		s.Pools[name] = pool
	}
	for name, from := range c.Sources {
		if w := from.Warmup; len(w.Daily) > 0 {
			s.Warmups[name] = &queue.Warmup{Start: w.Start, Daily: w.Daily, SiteDaily: w.SiteDaily, By: c.Where("source", name, "warmup")}
		}
	}
	for name, t := range c.Senders {
		times(s.Senders, "sender", name, &t.Times)
	}
	for name, t := range c.Transports {
		site := message.HopTransport + name
		if l := s.Sites[site]; t.Concurrency > 0 && l.Concurrency == 0 {
			l.Concurrency, l.By.Concurrency = t.Concurrency, c.Where("transport", name, "concurrency")
			s.Sites[site] = l
		}
	}
	return s
}
