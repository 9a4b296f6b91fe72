package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/transcript"
	"github.com/stagepost/stagepost/sdk"
)

//go:embed template/plugin.lua
var newPlugin string

//go:embed template/plugin.transcript
var newTest string

func (a *app) pluginNewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a new plugin into the watched folder",
		Long: "new writes NAME.lua, a plugin with comments that changes nothing yet, and NAME.transcript, a first test of it, into the folder\n" +
			"that [plugins] names. With --lang it writes one in another language, with all it takes but the compiler, into a folder NAME\n" +
			"there, and compiles it. With --from it copies a plugin that came with the program, with its tests, into such a folder; under\n" +
			"its own name the copy takes its place. If the server runs, it prints the generation in which the plugin became live.",
		Args: cobra.ExactArgs(1),
	}
	from := cmd.Flags().String("from", "", "the plugin to copy, one of: "+strings.Join(bundled.Names(), ", "))
	lang := cmd.Flags().String("lang", "lua", "the language, one of: "+strings.Join(languages(), ", "))
	cmd.MarkFlagsMutuallyExclusive("from", "lang")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.newPlugin(cmd, args[0], *from, *lang) }
	return cmd
}

func (a *app) newPlugin(cmd *cobra.Command, name, from, lang string) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`).MatchString(name) {
		return fail(exitUsage, "%q cannot be a plugin's name: it has up to 64 lower-case letters, digits, - and _, a letter first", name)
	}
	if known := bundled.Names(); from != "" && !slices.Contains(known, from) {
		hint := "they are " + strings.Join(known, ", ")
		if near := config.Nearest(from, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return fail(exitUsage, "no plugin %q came with the program; %s", from, hint)
	}
	if known := languages(); !slices.Contains(known, lang) {
		return fail(exitUsage, "no language %q; they are %s", lang, strings.Join(known, ", "))
	}
	c, err := a.configuration()
	if err != nil {
		return err
	}
	if c.Plugins.Folder == "" {
		return fail(exitConfig, "%s: no folder is watched; write folder = \"plugins\" under [plugins]", c.Where("plugins"))
	}
	file, folder := filepath.Join(c.Plugins.Folder, name+".lua"), filepath.Join(c.Plugins.Folder, name)
	for _, path := range []string{file, folder} {
		if _, err := os.Lstat(path); err == nil {
			return fail(exitCantCreate, "%s exists already and is left as it is", path)
		}
	}
	out := outputOf(cmd)
	switch {
	case lang != "lua":
		if err := newInLanguage(cmd.Context(), c.Plugins.Folder, name, lang); err != nil {
			return err
		}
		out.printf("wrote %s with a first test, and compiled it; after a change: sh %s\n", printable(folder), printable(filepath.Join(folder, sdk.Build)+" "+folder))
	case from == "":
		own := strings.NewReplacer("NAME", name)
		if err := writeNew(c.Plugins.Folder, map[string]string{name + ".lua": own.Replace(newPlugin), name + transcript.Suffix: own.Replace(newTest)}); err != nil {
			return err
		}
		out.printf("wrote %s, and a first test: %s\n", printable(file), name+transcript.Suffix)
	default:
		if err := copyPlugin(c.Plugins.Folder, name, from); err != nil {
			return err
		}
		out.printf("wrote %s, a copy of %s with its tests\n", printable(folder), from)
	}
	if err := a.becameLive(cmd, out, c, name); err != nil {
		return err
	}
	out.printf("run its tests with: %s\n", a.command("plugin", "test", name))
	return nil
}

// becameLive makes the running server load what was written, and says in which generation it did.
func (a *app) becameLive(cmd *cobra.Command, out output, c *config.Config, name string) error {
	client := admin.NewClient(c.Data, c.File)
	r, err := client.Reload(cmd.Context())
	if gone := (*admin.Unreachable)(nil); errors.As(err, &gone) {
		if _, err := a.load(c.File); err != nil {
			return err
		}
		out.printf("it loads; no server is running, so it will be live with: %s\n", a.command("serve"))
		return nil
	}
	if err != nil {
		return err
	}
	plugins, err := client.Plugins(cmd.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(plugins, func(p admin.Plugin) bool { return p.Name == name }) {
		return fail(exitSoftware, "the server that answers at the data folder of %s does not load it: is it running with this configuration?", c.File)
	}
	out.printf("live in generation %d; change it and save it, and it is live again\n", r.Generation)
	return nil
}

// languages are those that new writes plugins in.
func languages() []string {
	names := []string{"lua"}
	for _, l := range sdk.Languages() {
		names = append(names, l.Name)
	}
	return names
}

// newInLanguage writes a plugin and compiles it.
func newInLanguage(ctx context.Context, folder, name, lang string) error {
	all := sdk.Languages()
	l := all[slices.IndexFunc(all, func(l sdk.Language) bool { return l.Name == lang })]
	return placePlugin(folder, name, func(dir string) error {
		files, err := l.Files(name)
		if err != nil {
			return err
		}
		if err := writeNew(dir, files); err != nil {
			return err
		}
		err = l.Compile(ctx, filepath.Join(dir, sdk.Build), dir)
		if missing := (*sdk.Missing)(nil); errors.As(err, &missing) {
			return fail(exitUnavailable, "%w", err)
		}
		return err
	})
}

// copyPlugin copies a plugin that came with the program.
func copyPlugin(folder, name, from string) error {
	return placePlugin(folder, name, func(dir string) error {
		fsys := bundled.Open(from)
		return fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			return writeFile(filepath.Join(dir, filepath.FromSlash(p)), renamed(p, string(text), from, name))
		})
	})
}

// placePlugin makes a plugin that is a folder. It is put together under a name that the server does not look at, and gets its own when
// it is whole.
func placePlugin(folder, name string, fill func(dir string) error) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fail(exitCantCreate, "cannot write %s: %w", folder, err)
	}
	unfinished, err := os.MkdirTemp(folder, "."+name+".new-")
	if err != nil {
		return fail(exitCantCreate, "cannot write into %s: %w", folder, err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(unfinished)
		}
	}()
	if err := fill(unfinished); err != nil {
		return err
	}
	err = os.Chmod(unfinished, 0o755)
	if err == nil {
		err = os.Rename(unfinished, filepath.Join(folder, name))
	}
	if err != nil {
		return fail(exitCantCreate, "cannot write %s: %w", filepath.Join(folder, name), err)
	}
	return nil
}

// renamed is a file of a plugin under another name: where the name stands for the plugin, and not for a word such as the class
// "relay".
func renamed(file, text, old, name string) string {
	text = strings.NewReplacer("[plugin."+old+"]", "[plugin."+name+"]", "[plugin."+old+".", "[plugin."+name+".", "[run."+old+"]", "[run."+name+"]").Replace(text)
	switch {
	case file == "plugin.toml":
		text = strings.Replace(text, "id = \""+old+"\"", "id = \""+name+"\"", 1)
		return regexp.MustCompile(`(?m)^(sets|reads) = .*$`).ReplaceAllStringFunc(text, func(line string) string { // its own facts
			return strings.ReplaceAll(line, `"`+old+`.`, `"`+name+`.`)
		})
	case file == "README.md":
		text = strings.Replace(text, "# "+old+"\n", "# "+name+"\n", 1)
		text = strings.Replace(text, "\n"+old+" - ", "\n"+name+" - ", 1)
		return regexp.MustCompile(`(?m)^enable = .*$`).ReplaceAllStringFunc(text, func(line string) string {
			return strings.ReplaceAll(line, `"`+old+`"`, `"`+name+`"`)
		})
	case path.Ext(file) == transcript.Suffix:
		return strings.NewReplacer("plugin."+old+".", "plugin."+name+".", " "+old+".", " "+name+".").Replace(text)
	}
	return text
}
