// Package sdk carries the SDKs in C, Rust and Go in the program, so that a new plugin in one of these languages needs nothing but its compiler:
// its folder gets the first files, a template, and the SDK itself as a folder "stagepost" with the script build.sh that compiles both.
package sdk

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

//go:embed c/stagepost.h c/stagepost_api.h c/stagepost.c c/build.sh c/template rust/Cargo.toml rust/src rust/build.sh rust/template
var files embed.FS

// goFiles is the SDK in Go, whose files belong to another module and cannot be embedded one by one; scripts/generate puts them together.
//
//go:embed go.txt
var goFiles string

// In a plugin's folder: where the SDK lies, and the script in it that compiles the plugin.
const (
	Folder = "stagepost"
	Build  = Folder + "/build.sh"
)

// Language is a language that an SDK is carried for.
type Language struct {
	Name  string // as in plugin new --lang
	mark  string // a file that a plugin in it has
	needs func(ctx context.Context) (env []string, err error)
}

// Languages are those that an SDK is carried for.
func Languages() []Language {
	return []Language{{"c", "plugin.c", needsC}, {"rust", "src/lib.rs", needsRust}, {"go", "go.mod", needsGo}}
}

// Of finds the language of a plugin's folder that has the script Build in it, and so is compiled by it.
func Of(folder string) (Language, bool) {
	if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(Build))); err != nil {
		return Language{}, false
	}
	for _, l := range Languages() {
		if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(l.mark))); err == nil {
			return l, true
		}
	}
	return Language{Name: "another language", needs: func(context.Context) ([]string, error) { return nil, nil }}, true
}

// Files are those of a new plugin of that name, by path.
func (l Language) Files(plugin string) (map[string]string, error) {
	out := map[string]string{}
	put := func(rel, text string) {
		if first, ok := strings.CutPrefix(rel, "template/"); ok {
			out[first] = strings.ReplaceAll(text, "NAME", plugin)
		} else {
			out[path.Join(Folder, rel)] = text
		}
	}
	if l.Name == "go" {
		for part := range strings.SplitSeq("\n"+goFiles, "\n-- ") {
			if name, text, ok := strings.Cut(part, " --\n"); ok {
				put(name, strings.TrimSuffix(text, "\n")+"\n")
			}
		}
		out["go.mod"] = "module " + plugin + "\n\ngo 1.26\n\nrequire " + goModule + " v0.0.0\n\nreplace " + goModule + " => ./" + Folder + "\n"
		return out, nil
	}
	err := fs.WalkDir(files, l.Name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, p)
		put(strings.TrimPrefix(p, l.Name+"/"), string(text))
		return err
	})
	return out, err
}

// Compile compiles the plugin in a folder with the build.sh of an SDK. The error is Missing, or says what the compiler said.
func (l Language) Compile(ctx context.Context, script, folder string) error {
	env, err := l.needs(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", script, folder)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second // what it started may outlive it
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.ToSlash(script), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// Missing is that no compiler is installed that makes plugins of a language.
type Missing struct{ Language, Program, Install string }

func (m *Missing) Error() string {
	return fmt.Sprintf("a plugin in %s needs %s, which is not installed; on Debian: apt install %s", m.Language, m.Program, m.Install)
}

func needsC(context.Context) ([]string, error) {
	for _, program := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, &Missing{"C", program, "clang lld"}
		}
	}
	return nil, nil
}

// goModule is the SDK in Go.
const goModule = "github.com/stagepost/stagepost/sdk/go"

func needsGo(context.Context) ([]string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return nil, &Missing{"Go", "go 1.26 or later", "golang"}
	}
	return nil, nil
}

// needsRust finds a compiler that has the standard library for WebAssembly. Beside one of rustup's, which comes first and often
// lacks it, there may be the system's.
func needsRust(ctx context.Context) ([]string, error) {
	for _, rustc := range []string{os.Getenv("RUSTC"), "rustc", "/usr/bin/rustc"} {
		if rustc == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, rustc, "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
			return []string{"RUSTC=" + rustc}, nil
		}
	}
	return nil, &Missing{"Rust", "rustc with its library for wasm32-unknown-unknown", "rustc libstd-rust-dev-wasm32 lld"}
}
