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
	wasm          bool // the plugin is written in WebAssembly
	sink          string
	always, comes string // addresses of the listeners
	admin         string
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
	luaCode  = "plugins/stamp/init.lua"
	wasmCode = "plugins/stamp/plugin.wasm"
	module   = "plugins/stamp/lib/part.lua"
	conf     = "stagepost.toml"
)

// plugin is the plugin's own file.
func (f *files) plugin() string {
	if f.wasm {
		return wasmCode
	}
	return luaCode
}

// init is what that file should hold.
func (f *files) init() string {
	if f.wasm {
		return stampModule(f.stamp())
	}
	return strings.Replace(stampInit, "VERSION", f.own, 1)
}

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

%s%s[admin]
address = %q

[queue]
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
`, name, f.always, second, more, f.admin, f.sink, f.word)
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
	err := os.MkdirAll(f.path(next+"/lib"), 0o755)
	if f.wasm {
		err = errors.Join(err, f.write(next+"/plugin.toml", stampManifest), f.write(next+"/plugin.wasm", f.init()))
	} else {
		err = errors.Join(err, f.write(next+"/init.lua", f.init()), f.write(next+"/lib/part.lua", f.lib()))
	}
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
	if part, _, lua := strings.Cut(text, "m.my.version"); lua {
		return part
	}
	return text[:len(text)/2]
}

// good is a way of saving. It changes the state and the files.
type good struct {
	name string
	save func(f *files, v string) error
}

func goodSaves(wasm bool) []good {
	all := []good{
		{"written in place", func(f *files, v string) error { f.own = "v" + v; return f.write(f.plugin(), f.init()) }},
		{"another file renamed", func(f *files, v string) error { f.own = "v" + v; return f.replace(f.plugin(), f.init()) }},
		{"removed and created", func(f *files, v string) error {
			f.own = "v" + v
			return errors.Join(os.Remove(f.path(f.plugin())), f.write(f.plugin(), f.init()))
		}},
		{"in two pieces", func(f *files, v string) error {
			f.own = "v" + v
			text := f.init()
			err := f.write(f.plugin(), half(text))
			time.Sleep(50 * time.Millisecond)
			return errors.Join(err, f.write(f.plugin(), text))
		}},
		{"all files by a link", func(f *files, v string) error { f.own, f.part = "v"+v, "p"+v; return f.deploy() }},
		{"a listener more or less", func(f *files, v string) error { f.second = !f.second; return f.replace(conf, f.config()) }},
		{"a listener renamed", func(f *files, v string) error { f.other = !f.other; return f.write(conf, f.config()) }},
	}
	if wasm {
		return all // whose version is in the module, whole
	}
	return append(all,
		good{"a module", func(f *files, v string) error { f.part = "p" + v; return f.write(module, f.lib()) }},
		good{"settings", func(f *files, v string) error { f.word = "w" + v; return f.write(conf, f.config()) }},
		good{"settings and code", func(f *files, v string) error {
			f.own, f.word = "v"+v, "w"+v
			return errors.Join(f.write(f.plugin(), f.init()), f.replace(conf, f.config()))
		}},
	)
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
		was := f.own
		f.own = "broken" + v
		text := spoil(f.init())
		f.own = was
		return func() error { return f.replace(f.plugin(), f.init()) }, f.write(f.plugin(), text)
	}}
}

func brokenSaves(wasm bool) []broken {
	and := func(more string) func(string) string { return func(text string) string { return text + more } }
	instead := func(f *files, make func() error) (func() error, error) {
		return func() error { return errors.Join(os.RemoveAll(f.path(f.plugin())), f.write(f.plugin(), f.init())) },
			errors.Join(os.Remove(f.path(f.plugin())), make())
	}
	inConfig := func(name, want string, more func(f *files) string) broken {
		return broken{name, want, func(f *files, v string) (func() error, error) {
			return func() error { return f.write(conf, f.config()) }, f.write(conf, f.configWith(more(f)))
		}}
	}
	plugin := luaCode
	var all []broken
	if wasm {
		plugin = wasmCode
		all = append(all,
			code("empty", plugin+": ", func(string) string { return "" }),
			code("half of it", plugin+": ", half),
			code("no module", plugin+": ", func(string) string { return stampManifest }),
			code("an export missing", plugin+": the module does not export stagepost_hook", func(text string) string {
				return strings.Replace(text, "stagepost_hook", "stagepost_hoot", 1)
			}),
			code("an unknown import", `the import "stagepost_v0"."exit" does not exist`, func(text string) string {
				return strings.Replace(text, "\x04edit", "\x04exit", 1)
			}),
		)
	} else {
		all = append(all,
			code("syntax error", plugin+":28: ", and("function (\n")),
			code("error at load", plugin+":28: no", and("error('no')\n")),
			code("endless load", plugin+":28: ran out of instructions", and("while true do end\n")),
			code("unknown stage", plugin+`:28: unknown stage "dta"`, and("function on.dta(m) end\n")),
			code("not granted", plugin+":28: kv.get: it is not granted", and("function on.disconnect(s) kv.get('a') end\n")),
			code("empty", plugin+":1: the file does not begin with plugin", func(string) string { return "" }),
			code("half of it", plugin+":", half),
			broken{"a broken module", module + ":2: ", func(f *files, v string) (func() error, error) {
				return func() error { return f.write(module, f.lib()) }, f.write(module, strings.Replace(stampPart, "PART", "broken"+v, 1)+")")
			}},
		)
	}
	all = append(all,
		broken{"10 GB", plugin + ": is larger than", func(f *files, v string) (func() error, error) {
			return func() error { return f.replace(f.plugin(), f.init()) }, os.Truncate(f.path(f.plugin()), 10<<30)
		}},
		broken{"a folder in its place", "plugins/stamp: there is no init.lua in it, nor a plugin.wasm", func(f *files, v string) (func() error, error) {
			return instead(f, func() error { return os.Mkdir(f.path(f.plugin()), 0o755) })
		}},
		broken{"the folder is gone", "plugins.folder: there is no folder plugins", func(f *files, v string) (func() error, error) {
			return func() error { return os.Rename(f.path("away"), f.path("plugins")) }, os.Rename(f.path("plugins"), f.path("away"))
		}},
		broken{"a link to nowhere", "plugins/stamp: the link leads nowhere", func(f *files, v string) (func() error, error) {
			return func() error { return f.link(fmt.Sprintf("../versions/%d", f.folder), "plugins/stamp") }, f.link("../versions/none", "plugins/stamp")
		}},
		inConfig("unknown key", "stagepost.toml:", func(*files) string { return "[limits]\nrecipient = 1\n\n" }),
		inConfig("settings of the wrong kind", "stagepost.toml:", func(*files) string { return "[plugin.domains]\ndomain = 5\n\n[run.domains]\norder = 1\n\n" }),
		inConfig("a busy address", "another program listens there", func(f *files) string {
			return fmt.Sprintf("[[listener]]\nname = \"third\"\naddress = %q\nrole = \"mx\"\n\n", f.busy)
		}),
	)
	if runtime.GOOS != "windows" {
		all = append(all, broken{"a pipe in its place", plugin + ": is not a regular file but a pipe", func(f *files, v string) (func() error, error) {
			return instead(f, func() error { return makePipe(f.path(f.plugin())) })
		}})
	}
	return all
}
