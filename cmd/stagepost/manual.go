package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
)

//go:embed manual/*.md
var manualFiles embed.FS

// page is one page of the manual.
type page struct {
	name, about string
	text        func() string
}

// pages lists them in the order in which they are best read.
func pages() []page {
	file := func(name string) func() string {
		return func() string {
			b, err := manualFiles.ReadFile("manual/" + name + ".md")
			if err != nil {
				panic(err) // embedded
			}
			return string(b)
		}
	}
	return []page{
		{"quickstart", "five minutes: a server, a message, a plugin changed while it runs", file("quickstart")},
		{"plugins", "how to write a plugin, and the reference of all it can use", func() string { return file("plugins")() + "\n" + reference() }},
		{"wasm", "plugins in WebAssembly: the interface, and what their walls hold", func() string { return file("wasm")() + "\n" + wasmReference() }},
		{"go", "how to write a plugin in Go", file("go")},
		{"rust", "how to write a plugin in Rust", file("rust")},
		{"c", "how to write a plugin in C", file("c")},
		{"isolation", "what plugins cannot do to the rest of the server, what was tried, what is not held", file("isolation")},
		{"testing", "how the tests of plugins are written and run", func() string { return file("testing")() + "\n" + testingReference() }},
		{"catalog", "plugins of others: what they are packed in, whom to trust, publishing, copies", file("catalog")},
		{"trust", "whose plugins are taken: indexes and their signatures, what is checked, trust.toml", func() string { return file("trust")() + config.TrustManual() }},
		{"saving", "when a saved file takes effect, what counts, and what a mistake does", file("saving")},
		{"config", "every key of stagepost.toml", config.Manual},
		{"smtp", "what clients are offered, and what the queue makes of it", file("smtp")},
		{"auth", "how clients log in: mechanisms, what plugins decide, what slows down guessing", file("auth")},
		{"users", "letting people log in: their file, other places that know them, their addresses", file("users")},
		{"limits", "every bound on what clients can do: default, key, reply, metric; load balancers", file("limits")},
		{"tls", "how sessions are encrypted: certificates, several names, clients' certificates, what is refused", file("tls")},
		{"queue", "what 250 promises, what may come twice, what senders are told, what to do by hand", file("queue")},
		{"sending", "next hops and fall-backs, log-ins at them, where mail is sent from, and when", file("sending")},
		{"remotes", "which server gets the mail and when the next, and what becomes of mail where servers misbehave", file("remotes")},
		{"encryption", "how mail is encrypted on the way out: words, DANE, MTA-STS, what goes when, results", file("encryption")},
		{"doctor", "what the DNS says of a domain's mail: what is wrong, and what to publish", file("doctor")},
		{"transports", "ways out that are no host: LMTP by a socket, Maildir, programs, HTTPS; a plugin's own delivery", file("transports")},
		{"returns", "mail that comes back: why it was refused, bounces and complaints, VERP, forwarded mail", file("returns")},
		{"spf", "who may send for a domain: how SPF is checked, its bounds, what results mean, Received-SPF", file("spf")},
		{"arc", "what was known of mail before it was forwarded: chains that are verified, and sealed", file("arc")},
		{"shaping", "what becomes of mail when remotes want less: rules over their replies, ramps for new addresses", file("shaping")},
		{"dkim", "signatures of mail: keys and how they are changed, what is verified and what counts", file("dkim")},
		{"dmarc", "whether From tells the truth: DMARC, threats, reverse DNS, Authentication-Results", file("dmarc")},
		{"observing", "what a running server shows: trace, status, log, metrics, and alerts", file("observing")},
		{"metrics", "every metric of /metrics", metricsPage},
		{"architecture", "how it is built: levels, the way of a message, generations, the store", file("architecture")},
	}
}

func (a *app) manualCommand() *cobra.Command {
	var names []string
	for _, p := range pages() {
		names = append(names, p.name)
	}
	return &cobra.Command{
		Use:       "manual [PAGE]",
		Short:     "Print a page of the manual",
		Long:      "manual prints a page in Markdown; without PAGE it lists them.",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := outputOf(cmd)
			for _, p := range pages() {
				if len(args) == 0 {
					out.printf("stagepost manual %-13s %s\n", p.name, p.about)
				} else if args[0] == p.name {
					out.printf("%s", p.text())
					return nil
				}
			}
			if len(args) == 0 {
				return nil
			}
			hint := "they are " + strings.Join(names, ", ")
			if near := config.Nearest(args[0], names); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return fail(exitUsage, "the manual has no page %q; %s", args[0], hint)
		},
	}
}
