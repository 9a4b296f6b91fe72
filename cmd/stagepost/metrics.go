package main

import (
	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/observe/metrics"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/tally"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
)

// families declares every metric of a server, in the order of the manual. Nothing is read from d before somebody asks for the
// samples, so the manual lists them without a server.
func families(d *daemon) []metrics.Family {
	return append(append(append(d.sessionMetrics(), d.mailMetrics()...), d.pluginMetrics()...), append(append(d.queueMetrics(), d.outwardMetrics()...), d.storeMetrics()...)...)
}

func words(name string, c *observe.Counters) metrics.Label {
	return metrics.Label{Name: name, Values: c.Names()}
}

func roleLabel() metrics.Label {
	l := metrics.Label{Name: "role"}
	for _, r := range message.Roles() {
		l.Values = append(l.Values, string(r))
	}
	return l
}

func (d *daemon) sessionMetrics() []metrics.Family {
	listener := metrics.Label{Name: "listener", Of: "names of listeners"}
	none := tally.NewBoard(sasl.Mechanisms(), login.Results()).New("", "")
	each := func(read func(*tally.Listener, *metrics.Samples, ...string)) func(*metrics.Samples) {
		return func(s *metrics.Samples) {
			for _, t := range d.smtp.Board.Listeners() {
				read(t, s, t.Name, string(t.Role))
			}
		}
	}
	labels := func(more ...metrics.Label) []metrics.Label {
		return append([]metrics.Label{listener, roleLabel()}, more...)
	}
	return append([]metrics.Family{
		{Name: "stagepost_sessions_open", Kind: metrics.Gauge, Help: "Sessions that are open now.", Labels: labels(),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Add(float64(t.Open.Load()), l...) })},
		{Name: "stagepost_sessions_limit", Kind: metrics.Gauge, Help: "Sessions that may be open at once, over all listeners.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.plugins.Config().Limits.Sessions)) }},
		{Name: "stagepost_sessions_total", Kind: metrics.Counter, Help: "Sessions that were begun.", Labels: labels(),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Add(float64(t.Sessions.Load()), l...) })},
		{Name: "stagepost_sessions_refused_total", Kind: metrics.Counter, Labels: labels(words("reason", none.Refused)),
			Help: "Connections that got no session, by the limit that was met, and sessions that a plugin refused at their connect.",
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.Refused, l...) })},
		{Name: "stagepost_sessions_cut_total", Kind: metrics.Counter, Labels: labels(words("reason", none.Cut)),
			Help: "Sessions that the core ended: at a shutdown, after a timeout, for content that came too slowly, after the longest time, after too many errors or idle commands, for speaking before the greeting, or for commands out of step.",
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.Cut, l...) })},
		{Name: "stagepost_sessions_stressed", Kind: metrics.Gauge, Help: "1 while clients are given less time, because four fifths of the sessions are in use or a watermark is reached.",
			Read: func(s *metrics.Samples) { s.Flag(d.gate.Stressed()) }},
		{Name: "stagepost_watermark_reached", Kind: metrics.Gauge, Labels: []metrics.Label{{Name: "what", Values: []string{"memory", "descriptors", "disk"}}},
			Help: "1 while new connections are refused for memory or for open files, or mail for the disk.",
			Read: func(s *metrics.Samples) {
				reached := d.gate.Reading().Reached()
				s.Flag(reached == gate.Memory, "memory")
				s.Flag(reached == gate.Descriptors, "descriptors")
				h := d.store.Health()
				s.Flag(h.Full || h.Stalled, "disk")
			}},
		{Name: "stagepost_memory_bytes", Kind: metrics.Gauge, Help: "Memory in use, without garbage, as the watermark counts it.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.gate.Reading().Memory)) }},
		{Name: "stagepost_memory_limit_bytes", Kind: metrics.Gauge, Help: "Memory that may be used; new connections are refused above 85 % of it. 0: not known.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.gate.Reading().MemoryLimit)) }},
		{Name: "stagepost_commands_total", Kind: metrics.Counter, Help: "Commands that were received.", Labels: labels(words("verb", none.Commands)),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.Commands, l...) })},
		{Name: "stagepost_replies_total", Kind: metrics.Counter, Help: "Replies that were sent.", Labels: labels(words("class", none.Replies)),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Counters(t.Replies, l...) })},
		{Name: "stagepost_replies_delayed_total", Kind: metrics.Counter, Help: "Replies that were late on purpose: after many errors, or because a plugin said so.", Labels: labels(),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Add(float64(t.Delayed.Load()), l...) })},
		{Name: "stagepost_received_bytes_total", Kind: metrics.Counter, Help: "Bytes that clients sent, commands and content.", Labels: labels(),
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) { s.Add(float64(t.Bytes.Load()), l...) })},
		{Name: "stagepost_logins_total", Kind: metrics.Counter, Labels: labels(metrics.Label{Name: "mechanism", Values: sasl.Mechanisms()}, metrics.Label{Name: "result", Values: login.Results()}),
			Help: "Log-ins by what became of them: `deferred` are those of which no plugin could tell, `throttled` those that nobody was asked about because too many had failed before, `broken` those that the client gave up or got wrong.",
			Read: each(func(t *tally.Listener, s *metrics.Samples, l ...string) {
				for i, c := range t.Logins {
					s.Counters(c, append(l[:2:2], sasl.Mechanisms()[i])...)
				}
			})},
		{Name: "stagepost_reply_to_dot_seconds", Kind: metrics.Histogram, Help: "How long clients waited for the reply to the final dot: plugins at data and queue, and the commit.",
			Read: func(s *metrics.Samples) { s.Histogram(d.smtp.Board.Answered) }},
	}, d.tlsMetrics(each, labels)...)
}

func (d *daemon) mailMetrics() []metrics.Family {
	none := tally.NewRole()
	each := func(read func(*tally.Role, *metrics.Samples, string)) func(*metrics.Samples) {
		return func(s *metrics.Samples) {
			for _, role := range message.Roles() {
				read(d.intake.Counts(role), s, string(role))
			}
		}
	}
	return []metrics.Family{
		{Name: "stagepost_messages_received_total", Kind: metrics.Counter, Labels: []metrics.Label{roleLabel(), words("outcome", none.Messages)},
			Help: "Messages by what became of them on their way in; `deferred` ones may come again, `dropped` ones were given up by the client, and of `unknown` ones the client was told nothing.",
			Read: each(func(c *tally.Role, s *metrics.Samples, role string) { s.Counters(c.Messages, role) })},
		{Name: "stagepost_recipients_received_total", Kind: metrics.Counter, Help: "Recipients that were given with RCPT.", Labels: []metrics.Label{roleLabel(), words("outcome", none.Rcpts)},
			Read: each(func(c *tally.Role, s *metrics.Samples, role string) { s.Counters(c.Rcpts, role) })},
		{Name: "stagepost_message_size_bytes", Kind: metrics.Histogram, Help: "Sizes of messages that were accepted.", Labels: []metrics.Label{roleLabel()},
			Read: each(func(c *tally.Role, s *metrics.Samples, role string) { s.Histogram(c.Sizes, role) })},
		{Name: "stagepost_transaction_seconds", Kind: metrics.Histogram, Help: "How long transactions took, from MAIL to their end.",
			Read: func(s *metrics.Samples) { s.Histogram(d.intake.Seconds()) }},
	}
}

func (d *daemon) pluginMetrics() []metrics.Family {
	plugin := metrics.Label{Name: "plugin", Of: "names of plugins"}
	stage := metrics.Label{Name: "stage"}
	for _, s := range hooks.Stages() {
		stage.Values = append(stage.Values, s.Name)
	}
	overrun := metrics.Label{Name: "kind"}
	for _, o := range breaker.Overruns() {
		overrun.Values = append(overrun.Values, o.String())
	}
	eachHook := func(read func(*hooks.Hook, *metrics.Samples)) func(*metrics.Samples) {
		return func(s *metrics.Samples) {
			for _, p := range d.plugins.Use() {
				for _, h := range p.Hooks {
					read(h, s)
				}
			}
		}
	}
	each := func(read func(generation.PluginUse, *metrics.Samples)) func(*metrics.Samples) {
		return func(s *metrics.Samples) {
			for _, p := range d.plugins.Use() {
				read(p, s)
			}
		}
	}
	return []metrics.Family{
		{Name: "stagepost_hook_calls_total", Kind: metrics.Counter, Labels: []metrics.Label{plugin, stage, words("verdict", hooks.NewCounts().Answers)},
			Help: "Calls of plugins by what they answered; `error` is a failure, which `on_error` answered.",
			Read: eachHook(func(h *hooks.Hook, s *metrics.Samples) {
				names := h.Counts.Answers.Names()
				for i, name := range names { // what a stage does not take cannot be answered
					if kind := hooks.Kind(i); kind == hooks.Next || i == len(names)-1 || h.Stage.Info().Verdicts.Has(kind) {
						s.Add(float64(h.Counts.Answers.Get(i)), h.Plugin, h.Stage.String(), name)
					}
				}
			})},
		{Name: "stagepost_hook_seconds", Kind: metrics.Histogram, Help: "How long calls of plugins took.", Labels: []metrics.Label{plugin, stage},
			Read: eachHook(func(h *hooks.Hook, s *metrics.Samples) { s.Histogram(h.Counts.Seconds, h.Plugin, h.Stage.String()) })},
		{Name: "stagepost_breaker_open", Kind: metrics.Gauge, Help: "1 while a hook is not asked because too many calls overran; `on_error` answers for it.", Labels: []metrics.Label{plugin, stage},
			Read: eachHook(func(h *hooks.Hook, s *metrics.Samples) { s.Flag(h.Breaker.State().Open, h.Plugin, h.Stage.String()) })},
		{Name: "stagepost_hook_skipped_total", Kind: metrics.Counter, Help: "Calls that were not made because the breaker was open.", Labels: []metrics.Label{plugin, stage},
			Read: eachHook(func(h *hooks.Hook, s *metrics.Samples) {
				s.Add(float64(h.Breaker.State().Skipped), h.Plugin, h.Stage.String())
			})},
		{Name: "stagepost_hook_overruns_total", Kind: metrics.Counter, Help: "Calls that used up what they may have, by what ran out.", Labels: []metrics.Label{plugin, stage, overrun},
			Read: eachHook(func(h *hooks.Hook, s *metrics.Samples) {
				st := h.Breaker.State()
				for _, o := range breaker.Overruns() {
					s.Add(float64(st.Overran[o]), h.Plugin, h.Stage.String(), o.String())
				}
			})},
		{Name: "stagepost_plugin_instances", Kind: metrics.Gauge, Help: "Instances that plugins run in, now.", Labels: []metrics.Label{plugin, {Name: "state", Values: []string{"in_use", "idle"}}},
			Read: each(func(p generation.PluginUse, s *metrics.Samples) {
				s.Add(float64(p.Pool.InUse), p.Name, "in_use")
				s.Add(float64(p.Pool.Idle), p.Name, "idle")
			})},
		{Name: "stagepost_plugin_instances_created_total", Kind: metrics.Counter, Help: "Instances that were made.", Labels: []metrics.Label{plugin},
			Read: each(func(p generation.PluginUse, s *metrics.Samples) { s.Add(float64(p.Pool.Created), p.Name) })},
		{Name: "stagepost_plugin_instances_dropped_total", Kind: metrics.Counter, Help: "Instances that were thrown away because a call in them failed.", Labels: []metrics.Label{plugin},
			Read: each(func(p generation.PluginUse, s *metrics.Samples) { s.Add(float64(p.Pool.Dropped), p.Name) })},
		{Name: "stagepost_plugin_busy_total", Kind: metrics.Counter, Help: "Calls that found no instance in time.", Labels: []metrics.Label{plugin},
			Read: each(func(p generation.PluginUse, s *metrics.Samples) { s.Add(float64(p.Pool.Busy), p.Name) })},
		{Name: "stagepost_plugin_events_total", Kind: metrics.Counter, Help: "What plugins counted with `metric.count`.", Labels: []metrics.Label{plugin, {Name: "name", Of: "names that the plugin gave, at most 100"}},
			Read: each(func(p generation.PluginUse, s *metrics.Samples) {
				for _, e := range p.Events {
					s.Add(float64(e.Count), p.Name, e.Name)
				}
			})},
		{Name: "stagepost_generation", Kind: metrics.Gauge, Help: "The number of the generation in force.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.plugins.Status().Generation)) }},
		{Name: "stagepost_generation_live_timestamp_seconds", Kind: metrics.Gauge, Help: "When the generation in force became live.",
			Read: func(s *metrics.Samples) { s.Add(seconds(d.plugins.Status().Since)) }},
		{Name: "stagepost_change_refused", Kind: metrics.Gauge, Help: "1 while the latest change of configuration or plugins is refused, so that an older generation is in force.",
			Read: func(s *metrics.Samples) { s.Flag(d.plugins.Status().Error != "") }},
		{Name: "stagepost_reloads_total", Kind: metrics.Counter, Labels: []metrics.Label{words("result", generation.NewReloads())},
			Help: "Times that configuration and plugins were read again, for whatever reason.",
			Read: func(s *metrics.Samples) { s.Counters(d.plugins.Reloads()) }},
	}
}

func (d *daemon) queueMetrics() []metrics.Family {
	none := queue.NewCounts()
	return []metrics.Family{
		{Name: "stagepost_deliveries_total", Kind: metrics.Counter, Help: "Outcomes of attempts, one for each recipient.", Labels: []metrics.Label{words("result", none.Outcomes)},
			Read: func(s *metrics.Samples) { s.Counters(d.queue.Counts().Outcomes) }},
		{Name: "stagepost_deliveries_refused_total", Kind: metrics.Counter, Help: "Outcomes `deferred` and `failed`, one for each recipient, by why mail was not taken; the page `returns` explains the classes.",
			Labels: []metrics.Label{{Name: "result", Values: []string{"deferred", "failed"}}, words("class", none.Failed)},
			Read: func(s *metrics.Samples) {
				deferred, failed := d.queue.Counts().Deferred, d.queue.Counts().Failed
				for i, class := range failed.Names() {
					s.Add(float64(deferred.Get(i)), "deferred", class)
					s.Add(float64(failed.Get(i)), "failed", class)
				}
			}},
		{Name: "stagepost_delivery_delay_seconds", Kind: metrics.Histogram, Help: "From arrival to delivery, of each recipient.",
			Read: func(s *metrics.Samples) { s.Histogram(d.queue.Counts().Delay) }},
		{Name: "stagepost_attempts_total", Kind: metrics.Counter, Labels: []metrics.Label{words("result", none.Attempts)},
			Help: "Attempts to hand a message to a next hop, for one or more recipients; `partial` ones delivered it to some of them.",
			Read: func(s *metrics.Samples) { s.Counters(d.queue.Counts().Attempts) }},
		{Name: "stagepost_attempt_seconds", Kind: metrics.Histogram, Help: "How long attempts took.",
			Read: func(s *metrics.Samples) { s.Histogram(d.queue.Counts().Attempt) }},
		{Name: "stagepost_notices_total", Kind: metrics.Counter, Help: "Notices to senders; a plugin may have one discarded.", Labels: []metrics.Label{words("result", none.Notices)},
			Read: func(s *metrics.Samples) { s.Counters(d.queue.Counts().Notices) }},
		{Name: "stagepost_connections_total", Kind: metrics.Counter, Labels: []metrics.Label{words("result", deliver.NewCounts().Connections)},
			Help: "Connections to next hops: opened, failed to open, and used again for one more message.",
			Read: func(s *metrics.Samples) { s.Counters(d.sender.Counts().Connections) }},
		{Name: "stagepost_connections_idle", Kind: metrics.Gauge, Help: "Connections to next hops that wait for a next message.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.sender.Idle())) }},
		{Name: "stagepost_connect_seconds", Kind: metrics.Histogram, Help: "How long it took to open a connection to a next hop and to greet.",
			Read: func(s *metrics.Samples) { s.Histogram(d.sender.Counts().Connect) }},
		{Name: "stagepost_dns_lookups_total", Kind: metrics.Counter, Help: "Questions to the DNS, those too that the cache answered.", Labels: []metrics.Label{words("result", newDNSCounts().lookups)},
			Read: func(s *metrics.Samples) { s.Counters(d.dns.counts.lookups) }},
		{Name: "stagepost_dns_lookup_seconds", Kind: metrics.Histogram, Help: "How long answers of the DNS took; those within 0.0001 seconds are of the cache.",
			Read: func(s *metrics.Samples) { s.Histogram(d.dns.counts.took) }},
		{Name: "stagepost_queue_entries_in_memory", Kind: metrics.Gauge, Help: "Messages that are on their way in memory: being routed, waiting for a connection, being attempted.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Flights)) }},
		{Name: "stagepost_queue_entries_limit", Kind: metrics.Gauge, Help: "The most messages on their way in memory; what is more waits on disk.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Window)) }},
		{Name: "stagepost_queue_content_bytes", Kind: metrics.Gauge, Help: "Content that is kept in memory for messages on their way.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Content)) }},
		{Name: "stagepost_queue_content_limit_bytes", Kind: metrics.Gauge, Help: "The most content kept in memory for messages on their way; the rest is read again.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Budget)) }},
		{Name: "stagepost_queue_lanes", Kind: metrics.Gauge, Help: "Next hops that have work now.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Lanes)) }},
		{Name: "stagepost_queue_sites", Kind: metrics.Gauge, Help: "Sites that are known: next hops, or sets of mail exchangers. Those that are asleep did not answer, and are probed by one attempt now and then.",
			Labels: []metrics.Label{{Name: "state", Values: []string{"awake", "asleep"}}},
			Read: func(s *metrics.Samples) {
				l := d.queue.Load()
				s.Add(float64(l.Sites-l.Asleep), "awake")
				s.Add(float64(l.Asleep), "asleep")
			}},
		{Name: "stagepost_queue_jobs", Kind: metrics.Gauge, Help: "Attempts that run now, and those that wait for a connection to their next hop.", Labels: []metrics.Label{{Name: "state", Values: []string{"waiting", "running"}}},
			Read: func(s *metrics.Samples) {
				l := d.queue.Load()
				s.Add(float64(l.Waiting), "waiting")
				s.Add(float64(l.Running), "running")
			}},
		{Name: "stagepost_queue_marks_waiting", Kind: metrics.Gauge, Help: "Outcomes that wait to be written.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.queue.Load().Marks)) }},
		{Name: "stagepost_mark_seconds", Kind: metrics.Histogram, Help: "How long a batch of outcomes took to be written.",
			Read: func(s *metrics.Samples) { s.Histogram(d.queue.Counts().Mark) }},
		{Name: "stagepost_mark_batch_outcomes", Kind: metrics.Histogram, Help: "How many outcomes were written together.",
			Read: func(s *metrics.Samples) { s.Histogram(d.queue.Counts().Batch) }},
	}
}

const metricsHead = `# Metrics

What ` + "`/metrics`" + ` shows, in Prometheus' text format: at the address of ` + "`[admin]`" + `, and on the control socket, from which
` + "`stagepost status`" + ` shows the main ones. Counters count from the start of the process. Labels hold the words that are listed here, or
names that the operator gave; nothing that a client sends becomes one. Besides these there are the usual metrics of the process and
of the Go runtime (` + "`process_`, `go_`" + `). Page ` + "`observing`" + ` has alerts that are worth having.

`

// metricsPage is the reference of the metrics, in Markdown.
func metricsPage() string { return metricsHead + metrics.Document(families(nil)) }
