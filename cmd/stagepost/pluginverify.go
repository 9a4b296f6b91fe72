package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Findings about an installed plugin. The server refuses to load what has one of the first; the next are what nobody stands behind any
// more; the last are only told.
const (
	foundMissing    = "missing"
	foundChanged    = "changed"
	foundUnreadable = "unreadable"
	foundUnaccepted = "unaccepted"
	foundRevoked    = "revoked"
	foundOther      = "other content"
	foundYanked     = "yanked"
	foundUntrusted  = "untrusted"
	foundUnsigned   = "unsigned"
	foundUnlisted   = "unlisted"
)

// verified is what plugin verify found out about one plugin, also for --json.
type verified struct {
	ID       string   `json:"id"`
	Version  string   `json:"version"`
	Digest   string   `json:"digest"`
	Index    string   `json:"index,omitempty"`
	Place    string   `json:"place,omitempty"`
	Signer   string   `json:"signer"`
	OK       bool     `json:"ok"`
	Findings []remark `json:"findings"`
}

type remark struct {
	What string `json:"what"`
	Text string `json:"text"`
}

// code is the exit code that a finding asks for.
func (f remark) code() int {
	switch f.What {
	case foundUnsigned, foundUnlisted:
		return 0
	case foundYanked, foundUntrusted:
		return exitUnavailable
	}
	return exitData
}

func (a *app) pluginVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [ID ...]",
		Short: "Hold what is installed against the record, trust.toml and the indexes that are kept",
		Long: "verify looks at each installed plugin, or at those that are named, without a network and without changing anything. It tells what is\n" +
			"missing, changed, or unreadable below the data folder; what asks for more than was accepted; what trust.toml revokes, or has no key for\n" +
			"any more; what the indexes that are kept say was yanked, or list with other content; and what is unsigned.\n\n" +
			"The exit code is 0 where all is well: that something is unsigned, or is not in an index any more, is only told. It is 65 where the\n" +
			"server would refuse to load a plugin, or an index has other content for it; and 69 where one was yanked, or nobody trusts its key any\n" +
			"more. What is missing or changed comes back with: stagepost plugin install",
		Example: "  stagepost plugin verify\n  stagepost plugin verify acme-greylist --json",
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a plugin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.stock(cmd, 0, false)
		if err != nil {
			return err
		}
		plugins, err := s.chosen(args)
		if err != nil {
			return err
		}
		out, code, faulty := outputOf(cmd), 0, 0
		t := newTable(out, "PLUGIN", "VERSION", "SIGNER", "STATE", "WHY")
		for _, p := range plugins {
			r := s.verify(p)
			worst := 0
			for _, f := range r.Findings {
				if c := f.code(); c == exitData || worst == 0 {
					worst = c
				}
			}
			r.OK = worst == 0
			if worst == exitData || code == 0 {
				code = worst
			}
			if worst != 0 {
				faulty++
			}
			if *asJSON {
				if err := out.json(r); err != nil {
					return err
				}
				continue
			}
			if len(r.Findings) == 0 {
				t.add(text(p.ID), text(p.Version), text(signerName(p.Signer)), cell{"ok", green}, text(""))
			}
			for _, f := range r.Findings {
				t.add(text(p.ID), text(p.Version), text(signerName(p.Signer)), cell{f.What, map[int]paint{0: green, exitUnavailable: yellow, exitData: red}[f.code()]}, text(f.Text))
			}
		}
		switch {
		case len(plugins) == 0 && !*asJSON:
			out.printf("no plugin is installed\n")
		case !*asJSON:
			t.flush()
		}
		for _, line := range s.around() {
			fmt.Fprintln(cmd.ErrOrStderr(), printable(line))
		}
		if code != 0 {
			return fail(code, "not as it should be: %d of %s", faulty, count(len(plugins), "plugin"))
		}
		return nil
	}
	return cmd
}

// chosen are the installed plugins that are named, or all.
func (s *stock) chosen(ids []string) (plugins []lock.Plugin, err error) {
	if len(ids) == 0 {
		return s.locked.Plugins, nil
	}
	for _, id := range ids {
		p, ok := s.locked.Plugin(id)
		if !ok {
			return nil, notInstalled(s.locked, id)
		}
		plugins = append(plugins, p)
	}
	return plugins, nil
}

// notInstalled says so, and what is.
func notInstalled(l *lock.Lock, id string) error {
	if len(l.Plugins) == 0 {
		return fail(exitNoInput, "%s is not installed; no plugin is", id)
	}
	if near := config.Nearest(id, l.IDs()); near != "" {
		return fail(exitNoInput, "%s is not installed; did you mean %s?", id, near)
	}
	return fail(exitNoInput, "%s is not installed; installed are %s", id, strings.Join(l.IDs(), ", "))
}

// verify finds out what is wrong with one.
func (s *stock) verify(p lock.Plugin) *verified {
	r := &verified{ID: p.ID, Version: p.Version, Digest: string(p.Digest), Index: p.Index, Place: p.Place, Signer: p.Signer, Findings: []remark{}}
	add := func(what, format string, args ...any) {
		r.Findings = append(r.Findings, remark{what, fmt.Sprintf(format, args...)})
	}
	pkg, err := p.Package(s.config.Data)
	switch {
	case errors.Is(err, lock.ErrMissing):
		add(foundMissing, "%v", err)
	case errors.Is(err, lock.ErrChanged):
		add(foundChanged, "%v", err)
	case err != nil:
		add(foundUnreadable, "%v", err)
	default:
		if m, err := pkg.Manifest(); err != nil {
			add(foundUnreadable, "%v", err)
		} else if more := manifest.Beyond(m.Needs, p.Accepted()); more != nil {
			add(foundUnaccepted, "%s: it asks for what was not accepted: %s", p.Pos(), strings.Join(more, ", "))
		}
	}
	if p.Signer == lock.Unsigned {
		add(foundUnsigned, "nobody signed it")
	}
	if s.trust == nil {
		if p.Signer != lock.Unsigned {
			add(foundUntrusted, "there is no %s, so no key is trusted", trust.File(s.config.File))
		}
		return r
	}
	revoked := s.trust.Revoked(p.Signer, p.Digest)
	if revoked != "" {
		add(foundRevoked, "%s", revoked)
	}
	if p.Index == "" {
		return r
	}
	s.vouched(p, revoked != "", add)
	return r
}

// vouched holds a plugin against the index that its id belongs to, and the keys for it.
func (s *stock) vouched(p lock.Plugin, revoked bool, add func(what, format string, args ...any)) {
	keys := s.trust.Signers(p.ID)
	trusted := slices.ContainsFunc(keys, func(k trust.Key) bool { return k.String() == p.Signer })
	if owner, ok := s.trust.Owner(p.ID); p.Signer == lock.Unsigned {
		trusted = ok && owner.Unsigned && len(keys) == 0
	}
	if !trusted && !revoked {
		add(foundUntrusted, "%s does not take packages of this id with that signer any more", s.trust.File)
	}
	found, err := s.index.Find(p.ID, p.Version)
	switch {
	case err != nil && !revoked:
		add(foundUnlisted, "%v", err)
	case err != nil:
	case found.Entry.Digest != p.Digest:
		add(foundOther, "the index %s has this version with other content, %s; a version never changes, so ask who keeps it", found.Index, short(found.Entry.Digest))
	case found.Entry.Yanked != "":
		add(foundYanked, "%s", found.Entry.Yanked)
	}
}

func short(d digest.Digest) string { return string(d[:min(len(d), 19)]) + "..." }

// around tells what else lies where the code of installed plugins does.
func (s *stock) around() (lines []string) {
	left, foreign, err := s.locked.Strangers(s.config.Data)
	if err != nil {
		return []string{err.Error()}
	}
	for _, name := range left {
		lines = append(lines, fmt.Sprintf("%s was left behind by a change that was cut short; nobody loads it, and the next change takes it away", filepath.Join(lock.Folder(s.config.Data), name)))
	}
	for _, name := range foreign {
		lines = append(lines, fmt.Sprintf("%s is no installed plugin, and nobody loads it; plugins of your own go into the watched folder", filepath.Join(lock.Folder(s.config.Data), name)))
	}
	return lines
}
