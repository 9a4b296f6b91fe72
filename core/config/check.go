package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// complete fills in what no literal can say: paths, names that depend on other names, the system's host name.
func (c *Config) complete(d *decoder, folder string, opts Options) {
	absolute := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
	absolute(&c.Data)
	absolute(&c.Plugins.Folder)
	absolute(&c.Secrets.Folder)
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.Role == "submission" && l.Auth == nil {
			l.Auth = []string{"PLAIN", "LOGIN"}
		}
	}
	c.absoluteTLS(absolute)
	for name, l := range c.Lookups {
		absolute(&l.File)
		c.Lookups[name] = l
	}
	for name, t := range c.Transports {
		absolute(&t.Socket)
		absolute(&t.Root)
		c.Transports[name] = t
	}
	for name, run := range c.Runs {
		if run.Plugin == "" {
			run.Plugin = name
			c.Runs[name] = run
		}
	}
	if d.lines.below["hostname"] == nil {
		c.systemName(d, opts)
	}
}

func (c *Config) systemName(d *decoder, opts Options) {
	name, err := "", errors.New("it is not known")
	if opts.Hostname != nil {
		name, err = opts.Hostname()
	}
	if err == nil {
		c.Hostname, err = domainName(name)
	}
	if err != nil {
		d.report(1, "hostname is missing, and the system's host name cannot stand for it (%v); "+
			`write hostname = "mx1.example.org"`, err)
	}
}

// check looks at what one key alone does not show.
func (c *Config) check(d *decoder) {
	if len(c.Listeners) == 0 && d.lines.below["listener"] == nil {
		d.report(1, "there is no listener, so no mail can arrive; write, for example:\n"+
			"    [[listener]]\n    name = \"mx\"\n    address = \"0.0.0.0:25\"\n    role = \"mx\"")
	}
	taken := "%q is taken by the listener on line %d; choose another"
	names, addresses := newSeen(d, taken), newSeen(d, taken)
	for i, l := range c.Listeners {
		names.add(l.Name, "listener", Index(i), "name")
		if !strings.HasSuffix(l.Address, ":0") { // any free port: never the same
			addresses.add(l.Address, "listener", Index(i), "address")
		}
	}
	for i, l := range c.Listeners {
		if l.Role == "lmtp" && strings.HasSuffix(l.Address, ":25") {
			d.fail([]string{"listener", Index(i), "role"}, "LMTP must not be spoken on port 25, where servers expect SMTP (RFC 2033 section 5); choose another port, such as 24")
		}
	}
	if a := c.Admin.Address; !strings.HasSuffix(a, ":0") {
		addresses.add(a, "admin", "address")
	}
	c.checkTLS(d)
	c.checkSources(d)
	c.checkPools(d)
	c.checkTimes(d)
	c.checkTransports(d)
	enabled := newSeen(d, "%q is listed on line %d already; remove one of them")
	for i, name := range c.Plugins.Enable {
		enabled.add(name, "plugins", "enable", Index(i))
	}
	if c.Plugins.Folder != "" && within(c.Data, c.Plugins.Folder) {
		d.fail([]string{"plugins", "folder"}, "the data folder lies in it, and every change there would be looked at; give plugins a folder of their own")
	} else if c.Plugins.Folder != "" && within(c.Plugins.Folder, filepath.Join(c.Data, InstalledFolder)) {
		d.fail([]string{"plugins", "folder"}, "the code of installed plugins lies there, in the folder %s of the data folder; give plugins of your own another folder", InstalledFolder)
	}
	if len(c.Queue.Retry) == 0 {
		d.fail([]string{"queue", "retry"}, `the list is empty; write at least one wait, such as retry = ["5m"]`)
	}
	known := slices.Sorted(maps.Keys(names.line))
	for _, name := range slices.Sorted(maps.Keys(c.Runs)) {
		for i, l := range c.Runs[name].When.Listener {
			if l == "" || names.line[l] > 0 {
				continue
			}
			hint := "the file has " + shorten(strings.Join(known, ", "))
			if near := Nearest(l, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			d.fail([]string{"run", name, "when", "listener", Index(i)}, "there is no listener %q; %s", l, hint)
		}
	}
}

// within tells whether path is folder or lies in it.
func within(path, folder string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return false
	}
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// seen finds values that stand twice where each may stand once.
type seen struct {
	d       *decoder
	message string // with verbs for the value and the first one's line
	line    map[string]int
}

func newSeen(d *decoder, message string) seen { return seen{d, message, map[string]int{}} }

// add notes a value; the empty one stands for a value that was reported already.
func (s seen) add(value string, at ...string) {
	if value == "" {
		return
	}
	if first := s.line[value]; first > 0 {
		s.d.fail(at, s.message, value, first)
		return
	}
	s.line[value] = s.d.lines.line(at)
}
