// Package bundled holds the plugins that ship with the server. They are plugins like anybody's: the same files, read by the
// same engine, in the same sandbox. Each has a folder with plugin.toml, init.lua, a README in the form of a manual page,
// and tests.
// They are embedded in the binary and loaded when [plugins] enable names them.
package bundled

import (
	"embed"
	"io/fs"
)

//go:embed */*.toml */init.lua */README.md */tests/*.transcript
var folders embed.FS

// Names lists the plugins, sorted.
func Names() []string {
	entries, err := folders.ReadDir(".")
	if err != nil {
		panic("bundled: " + err.Error()) // the binary holds its own root
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Open returns the files of a plugin, as they lie in its folder. For a name that is not one of Names it holds no files.
func Open(name string) fs.FS {
	fsys, err := fs.Sub(folders, name)
	if err != nil { // the name is no path
		return embed.FS{}
	}
	return fsys
}
