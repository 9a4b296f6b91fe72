package main

import (
	"sync/atomic"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
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

// shapeOf takes the limits from a configuration, each with its place in the file.
func shapeOf(c *config.Config) *queue.Shape {
	limits := func(at []string, concurrency int, rate config.Rate, messages int, prefer string) queue.Limits {
		by := func(key string) string {
			if path := append(at[:len(at):len(at)], key); c.Written(path...) {
				return c.Where(path...)
			}
			return ""
		}
		return queue.Limits{Concurrency: concurrency, Rate: queue.Rate(rate), ConnectionMessages: messages, Prefer: prefer,
			By: queue.Origin{Concurrency: by("concurrency"), Rate: by("rate"), ConnectionMessages: by("connection_messages"), Prefer: by("prefer")}}
	}
	q := c.Queue
	s := &queue.Shape{Default: limits([]string{"queue"}, q.Concurrency, q.Rate, q.ConnectionMessages, q.Prefer), Sites: map[string]queue.Limits{}}
	for name, l := range c.Sites {
		s.Sites[name] = limits([]string{"site", name}, l.Concurrency, l.Rate, l.ConnectionMessages, l.Prefer)
	}
	return s
}
