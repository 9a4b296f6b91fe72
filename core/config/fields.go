package config

import (
	"time"

	"github.com/stagepost/stagepost/core/bounce"
)

const day = 24 * time.Hour

// fields describes the whole file and binds it to c. A new key is a line here and a field in Config.
func (c *Config) fields() []field {
	return []field{
		{
			name: "hostname", example: `"mx1.example.org"`, absent: "the system's host name",
			doc: "The name of this server: in the banner, in EHLO and HELO, in Received. Receivers look it up, so it should resolve to this machine.",
			to:  one(&c.Hostname, "a domain name in ASCII (xn-- for others) without a final dot", domainName),
		},
		{
			name: "data", value: `"/var/lib/stagepost"`,
			doc: "The folder for the queue, plugins' state and message records. It belongs to one server. A change needs a restart.",
			to:  one(&c.Data, "a path", text),
		},
		{
			name: "listener",
			doc:  "An address on which mail arrives. At least one is needed; repeat the table for more.",
			to:   repeated(&c.Listeners, (*Listener).fields),
		},
		{
			name: "tls", doc: "The certificates that clients are shown, on the listeners whose `tls` is not \"off\". The page `tls` has more on them.",
			to: section(c.TLS.fields()),
		},
		{
			name: "admin", doc: "Watching the server by HTTP: `/metrics` for Prometheus, `/healthz` for load balancers.",
			to: section([]field{
				{
					name: "address", example: `"127.0.0.1:8025"`, absent: "there is none",
					doc: "Where both are served, and nothing else. Whoever reaches the address may read them: there is no password.",
					to:  one(&c.Admin.Address, "an IP address and a port", listenAddress),
				},
			}),
		},
		{
			name: "resolver", doc: "How DNS is asked.",
			to: section([]field{
				{
					name: "servers", example: `["127.0.0.1:53", "[::1]:53"]`, absent: "the system's servers",
					doc: "Recursive resolvers, at most 8. A failing one is followed by the next.",
					to:  list(&c.Resolver.Servers, 8, "a list of IP addresses with or without a port", dnsServer),
				},
				{
					name: "timeout", value: `"3s"`,
					doc: "The longest time for one try at one server.",
					to:  aDuration(&c.Resolver.Timeout, 100*time.Millisecond, time.Minute),
				},
				{
					name: "trusted", value: "false",
					doc: "Whether these servers are believed when they say that an answer was validated by DNSSEC (the AD flag), which DANE needs. Those on this host always are. With true, all of them must validate, and nobody may be able to change what they say on the way here.",
					to:  one(&c.Resolver.Trusted, "true or false", boolean),
				},
			}),
		},
		{
			name: "limits", doc: "Bounds on what clients may ask. They hold over all listeners together.",
			to: section([]field{
				{
					name: "sessions", value: "10000",
					doc: "Sessions open at once. Further ones are answered 421.",
					to:  wholeNumber(&c.Limits.Sessions, 1, 1_000_000),
				},
				{
					name: "sessions_per_ip", value: "100",
					doc: "Sessions open at once from one IPv4 address, or from one /64 network of IPv6. Further ones are answered 421.",
					to:  wholeNumber(&c.Limits.SessionsPerIP, 1, 1_000_000),
				},
				{
					name: "message_size", value: `"50MB"`,
					doc: "The largest message, as announced by the SIZE extension (RFC 1870).",
					to:  aSize(&c.Limits.MessageSize, 1000, 2e9),
				},
				{
					name: "recipients", value: "1000",
					doc: "Recipients of one message. RFC 5321 section 4.5.3.1.8 asks for at least 100.",
					to:  wholeNumber(&c.Limits.Recipients, 1, 65_000), // with those that plugins add they are numbered by 16 bits,
				},
				{
					name: "errors", value: "20",
					doc: "Commands that are unknown, malformed or out of order, between two messages of a session. With the last of them it is ended with 421.",
					to:  wholeNumber(&c.Limits.Errors, 1, 1_000_000),
				},
				{
					name: "error_delay", value: `"200ms"`,
					doc: "After ten refused commands between two messages, recipients too, each further refusal is late by so much more than the one before, up to ten times that. 0s: never.",
					to:  aDuration(&c.Limits.ErrorDelay, 0, 10*time.Second),
				},
				{
					name: "command_timeout", value: `"5m"`,
					doc: "The longest time for a whole command to arrive. RFC 5321 section 4.5.3.2.7 asks for 5 minutes.",
					to:  aDuration(&c.Limits.CommandTimeout, time.Second, day),
				},
				{
					name: "data_timeout", value: `"3m"`,
					doc: "The longest time for the next piece of a message. All of it has to come at 500 bytes a second besides, with 5 minutes of grace.",
					to:  aDuration(&c.Limits.DataTimeout, time.Second, day),
				},
				{
					name: "session_time", value: `"2h"`,
					doc: "The longest time for a session. Then it is ended with 421, in the middle of a message too.",
					to:  aDuration(&c.Limits.SessionTime, time.Minute, 30*day),
				},
			}),
		},
		{
			name: "queue", doc: "When a failed delivery is tried again, and how many run at once.",
			to: section(append([]field{
				{
					name: "retry", value: `["5m", "15m", "1h", "4h"]`,
					doc: "The waits after the first, second, and further failed attempts. The last one repeats.",
					to:  list(&c.Queue.Retry, 100, "a list of durations, each from 1s to 7d", duration(time.Second, 7*day)),
				},
				{
					name: "expire", value: `"5d"`,
					doc: "Mail that could not be delivered for so long is given up, and its sender is told.",
					to:  aDuration(&c.Queue.Expire, time.Second, 60*day),
				},
				{
					name: "warn", value: `"0s"`,
					doc: "A sender is told once when mail has not been delivered for so long and is still being tried. 0s: never.",
					to:  aDuration(&c.Queue.Warn, 0, 60*day),
				},
				{
					name: "wipe", value: "false",
					doc: "Content that lay in files is overwritten with zeros when nobody needs it any more. See `stagepost manual queue`.",
					to:  one(&c.Queue.Wipe, "true or false", boolean),
				},
				{
					name: "classes", example: `["blocked 5.7.1 our policy 17", "full 4.2.2", "policy 550 see * for details | code 42"]`, absent: "only the rules that ship",
					doc: "Rules of your own that say why mail was not taken, asked in order before those that ship: a class, a status (\"*\", a reply code such as 552 or 5xx, or an enhanced one such as 5.7.1 or x.7.1) " +
						"and phrases, of which one must be in the reply, with | between them and * for anything. The page `returns` lists the classes.",
					to: list(&c.Queue.Classes, bounce.MaxRules, `a list of rules, as "full 4.2.2" or "blocked * bad reputation | on our list"`, bounceRule),
				},
			}, c.Queue.limitFields()...)),
		},
		{
			name: "source",
			doc:  "Addresses to send from, for plans that name them (`route{source = \"NAME\"}`). Without one, the system chooses.",
			to:   named(&c.Sources, (*Source).fields),
		},
		{
			name: "pool",
			doc:  "Sources that share the mail of plans that name the pool (`route{source = \"NAME\"}`). A message goes to a domain by the same source at every attempt.",
			to:   named(&c.Pools, (*Pool).fields),
		},
		{
			name: "site",
			doc: "What bounds the mail to one site, in place of what [queue] says. The name is that of a recipient domain, of a next hop (\"host:port\"), of what a plan names in `site`, " +
				"or what the names of a provider's mail exchangers end in: all domains whose exchangers are all below it are one site. The more exact name counts. From each source, limits are counted apart; `stagepost queue explain NAME` tells which are in force. Example: `[site.\"google.com\"]`.",
			to: namedBy(&c.Sites, `[%s."NAME"]`, siteName, siteKind, (*Site).fields),
		},
		{
			name: "sender",
			doc:  "When mail from the addresses of one domain is tried again and given up, in place of what [queue] and the site say. \"<>\" is mail without a sender. Example: `[sender.\"news.example.org\"]`.",
			to:   namedBy(&c.Senders, `[%s."NAME"]`, senderName, senderKind, (*Sender).fields),
		},
		{
			name: "plugins", doc: "Which plugins decide.",
			to: section([]field{
				{
					name: "folder", example: `"plugins"`, absent: "no folder is watched",
					doc: "A folder that is watched. Every plugin in it is loaded, and loaded again when a file changes.",
					to:  one(&c.Plugins.Folder, "a path", text),
				},
				{
					name: "trust_folder", value: "true",
					doc: "Whether plugins in the folder are granted what their `needs` ask for. With false, each is loaded only if `grant` in its [run.NAME] decides about all of it.",
					to:  one(&c.Plugins.TrustFolder, "true or false", boolean),
				},
				{
					name: "enable", example: `["relay", "route"]`, absent: "none",
					doc: "Bundled and installed plugins to load, by name. Their place here decides their order where nothing else does.",
					to:  list(&c.Plugins.Enable, 1000, "a list of plugin names", identifier),
				},
			}),
		},
		{
			name: "plugin",
			doc:  "The settings of the plugin NAME. Its manifest says which keys there are: see the plugin's own page.",
			to:   free(&c.Settings),
		},
		{
			name: "run",
			doc: "What the operator decides about the calls of the plugin NAME, over what the plugin declares. " +
				"With another plugin's name in `plugin`, NAME is a second copy of that plugin with settings of its own.",
			to: named(&c.Runs, (*Run).fields),
		},
		{
			name: "lookup",
			doc: "A table that plugins find values in by key, for those that are granted it (`needs = { lookup = {\"NAME\"} }`), and for settings that are lists or tables: " +
				"there, \"lookup:NAME\" stands for what is in it. The page `plugins` tells what the files look like.",
			to: named(&c.Lookups, (*Lookup).fields),
		},
		{
			name: "transport",
			doc:  "A way out other than SMTP or LMTP to a host. A plan names it (`route{via = \"NAME\"}`), and so does the plugin `route` by \"transport:NAME\". The page `transports` tells more.",
			to:   named(&c.Transports, (*Transport).fields),
		},
		{
			name: "secrets", doc: "Keys, passwords and tokens that plugins use and do not see.",
			to: section([]field{
				{
					name: "folder", example: `"secrets"`, absent: "the credentials that systemd passes to the server (LoadCredential), if it does",
					doc: "A folder in which each secret is a file, readable by the server's user alone (chmod 600). The secret dkim/example.org is the file example.org in the folder dkim there. A change counts at once.",
					to:  one(&c.Secrets.Folder, "a path", text),
				},
			}),
		},
		{
			name: "trace", doc: "How much of the messages' records is kept. Whichever bound is met first counts.",
			to: section([]field{
				{
					name: "keep", value: `"7d"`,
					doc: "The age at which records are removed.",
					to:  aDuration(&c.Trace.Keep, time.Minute, 3650*day),
				},
				{
					name: "size", value: `"256MB"`,
					doc: "The size of all records on disk, above which the oldest are removed.",
					to:  aSize(&c.Trace.Size, 1e6, 1e12),
				},
			}),
		},
	}
}

func (l *Listener) fields() []field {
	return append([]field{
		{
			name: "name", required: true, example: `"mx"`,
			doc: "The listener's name in plugins, logs and metrics.",
			to:  one(&l.Name, "a name of "+identifierKind, identifier),
		},
		{
			name: "address", required: true, example: `"0.0.0.0:25"`,
			doc: "Where the listener waits. Without an IP address, as in \":25\", every address of the machine; port 0 is any free port.",
			to:  one(&l.Address, "an IP address and a port", listenAddress),
		},
		{
			name: "role", required: true, example: `"mx"`,
			doc: "What the sessions are for: \"mx\" takes mail from other servers; \"submission\" from people and their programs, who have to log in (RFC 6409); " +
				"\"lmtp\" from a server that wants one reply for each recipient (RFC 2033), never on port 25. The page `smtp` tells more.",
			to: oneOf(&l.Role, "mx", "submission", "lmtp"),
		},
		{
			name: "greeting_delay", value: `"0s"`,
			doc: "How long the greeting is kept back. A client that speaks in that time is refused with 554: programs that send spam often do. Above 0s it should be a few seconds.",
			to:  aDuration(&l.GreetingDelay, 0, time.Minute),
		},
		{
			name: "proxy_protocol", example: `["192.0.2.10", "2001:db8::/64"]`, absent: "no connection may have one",
			doc: "The load balancers before this listener. Each connection from these addresses has to begin with a header of the PROXY protocol, version 1 or 2, within 5 seconds, " +
				"and the session is that of the client it names; one without is closed. From others no header is taken.",
			to: list(&l.ProxyProtocol, 100, "a list of IP addresses and networks", network),
		},
		{
			name: "auth", example: `["SCRAM-SHA-256", "PLAIN"]`, absent: `["PLAIN", "LOGIN"] where the role is "submission", else none`,
			doc: "SASL mechanisms with which clients may log in here; [] is none. They are offered once the session is encrypted. The page `auth` says what each needs.",
			to:  list(&l.Auth, len(mechanisms()), "a list with "+wordsKind(mechanisms()...), words(mechanisms()...)),
		},
		{
			name: "auth_without_tls", value: "false",
			doc: "Whether clients may log in without encryption, and send passwords that everybody on the way can read.",
			to:  one(&l.AuthWithoutTLS, "true or false", boolean),
		},
		{
			name: "xclient", example: `["127.0.0.1"]`, absent: "no client is believed",
			doc: "Proxies that may say by XCLIENT, as Postfix has it, for which client they speak: from these addresses it is offered and believed, from others answered 550.",
			to:  list(&l.XClient, 100, "a list of IP addresses and networks", network),
		},
		{
			name: "reject_at", value: `"stage"`,
			doc: "When a client hears that a plugin refuses it: \"stage\" at once; \"rcpt\" at each recipient, if it came from the stages connect, helo or mail and the plugin would still be asked then. " +
				"So a log-in lifts what plugins for strangers (`when = { user = false }`) said, and the record names the recipients that were refused. Closing is not delayed.",
			to: oneOf(&l.RejectAt, "stage", "rcpt"),
		},
		{
			name: "without", example: `["dsn", "chunking"]`, absent: "all are offered",
			doc: "SMTP extensions that are not offered here, by their keywords. The page `smtp` says what each is for.",
			to:  list(&l.Without, len(extensions()), "a list with "+wordsKind(extensions()...), words(extensions()...)),
		},
	}, l.tlsFields()...)
}

func bounceRule(v any) (bounce.Rule, error) {
	s, err := text(v)
	if err != nil {
		return bounce.Rule{}, err
	}
	return bounce.ParseRule(s)
}

// mechanisms are those that there are; a test compares them with what the server knows.
func mechanisms() []string {
	return []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"}
}

// extensions are those that a listener may leave out; a test compares them with what is offered.
func extensions() []string {
	return []string{"smtputf8", "chunking", "binarymime", "dsn", "requiretls", "futurerelease", "deliverby", "mt-priority", "limits"}
}

func (l *Lookup) fields() []field {
	return []field{
		{
			name: "type", required: true, example: `"file"`,
			doc: "How keys are found: \"file\" as they are, \"suffix\" domains with those below them, \"cidr\" IP addresses in networks, \"regex\" what matches a regular expression.",
			to:  oneOf(&l.Type, "file", "cidr", "regex", "suffix"),
		},
		{
			name: "file", required: true, example: `"users.txt"`,
			doc: "The file: at most 64 MiB and 2,000,000 entries, one on a line. It is read again when it changes; one with an error changes nothing.",
			to:  one(&l.File, "a path", text),
		},
	}
}

func (r *Run) fields() []field {
	roles := []string{"mx", "submission", "lmtp", "api", "sendmail", "internal"}
	return []field{
		{
			name: "plugin", example: `"greylist"`, absent: "NAME",
			doc: "The plugin whose code runs.",
			to:  one(&r.Plugin, "the name of a plugin", identifier),
		},
		{
			name: "when", doc: "The sessions for which the plugin is asked.",
			to: section([]field{
				{
					name: "role", example: `["mx"]`, absent: "as the plugin declares",
					doc: "Only in sessions of these roles.",
					to:  list(&r.When.Role, 10, "a list with "+wordsKind(roles...), words(roles...)),
				},
				{
					name: "listener", example: `["mx"]`, absent: "as the plugin declares",
					doc: "Only on these listeners.",
					to:  list(&r.When.Listener, 100, "a list of listeners' names", identifier),
				},
				{
					name: "user", example: "false", absent: "as the plugin declares",
					doc: "Only with (true) or without (false) a user logged in.",
					to:  maybe(&r.When.User, "true or false", boolean),
				},
			}),
		},
		{
			name: "order", example: "50", absent: "as the plugin declares",
			doc: "The plugin's place among those of a stage: the lower is asked first.",
			to:  maybe(&r.Order, "a whole number from -10000 to 10000", number(-10_000, 10_000)),
		},
		{
			name: "after", example: `["dnsbl"]`, absent: "as the plugin declares",
			doc: "Plugins that are asked before this one.",
			to:  list(&r.After, 100, "a list of plugin names", identifier),
		},
		{
			name: "on_error", example: `"next"`, absent: "as the plugin declares",
			doc: "The answer when the plugin fails: \"next\" goes on without it, \"defer\" asks the client to come back, \"reject\" refuses.",
			to:  oneOf(&r.OnError, "next", "defer", "reject"),
		},
		{
			name: "timeout", example: `"10s"`, absent: "as the plugin declares",
			doc: "The longest time for one call.",
			to:  aDuration(&r.Timeout, 10*time.Millisecond, 10*time.Minute),
		},
		{
			name: "every", example: `"5m"`, absent: "as the plugin declares",
			doc: "The time between two calls of a plugin that is asked at intervals.",
			to:  aDuration(&r.Every, time.Second, 30*24*time.Hour),
		},
		{
			name: "instances", example: "64", absent: "as the plugin declares",
			doc: "Calls of this plugin that may run at once.",
			to:  wholeNumber(&r.Instances, 1, 10_000),
		},
		{
			name: "grant", example: `{ kv = "own", http = ["api.example.org:443"] }`, absent: "all that the plugin asks for, if it is trusted",
			doc: "What the plugin may do beyond answering, with the keys of `needs`. Of a key that stands here it may do what it asks for and this grants; " +
				"`false` grants nothing of it. Keys that do not stand here are granted as asked for to plugins that come with the program and to those of a trusted folder.",
			to: freeTable(&r.Grant),
		},
	}
}
