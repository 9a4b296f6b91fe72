package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "Look at what the DNS says of a domain's mail, and say what is wrong and what to publish",
		Long: "doctor asks the DNS, and for MTA-STS a web server, what they say of a domain's mail, as servers do that mail goes to and comes from. It\n" +
			"says of each subject what is there, what is wrong, and what to publish, as lines for a zone file. No server has to run, and there\n" +
			"need not be a configuration; where there is one, [resolver] says who is asked, and what is known of this server is compared.\n" +
			"Without DOMAIN it looks at this server's own name, and at the domains that it signs for.\n" +
			"The exit code is 0 if nothing is wrong, 65 if something is, and 75 if nothing is, as far as it could be found out.",
		Args: cobra.MaximumNArgs(1),
	}
	selectors := cmd.Flags().StringSlice("selector", nil, "a selector of DKIM, besides those with which this server signs; may be repeated")
	asJSON := jsonFlag(cmd, "one object a domain")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		domains, err := doctorWords(args, *selectors)
		if err != nil {
			return err
		}
		o, end, err := a.doctorOptions(len(domains) == 0)
		if err != nil {
			return err
		}
		defer end()
		o.Selectors = *selectors
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
		if len(domains) == 0 {
			if err := show(doctor.Server(cmd.Context(), o)); err != nil {
				return err
			}
			domains = signedFor(o.Keys)
		}
		for _, domain := range domains {
			if err := show(doctor.Domain(cmd.Context(), o, domain)); err != nil {
				return err
			}
		}
		return diagnosis(all)
	}
	return cmd
}

// doctorWords checks the arguments.
func doctorWords(args, selectors []string) (domains []string, err error) {
	for _, arg := range args {
		domain, err := doctor.Name(arg)
		if err != nil {
			return nil, fail(exitUsage, "%w", err)
		}
		domains = append(domains, domain)
	}
	if len(selectors) > doctor.MaxSelectors {
		return nil, fail(exitUsage, "--selector: %d are named, %d may be", len(selectors), doctor.MaxSelectors)
	}
	for i, s := range selectors {
		if _, selectors[i], err = dkim.CheckNames("example.org", s); err != nil {
			return nil, fail(exitUsage, "--selector: %w", err)
		}
	}
	return domains, nil
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
	o = doctor.Options{Now: a.now, Hostname: cfg.Hostname, Own: sourcesOf(cfg), Keys: keysOf(cfg)}
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
