package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

//go:embed testdata/stamp/init.lua
var stampInit string

//go:embed testdata/stamp/lib/part.lua
var stampPart string

// files are the folder of the server, as it should be after the last good save. plugins/stamp is a link to versions/N.
type files struct {
	dir           string
	sink          string
	always, comes string // addresses of the listeners
	busy          string // one that another program has

	edition         int // of the last save
	own, part, word string
	folder          int  // N
	second, other   bool // whether the second listener is there; whether the first has its other name
	undo            func() error
}

// stamp is what the plugin writes.
func (f *files) stamp() string { return f.own + "/" + f.part + "/" + f.word }

func (f *files) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

const (
	plugin = "plugins/stamp/init.lua"
	module = "plugins/stamp/lib/part.lua"
	conf   = "stagepost.toml"
)

func (f *files) init() string   { return strings.Replace(stampInit, "VERSION", f.own, 1) }
func (f *files) lib() string    { return strings.Replace(stampPart, "PART", f.part, 1) }
func (f *files) config() string { return f.configWith("") }

func (f *files) configWith(more string) string {
	name, second := "mx", ""
	if f.other {
		name = "inbound"
	}
	if f.second {
		second = fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\nrole = \"mx\"\n\n", f.comes)
	}
	return fmt.Sprintf(`hostname = "mx.example.org"
data = "data"

[[listener]]
name = %q
address = %q
role = "mx"

%s%s[queue]
retry = ["1s"]

[plugins]
folder = "plugins"
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
default = %q

[plugin.stamp]
word = %q
`, name, f.always, second, more, f.sink, f.word)
}

// write saves a file in place, as simple editors do.
func (f *files) write(name, text string) error {
	return os.WriteFile(f.path(name), []byte(text), 0o644)
}

// replace moves a new file to the place of the old one, as careful editors do.
func (f *files) replace(name, text string) error {
	if err := f.write(name+".new~", text); err != nil {
		return err
	}
	return os.Rename(f.path(name+".new~"), f.path(name))
}

// link swaps a link in one step, as containers do.
func (f *files) link(to, name string) error {
	if err := os.Symlink(filepath.FromSlash(to), f.path(name+".new~")); err != nil {
		return err
	}
	return os.Rename(f.path(name+".new~"), f.path(name))
}

// deploy writes a new folder of the plugin and puts it in the place of the old one.
func (f *files) deploy() error {
	f.folder++
	next := fmt.Sprintf("versions/%d", f.folder)
	err := errors.Join(os.MkdirAll(f.path(next+"/lib"), 0o755), f.write(next+"/init.lua", f.init()), f.write(next+"/lib/part.lua", f.lib()))
	if err == nil {
		err = f.link("../"+next, "plugins/stamp")
	}
	return errors.Join(err, os.RemoveAll(f.path(fmt.Sprintf("versions/%d", f.folder-1))))
}

// begin makes everything.
func (f *files) begin() error {
	f.own, f.part, f.word = "v0", "p0", "w0"
	if err := os.Mkdir(f.path("plugins"), 0o755); err != nil {
		return err
	}
	return errors.Join(f.deploy(), f.write(conf, f.config()))
}

// half ends in the middle of a function; what ends between two of them would be a plugin.
func half(text string) string {
	part, _, _ := strings.Cut(text, "m.my.version")
	return part
}

// good is a way of saving. It changes the state and the files.
type good struct {
	name string
	save func(f *files, v string) error
}

func goodSaves() []good {
	return []good{
		{"written in place", func(f *files, v string) error { f.own = "v" + v; return f.write(plugin, f.init()) }},
		{"another file renamed", func(f *files, v string) error { f.own = "v" + v; return f.replace(plugin, f.init()) }},
		{"removed and created", func(f *files, v string) error {
			f.own = "v" + v
			return errors.Join(os.Remove(f.path(plugin)), f.write(plugin, f.init()))
		}},
		{"in two pieces", func(f *files, v string) error {
			f.own = "v" + v
			text := f.init()
			err := f.write(plugin, half(text))
			time.Sleep(50 * time.Millisecond)
			return errors.Join(err, f.write(plugin, text))
		}},
		{"a module", func(f *files, v string) error { f.part = "p" + v; return f.write(module, f.lib()) }},
		{"all files by a link", func(f *files, v string) error { f.own, f.part = "v"+v, "p"+v; return f.deploy() }},
		{"settings", func(f *files, v string) error { f.word = "w" + v; return f.write(conf, f.config()) }},
		{"settings and code", func(f *files, v string) error {
			f.own, f.word = "v"+v, "w"+v
			return errors.Join(f.write(plugin, f.init()), f.replace(conf, f.config()))
		}},
		{"a listener more or less", func(f *files, v string) error { f.second = !f.second; return f.replace(conf, f.config()) }},
		{"a listener renamed", func(f *files, v string) error { f.other = !f.other; return f.write(conf, f.config()) }},
	}
}

// broken is a way of saving what must be refused. It leaves the state alone; undo makes the files what they were.
type broken struct {
	name string
	want string // on the console
	save func(f *files, v string) (undo func() error, err error)
}

// code is a broken version of the plugin's own file.
func code(name, want string, spoil func(text string) string) broken {
	return broken{name, want, func(f *files, v string) (func() error, error) {
		text := spoil(strings.Replace(stampInit, "VERSION", "broken"+v, 1))
		return func() error { return f.replace(plugin, f.init()) }, f.write(plugin, text)
	}}
}

func brokenSaves() []broken {
	and := func(more string) func(string) string { return func(text string) string { return text + more } }
	instead := func(f *files, make func() error) (func() error, error) {
		return func() error { return errors.Join(os.RemoveAll(f.path(plugin)), f.write(plugin, f.init())) },
			errors.Join(os.Remove(f.path(plugin)), make())
	}
	inConfig := func(name, want string, more func(f *files) string) broken {
		return broken{name, want, func(f *files, v string) (func() error, error) {
			return func() error { return f.write(conf, f.config()) }, f.write(conf, f.configWith(more(f)))
		}}
	}
	all := []broken{
		code("syntax error", plugin+":28: ", and("function (\n")),
		code("error at load", plugin+":28: no", and("error('no')\n")),
		code("endless load", plugin+":28: ran out of instructions", and("while true do end\n")),
		code("unknown stage", plugin+`:28: unknown stage "dta"`, and("function on.dta(m) end\n")),
		code("not granted", plugin+":28: kv.get: it is not granted", and("function on.disconnect(s) kv.get('a') end\n")),
		code("empty", plugin+":1: the file does not begin with plugin", func(string) string { return "" }),
		code("half of it", plugin+":", half),
		{"a broken module", module + ":2: ", func(f *files, v string) (func() error, error) {
			return func() error { return f.write(module, f.lib()) }, f.write(module, strings.Replace(stampPart, "PART", "broken"+v, 1)+")")
		}},
		{"10 GB", plugin + ": is larger than", func(f *files, v string) (func() error, error) {
			return func() error { return f.replace(plugin, f.init()) }, os.Truncate(f.path(plugin), 10<<30)
		}},
		{"a folder in its place", plugin[:len("plugins/stamp")] + ": there is no init.lua", func(f *files, v string) (func() error, error) {
			return instead(f, func() error { return os.Mkdir(f.path(plugin), 0o755) })
		}},
		{"the folder is gone", "plugins.folder: there is no folder plugins", func(f *files, v string) (func() error, error) {
			return func() error { return os.Rename(f.path("away"), f.path("plugins")) }, os.Rename(f.path("plugins"), f.path("away"))
		}},
		{"a link to nowhere", "plugins/stamp: the link leads nowhere", func(f *files, v string) (func() error, error) {
			return func() error { return f.link(fmt.Sprintf("../versions/%d", f.folder), "plugins/stamp") }, f.link("../versions/none", "plugins/stamp")
		}},
		inConfig("unknown key", "stagepost.toml:", func(*files) string { return "[limits]\nrecipient = 1\n\n" }),
		inConfig("settings of the wrong kind", "stagepost.toml:", func(*files) string { return "[plugin.domains]\ndomain = 5\n\n[run.domains]\norder = 1\n\n" }),
		inConfig("a busy address", "another program listens there", func(f *files) string {
			return fmt.Sprintf("[[listener]]\nname = \"third\"\naddress = %q\nrole = \"mx\"\n\n", f.busy)
		}),
	}
	if runtime.GOOS != "windows" {
		all = append(all, broken{"a pipe in its place", plugin + ": is not a regular file but a pipe", func(f *files, v string) (func() error, error) {
			return instead(f, func() error { return makePipe(f.path(plugin)) })
		}})
	}
	return all
}
