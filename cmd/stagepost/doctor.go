package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "Look at what the DNS says of a domain's mail, and say what is wrong and what to publish",
		Long: "doctor asks the DNS, and for MTA-STS a web server, what they say of a domain's mail, as servers do that mail goes to and comes from. It\n" +
			"says of each subject what is there, what is wrong, and what to publish, as lines for a zone file. No server has to run, and there\n" +
			"need not be a configuration; where there is one, [resolver] says who is asked, and what is known of this server is compared.\n" +
			"Without DOMAIN it looks at this server's own name.\n" +
			"The exit code is 0 if nothing is wrong, 65 if something is, and 75 if nothing is, as far as it could be found out.",
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := jsonFlag(cmd, "one object a domain")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, end, err := a.doctorOptions(len(args) == 0)
		if err != nil {
			return err
		}
		defer end()
		out := outputOf(cmd)
		var all []*doctor.Report
		show := func(r *doctor.Report) error {
			all = append(all, r)
			if *asJSON {
				return out.json(r)
			}
			showReport(out, r)
			return nil
		}
		if len(args) == 0 {
			err = show(doctor.Server(cmd.Context(), o))
		}
		for _, arg := range args {
			domain, wrong := doctor.Name(arg)
			if wrong != nil {
				return fail(exitUsage, "%w", wrong)
			}
			err = show(doctor.Domain(cmd.Context(), o, domain))
		}
		if err != nil {
			return err
		}
		return diagnosis(all)
	}
	return cmd
}

// diagnosis is what all reports come to.
func diagnosis(all []*doctor.Report) error {
	var wrong, unknown []string
	for _, r := range all {
		if n := r.Count(doctor.Wrong); n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %s wrong", r.Name, amount(n)))
		}
		if n := r.Count(doctor.Unknown); n > 0 {
			unknown = append(unknown, fmt.Sprintf("%s: %s not known now", r.Name, amount(n)))
		}
	}
	switch all := strings.Join(append(wrong, unknown...), "\n"); {
	case len(wrong) > 0:
		return fail(exitData, "%s", all)
	case len(unknown) > 0:
		return fail(exitTemporary, "%s", all)
	}
	return nil
}

func amount(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return fmt.Sprintf("%d things are", n)
}

// doctorOptions say who is asked, and what a configuration tells of this server, if there is one.
func (a *app) doctorOptions(needed bool) (o doctor.Options, end func(), err error) {
	cfg := &config.Config{}
	file, err := a.file()
	switch {
	case err == nil:
		if cfg, err = config.Load(file); err != nil {
			return o, nil, &failure{exitConfig, err}
		}
	case needed && a.config == "":
		return o, nil, fail(exitConfig, "%w; or name a domain: stagepost doctor DOMAIN", err)
	case needed || a.config != "":
		return o, nil, err
	}
	o = doctor.Options{Now: a.now, Hostname: cfg.Hostname, Own: sourcesOf(cfg)}
	for _, p := range append([]config.Certificate{{Certificate: cfg.TLS.Certificate}}, cfg.TLS.More...) {
		if chain := chainOf(p.Certificate); chain != nil {
			o.Certificates = append(o.Certificates, chain)
		}
	}
	if o.Resolver, err = newResolver(cfg); err != nil {
		return o, nil, fail(exitConfig, "%w", err)
	}
	policies, err := mtasts.New(mtasts.Options{Resolver: o.Resolver, Now: a.now})
	if err != nil {
		return o, nil, err
	}
	o.Policy = policies.Fetch
	if a.examine != nil {
		a.examine(&o)
	}
	return o, policies.Close, nil
}

// sourcesOf are the addresses from which a server sends: those of its sources, and of this machine those that others can reach.
func sourcesOf(cfg *config.Config) (list []doctor.Source) {
	if cfg.Hostname == "" {
		return nil
	}
	add := func(ip netip.Addr, helo string) {
		if resolve.Special(ip) == "" && !slices.ContainsFunc(list, func(s doctor.Source) bool { return s.IP == ip }) {
			list = append(list, doctor.Source{IP: ip, Helo: strings.TrimSuffix(strings.ToLower(helo), ".")})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		s := cfg.Sources[name]
		for _, ip := range s.Address {
			add(ip.Unmap(), cmp.Or(s.Helo, cfg.Hostname))
		}
	}
	for _, ip := range new(machine).addresses() {
		add(ip, cfg.Hostname)
	}
	return list
}

// chainOf reads the certificates of a file; the key beside them may be none of the caller's business. nil: there are none to be read.
func chainOf(file string) (chain doctor.Chain) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			chain = append(chain, c)
		}
	}
	return chain
}
