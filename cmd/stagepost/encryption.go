package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/observe/metrics"
)

// Names in the data folder.
const (
	stsFolder    = "mta-sts"
	tlsrptFolder = "tls-results"
)

// outward is what mail is encrypted with on the way out.
type outward struct {
	policies *mtasts.Cache
	results  *tlsrpt.Results
}

// openOutward opens what is kept of policies and results.
func (d *daemon) openOutward(data string) (err error) {
	o := mtasts.Options{Resolver: d.dns, Folder: filepath.Join(data, stsFolder), Roots: d.roots, Dial: d.dial, Now: d.now, Log: d.log}
	if d.outward.policies, err = mtasts.New(o); err != nil {
		return fail(exitCantCreate, "the folder for MTA-STS policies cannot be used: %w", err)
	}
	if d.outward.results, err = tlsrpt.New(tlsrpt.Options{Folder: filepath.Join(data, tlsrptFolder), Now: d.now, Log: d.log}); err != nil {
		return fail(exitCantCreate, "the folder for results of TLS cannot be used: %w", err)
	}
	return nil
}

func (d *daemon) runOutward(ctx context.Context) {
	d.group.Go(func() { d.outward.policies.Run(ctx) })
	d.group.Go(func() { d.outward.results.Run(ctx) })
}

func (d *daemon) closeOutward() {
	if d.outward.policies != nil {
		d.outward.policies.Close()
	}
	if d.outward.results != nil {
		d.outward.results.Close()
	}
}

func (d *daemon) tlsOptions() deliver.TLSOptions {
	return deliver.TLSOptions{Roots: d.roots, Certificate: d.clientCertificate, Policies: d.outward.policies, Results: d.outward.results}
}

// clientCertificate is what servers are shown that mail goes to from a source; "" is none.
func (d *daemon) clientCertificate(source string) *tls.Certificate {
	c := d.plugins.Config()
	p := certs.Pair{Certificate: c.TLS.ClientCertificate, Key: c.TLS.ClientKey}
	if s := c.Sources[source]; s.ClientCertificate != "" {
		p = certs.Pair{Certificate: s.ClientCertificate, Key: s.ClientKey}
	}
	if p.Certificate == "" {
		return nil
	}
	return d.plugins.Certificates().Client(p)
}

// outwardMetrics are of encryption on the way out.
func (d *daemon) outwardMetrics() []metrics.Family {
	return []metrics.Family{
		{Name: "stagepost_connections_protected_total", Kind: metrics.Counter, Labels: []metrics.Label{words("protection", deliver.NewCounts().TLS)},
			Help: "Connections to next hops that were opened, by how they are protected: in clear; encrypted, whoever the server is; and verified. `failed` are those where TLS was tried and did not come about, in whose place one in clear may have come.",
			Read: func(s *metrics.Samples) { s.Counters(d.sender.Counts().TLS) }},
		{Name: "stagepost_mta_sts_policies", Kind: metrics.Gauge, Help: "Domains whose MTA-STS policy is kept.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.outward.policies.Len())) }},
		{Name: "stagepost_mta_sts_fetches_total", Kind: metrics.Counter, Labels: []metrics.Label{words("result", mtasts.NewCounts())},
			Help: "MTA-STS policies that were fetched, or could not be.",
			Read: func(s *metrics.Samples) { s.Counters(d.outward.policies.Fetched()) }},
	}
}

// tlsrptCommand shows how connections to others fared.
func (a *app) tlsrptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tlsrpt [DOMAIN]",
		Short: "Show how connections to the servers of domains fared under TLS",
		Long: "tlsrpt shows what reports by RFC 8460 would say of a day: for each domain and the policy that was applied, how many sessions\n" +
			"were protected, and how many were not, and why. Those with failures come first. Results are kept for 30 days.",
		Args: cobra.MaximumNArgs(1),
	}
	day := cmd.Flags().String("day", "", "a day (UTC), such as 2026-11-28, in place of today")
	asJSON := jsonFlag(cmd, "one object a line, as in a report's \"policies\"")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		t := newTable(out, "DOMAIN", "POLICY", "PROTECTED", "FAILED", "WHY")
		shown := 0
		for s, err := range c.TLSResults(cmd.Context(), *day) {
			if err != nil {
				return err
			}
			if len(args) > 0 && !strings.EqualFold(args[0], s.Policy.Domain) {
				continue
			}
			shown++
			if *asJSON {
				if err := out.json(&s); err != nil {
					return err
				}
				continue
			}
			failed := text(strconv.FormatUint(s.Summary.Failure, 10))
			if s.Summary.Failure > 0 {
				failed.paint = red
			}
			t.add(text(printable(s.Policy.Domain)), text(string(s.Policy.Type)), text(strconv.FormatUint(s.Summary.Success, 10)), failed, text(whyOf(s.Details)))
		}
		switch {
		case *asJSON:
		case shown == 0:
			out.printf("there are no results of %s\n", cmp.Or(*day, "today"))
		default:
			t.flush()
		}
		return nil
	}
	return cmd
}

// whyOf says what failed, the first of it at length.
func whyOf(details []tlsrpt.Detail) string {
	var parts []string
	for i, d := range details {
		part := strconv.FormatUint(d.Count, 10) + " " + string(d.Result)
		if d.Host != "" {
			part += " at " + d.Host
		}
		if i == 0 && d.Reason != "" {
			part += " (" + d.Reason + ")"
		}
		parts = append(parts, part)
	}
	return printable(strings.Join(parts, ", "))
}
