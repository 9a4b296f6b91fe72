package generation

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// plugin is a loaded plugin, whichever engine runs it.
type plugin interface {
	Handlers() map[hooks.Stage]hooks.Handler
	Pos(hooks.Stage) string // file:line, "" where it has no handler
	Stats() pool.Stats
	Trim()
	Close()
}

// loadOptions are what a plugin is loaded with.
type loadOptions struct {
	name      string
	manifest  *manifest.Manifest
	settings  manifest.Settings
	templates *template.Set
	host      *service.Host
	instances int
	turns     *pool.Turns
	wasm      *wasm.Engine
}

// open reads the manifest of a source and gives what loads its code. Nothing of it runs before.
func open(src *Source) (*manifest.Manifest, func(loadOptions) (plugin, error), error) {
	if src.IsWasm() {
		man, err := wasm.Open(src.Files, src.Path)
		return man, func(o loadOptions) (plugin, error) {
			p, err := wasm.Load(wasm.PluginOptions{Name: o.name, File: src.Path(wasm.File), Wasm: src.Files[wasm.File], Manifest: o.manifest,
				Settings: o.settings, Templates: o.templates, Host: o.host, Instances: o.instances, Turns: o.turns, Engine: o.wasm})
			if err != nil {
				return nil, err
			}
			return p, nil
		}, err
	}
	man, image, err := lua.Open(lua.Files{Main: src.Main, Texts: src.Files, Path: src.Path})
	return man, func(o loadOptions) (plugin, error) {
		p, err := lua.Load(lua.PluginOptions{Name: o.name, Image: image, Manifest: o.manifest, Settings: o.settings, Templates: o.templates, Host: o.host, Instances: o.instances, Turns: o.turns})
		if err != nil {
			return nil, err
		}
		return p, nil
	}, err
}

// Manifest reads what a plugin says of itself.
func (s *Source) Manifest() (*manifest.Manifest, error) {
	man, _, err := open(s)
	return man, err
}

// settingFault is what a main chunk raises about a setting of its own, or about a key in one: error("[plugin.relay] networks: ..."),
// error("[plugin.route] domains.example.org: ...").
var settingFault = regexp.MustCompile(`^\[plugin\.[^\]]+\] ([A-Za-z0-9_-]+)(\.[^:]+)?: (.*)`)

// settingError puts the line of the operator's file before what a main chunk says about a setting.
func (b *builder) settingError(name string, err error) error {
	text, by := "", ""
	var inLua *lua.Error
	var inWasm *wasm.Error
	switch {
	case errors.As(err, &inLua):
		text, by = inLua.Message, fmt.Sprintf("%s:%d", inLua.File, inLua.Line)
	case errors.As(err, &inWasm):
		text, by = inWasm.Message, inWasm.File
	}
	m := settingFault.FindStringSubmatch(text)
	if m == nil {
		return err
	}
	path := []string{"plugin", name, m[1]}
	if m[2] != "" {
		path = append(path, m[2][1:])
	}
	return b.cfg.Errorf(path, "%s (said by %s)", m[3], by)
}
