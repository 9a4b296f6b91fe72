package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// outcome is what became of one plugin, for programs.
type outcome struct {
	ID         string         `json:"id"`
	Version    string         `json:"version"`
	From       string         `json:"from,omitempty"` // the version before
	State      string         `json:"state"`          // of the words below
	Digest     string         `json:"digest,omitempty"`
	Index      string         `json:"index,omitempty"`
	Place      string         `json:"place,omitempty"`
	Signer     string         `json:"signer,omitempty"`
	Rights     string         `json:"rights,omitempty"` // what --accept takes
	More       []string       `json:"more,omitempty"`   // than the installed version may do
	Yanked     string         `json:"yanked,omitempty"`
	Enabled    bool           `json:"enabled"`
	Generation uint64         `json:"generation,omitempty"` // in which it is live
	Sheet      *consent.Sheet `json:"sheet,omitempty"`
}

// The states of an outcome.
const (
	stateInstalled = "installed" // now
	stateCurrent   = "current"   // there was nothing to do
	stateUnpacked  = "unpacked"  // it was in the lock, and its code was not there
	stateAsked     = "asked"     // nobody has agreed yet
	stateHeld      = "held"      // an update that asks for more
	stateMissed    = "missed"    // nobody could look whether there is an update
	stateNewer     = "newer"     // an update that --dry-run did not install
)

func (c *candidate) outcome(state string) *outcome {
	r := &outcome{ID: c.entry.ID, Version: c.entry.Version, State: state, Digest: string(c.entry.Digest), Index: c.entry.Index, Place: c.entry.Place, Signer: c.entry.Signer,
		Rights: c.entry.Capabilities, More: c.more, Yanked: c.yanked}
	if c.old != nil && c.old.Version != c.entry.Version {
		r.From = c.old.Version
	}
	if state == stateAsked || state == stateHeld {
		r.Sheet = c.sheet
	}
	return r
}

const aboutInstalling = "\n\nThe code lies below the data folder, and plugins.lock, beside the configuration, says what it is, who signed it and what was accepted: the\n" +
	"server loads that and nothing else, and never fetches anything. A running server is asked to load what changed; if it refuses, all is put\n" +
	"back as it was. Several plugins are one change: all of them or none."

const aboutAccept = "Who has no terminal, such as a script, accepts by --accept HASH, with the hash that the sheet ends with. It is the hash of what the\n" +
	"plugin may do, and not of its version: as long as that stays the same, so does the hash."

func acceptFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("accept", nil, "the hash of what a plugin may do, which is accepted without being asked for; may be repeated")
}

func (a *app) pluginInstallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install [ID | ID@VERSION | PLACE#ID@VERSION ...]",
		Short: "Install plugins of others, after showing what they may do",
		Long: "install finds each plugin in the index that its id belongs to (trust.toml says which, and whose signatures count), fetches and checks it,\n" +
			"shows in plain words what it could read, change, contact and refuse, and asks whether it may. Then it installs it, and adds it to enable\n" +
			"in the configuration, of which all else stays as it is. Without a version it is the newest for this server.\n\n" +
			aboutAccept + "\n\n" +
			"Without a name, install gets again what plugins.lock says and what is not there: on a new machine, or after a copy of the configuration.\n" +
			"Nothing is asked then, since what was accepted stands in the lock.\n\n" +
			"PLACE is a registry (https://registry.example.org/plugins), a folder of a web server (with a slash at the end), a folder, or a file that\n" +
			"ends in .tar. No index says who signed what lies there, so it takes the word --unsigned." + aboutInstalling,
		Example: "  stagepost plugin install acme-greylist\n" +
			"  stagepost plugin install acme-greylist@1.2.0 --accept rights:0263...\n" +
			"  stagepost plugin install ./packages.tar#acme-greylist --unsigned",
	}
	in := &installing{app: a}
	f := cmd.Flags()
	in.accept = acceptFlag(cmd)
	f.BoolVar(&in.unsigned, "unsigned", false, "install what lies at a place that no index vouches for")
	f.BoolVar(&in.downgrade, "downgrade", false, "let an older version take the place of a newer one")
	f.BoolVar(&in.noEnable, "no-enable", false, "leave enable in the configuration as it is: the plugin is installed and not loaded")
	limit := timeoutFlag(cmd, "15m")
	in.json = jsonFlag(cmd, "JSON Lines: one object a plugin; nothing is asked then")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		names, err := parseRequests(args)
		if err != nil {
			return err
		}
		if in.cmd, in.out = cmd, outputOf(cmd); len(names) == 0 && cmd.Flags().NFlag() > 0 {
			for _, name := range []string{"accept", "unsigned", "downgrade", "no-enable"} {
				if cmd.Flags().Changed(name) {
					return fail(exitUsage, "--%s is about plugins that are named", name)
				}
			}
		}
		if slices.ContainsFunc(names, func(w request) bool { return w.place != "" }) && !in.unsigned {
			return fail(exitUsage, "of what lies at a place, no index says who signed it; if you know it to be what you want, add --unsigned")
		}
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		if in.stock, err = a.stock(cmd, most, !*in.json); err != nil {
			return err
		}
		defer in.show.clear()
		if len(names) == 0 {
			return in.restore(ctx)
		}
		return in.install(ctx, names)
	}
	return cmd
}

// installing is one run of install or update.
type installing struct {
	*stock
	app  *app
	cmd  *cobra.Command
	out  output
	json *bool

	accept                        *[]string
	unsigned, downgrade, noEnable bool
}

func (in *installing) install(ctx context.Context, names []request) error {
	if err := in.refreshFor(ctx, names); err != nil {
		return err
	}
	in.show.expect(len(names) + 1)
	var all []*candidate
	for _, w := range names {
		get := in.fromIndex
		if w.place != "" {
			get = in.fromPlace
		}
		c, err := get(ctx, w)
		if err != nil {
			return err
		}
		if err := in.fits(c); err != nil {
			return err
		}
		all = append(all, c)
	}
	in.show.clear()
	if err := in.agree(all); err != nil {
		return err
	}
	return in.change(all, !in.noEnable)
}

// refreshFor brings the indexes up to date if one of the plugins is to be found in them.
func (in *installing) refreshFor(ctx context.Context, names []request) error {
	var ids []string
	for _, w := range names {
		if w.place == "" {
			ids = append(ids, w.id)
		}
	}
	if ids == nil {
		return nil
	}
	return in.refresh(ctx, ids)
}

// fits tells why a candidate cannot be installed here, whatever it may do.
func (in *installing) fits(c *candidate) error {
	if err := c.downgrade(); err != nil && !in.downgrade {
		return &failure{exitData, err}
	}
	if path := in.shadow(c.entry.ID); path != "" && !in.noEnable {
		return fail(exitConfig, "%s lies in the watched folder, and is what would be loaded as %s; move it away first", path, c.entry.ID)
	}
	if slices.Contains(bundled.Names(), c.entry.ID) && c.old == nil {
		in.warn("a plugin %s came with the program; what is installed takes its place", c.entry.ID)
	}
	return nil
}

// agree shows what the plugins may do, and has somebody agree to each that asks for what nobody agreed to before.
func (in *installing) agree(all []*candidate) error {
	human := in.human()
	used := map[string]bool{}
	var open []*candidate
	for _, c := range all {
		rights := c.entry.Capabilities
		accepted := slices.Contains(*in.accept, rights)
		if accepted && c.asks() {
			used[rights] = true
		}
		if accepted || !c.asks() {
			if c.yanked != "" {
				in.warn("%s was withdrawn: %s", c, printable(c.yanked))
			}
			continue
		}
		if err := in.present(c); err != nil {
			return err
		}
		if !human {
			open = append(open, c)
			continue
		}
		yes, err := in.ask(fmt.Sprintf("Install %s, which may do this? [y/N] ", c))
		if err != nil {
			return err
		}
		if !yes {
			return fail(exitPermission, "%s may not, so nothing is installed", c)
		}
	}
	if len(open) > 0 {
		var words []string
		for _, c := range open {
			if word := "--accept " + c.entry.Capabilities; !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
		return fail(exitPermission, "nobody is here to be asked, so nothing is installed; what is shown above is accepted with: %s", strings.Join(words, " "))
	}
	for _, rights := range *in.accept {
		if !used[rights] && !slices.ContainsFunc(all, func(c *candidate) bool { return c.entry.Capabilities == rights }) {
			in.warn("--accept %s is not what any of them asks for", printable(rights))
		}
	}
	return nil
}

// present shows one plugin to whom is asked.
func (in *installing) present(c *candidate) error {
	if *in.json {
		return in.out.json(c.outcome(stateAsked))
	}
	in.out.printf("%s", c.sheet.Text(c.signed))
	if c.old != nil {
		in.out.printf("\n%s is installed. Beyond what that may do, %s\n", c.old, c.entry.Version)
		in.list(c.more)
	}
	if c.entry.Index == "" {
		in.out.printf("\nIt lies at %s. No index vouches for it, and nobody signed it.\n", printable(c.entry.Place))
	}
	if c.yanked != "" {
		in.out.printf("\n%s\n", in.out.paint(red, "It was withdrawn: "+printable(c.yanked)))
	}
	in.out.printf("\n")
	return nil
}

func (in *installing) list(lines []string) {
	for _, line := range lines {
		in.out.printf("  - %s\n", printable(line))
	}
}

// human tells whether somebody is there to be asked.
func (in *installing) human() bool {
	file, ok := in.cmd.InOrStdin().(*os.File)
	return ok && !*in.json && term.IsTerminal(int(file.Fd()))
}

// ask asks on the terminal; only y and yes are a yes.
func (in *installing) ask(question string) (bool, error) {
	fmt.Fprint(in.cmd.ErrOrStderr(), question)
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(in.cmd.InOrStdin(), 1<<10)).ReadString('\n')
		if err != nil { // the end is no answer
			line = ""
		}
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		case "":
			if line == "" {
				fmt.Fprintln(in.cmd.ErrOrStderr())
			}
		}
		return false, nil
	case <-in.cmd.Context().Done():
		fmt.Fprintln(in.cmd.ErrOrStderr())
		return false, fail(exitTemporary, "ended; nothing is installed")
	}
}

// restore gets again what the lock names and what is not there. The lock stays as it is.
func (in *installing) restore(ctx context.Context) error {
	var missing []lock.Plugin
	for _, p := range in.locked.Plugins {
		if _, err := p.Package(in.config.Data); err != nil {
			missing = append(missing, p)
		}
	}
	in.show.expect(len(missing))
	var all []*candidate
	for _, p := range missing {
		pkg, err := in.restored(ctx, p)
		if err != nil {
			return err
		}
		all = append(all, &candidate{pkg: pkg, entry: p, old: &p})
	}
	in.show.clear()
	if len(all) == 0 {
		if !*in.json {
			in.out.printf("%s\n", map[bool]string{true: "nothing is installed; name a plugin", false: "all that " + lock.Name + " names is there"}[len(in.locked.Plugins) == 0])
		}
		return nil
	}
	return in.unpack(all)
}

// report tells what became of each plugin.
func (in *installing) report(all []*candidate, l *live, state string) error {
	if l == nil {
		l = &live{}
	}
	var loaded, idle []string
	for _, c := range all {
		r := c.outcome(state)
		if state == stateInstalled && c.same() {
			r.State = stateCurrent
		}
		r.Enabled = in.enabledNow(c.entry.ID)
		if slices.ContainsFunc(l.plugins, func(p admin.Plugin) bool { return p.Name == c.entry.ID && p.Version == c.entry.Version }) {
			r.Generation = l.generation
		}
		if *in.json {
			if err := in.out.json(r); err != nil {
				return err
			}
			continue
		}
		switch {
		case r.State == stateCurrent:
			in.out.printf("%s is installed already\n", c)
		case r.State == stateUnpacked:
			in.out.printf("%s is there again\n", c)
		case r.From != "":
			in.out.printf("%s is installed, in the place of %s\n", c, r.From)
		default:
			in.out.printf("%s is installed\n", c)
		}
		switch {
		case r.Generation > 0:
			loaded = append(loaded, c.entry.ID)
		case !r.Enabled:
			idle = append(idle, c.entry.ID)
		}
	}
	if *in.json {
		return nil
	}
	if loaded != nil {
		in.out.printf("live in generation %d: %s\n", l.generation, strings.Join(loaded, ", "))
	}
	if l.stopped {
		in.out.printf("no server is running, so it will be live with: %s\n", in.app.command("serve"))
	}
	if l.note != "" {
		in.out.printf("%s\n", printable(l.note))
	}
	if idle != nil && state != stateUnpacked {
		in.out.printf("not loaded, since enable in the configuration does not name it: %s\n", strings.Join(idle, ", "))
	}
	return nil
}

// enabledNow tells whether the configuration names a plugin by now.
func (in *installing) enabledNow(id string) bool {
	if c, err := in.app.configuration(); err == nil {
		in.config = c
	}
	return in.named(id)
}
