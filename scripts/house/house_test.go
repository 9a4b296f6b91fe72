// Package house tests the rules that the whole repository keeps: which package may import which, what may stand where,
// what no file may contain. Each rule is a function from the files to complaints, so that TestRulesSee can show it files
// that break it, and TestRepository can show it ours.
package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stagepost/stagepost"

// file is one file of the repository.
type file struct {
	path string // from the root, with slashes
	mode fs.FileMode
	text []byte
	tree *ast.File // nil for what is not Go of this module
	fset *token.FileSet
}

func (f *file) isTest() bool   { return strings.HasSuffix(f.path, "_test.go") }
func (f *file) folder() string { return path.Dir(f.path) }

// rules by name, each giving one line for each breach, which begins with the place.
func rules() map[string]func([]*file) []string {
	return map[string]func([]*file) []string{
		"levels":    levelsOf,
		"forbidden": forbiddenImports,
		"layout":    layout,
		"names":     names,
		"length":    length,
		"comments":  packageComments,
		"state":     mutableState,
		"words":     words,
		"scripts":   executableScripts,
	}
}

func TestRepository(t *testing.T) {
	files := load(t)
	for name, rule := range rules() {
		t.Run(name, func(t *testing.T) {
			complaints := rule(files)
			slices.Sort(complaints)
			for _, c := range slices.Compact(complaints) {
				t.Error(c)
			}
		})
	}
}

// load reads what git has or would add; without git, everything but dot-folders.
func load(t *testing.T) []*file {
	t.Helper()
	root := "../.."
	var paths []string
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil {
		paths = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	} else {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && strings.HasPrefix(d.Name(), ".") && p != root {
				return filepath.SkipDir
			}
			if !d.IsDir() {
				rel, err := filepath.Rel(root, p)
				paths = append(paths, filepath.ToSlash(rel))
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []*file
	fset := token.NewFileSet()
	modules := otherModules(paths)
	for _, p := range paths {
		name := filepath.Join(root, filepath.FromSlash(p))
		info, err := os.Lstat(name)
		if err != nil || !info.Mode().IsRegular() { // git still lists what was removed
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f := &file{path: p, mode: info.Mode(), text: text, fset: fset}
		ours := !slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(p, m+"/") })
		if ours && strings.HasSuffix(p, ".go") && !strings.Contains("/"+p, "/testdata/") {
			if f.tree, err = parse(fset, p, text); err != nil {
				t.Error(err)
			}
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		t.Fatal("the repository has no files")
	}
	return files
}

func parse(fset *token.FileSet, name string, text []byte) (*ast.File, error) {
	return parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
}

// otherModules gives the folders with a go.mod of their own, such as sdk/go.
func otherModules(paths []string) []string {
	var folders []string
	for _, p := range paths {
		if path.Base(p) == "go.mod" && p != "go.mod" {
			folders = append(folders, path.Dir(p))
		}
	}
	return folders
}

// layout: only these stand at the top, besides dot-files.
func layout(files []*file) []string {
	folders := []string{"cmd", "core", "hooks", "plugins", "sdk", "scripts", "examples"}
	single := []string{"go.mod", "go.sum", "README.md", "LICENSE"}
	var bad []string
	for _, f := range files {
		top, _, below := strings.Cut(f.path, "/")
		switch {
		case strings.HasPrefix(top, "."):
		case below && !slices.Contains(folders, top):
			bad = append(bad, top+"/: no such folder belongs at the top; the known ones are "+strings.Join(folders, ", "))
		case !below && !slices.Contains(single, top):
			bad = append(bad, top+": no such file belongs at the top; the known ones are "+strings.Join(single, ", "))
		}
	}
	return bad
}

// names: a package or file is named for what it holds.
func names(files []*file) []string {
	empty := []string{"util", "utils", "common", "helper", "helpers", "misc"}
	var bad []string
	for _, f := range files {
		if f.tree == nil {
			continue
		}
		base := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
		for _, name := range []string{base, f.tree.Name.Name, path.Base(f.folder())} {
			if slices.Contains(empty, name) {
				bad = append(bad, f.path+": "+name+" says nothing; name it for what it holds")
			}
		}
	}
	return bad
}

const longest = 500

// mayBeLong lists the files over the limit, each with its reason. Generated files need none.
func mayBeLong() map[string]string {
	return map[string]string{}
}

func length(files []*file) []string {
	var bad []string
	excused := mayBeLong()
	generated := regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	for _, f := range files {
		if f.tree == nil {
			continue
		}
		lines := bytes.Count(f.text, []byte("\n"))
		_, ok := excused[f.path]
		switch {
		case ok && lines <= longest:
			bad = append(bad, f.path+": no longer long; take it off the list in scripts/house")
		case !ok && lines > longest && !generated.Match(f.text):
			bad = append(bad, f.path+": over 500 lines; divide it by ideas, or give the reason in scripts/house")
		}
		delete(excused, f.path)
	}
	for p := range excused {
		if len(files) > 1 { // not when shown single files
			bad = append(bad, p+": does not exist; take it off the list in scripts/house")
		}
	}
	return bad
}

// packageComments: each package says what it is, in a file without tests.
func packageComments(files []*file) []string {
	const few = 60 // characters that cannot explain a package
	comment := map[string]string{}
	name := map[string]string{}
	for _, f := range files {
		if f.tree == nil || f.isTest() {
			continue
		}
		name[f.folder()] = f.tree.Name.Name
		if f.tree.Doc != nil {
			comment[f.folder()] += f.tree.Doc.Text()
		}
	}
	var bad []string
	for folder, pkg := range name {
		want := "Package " + pkg + " "
		if pkg == "main" {
			want = "" // a command's begins with its name
		}
		switch text := comment[folder]; {
		case !strings.HasPrefix(text, want):
			bad = append(bad, folder+": no package comment that begins with "+strings.TrimSpace(want))
		case len(text) < few:
			bad = append(bad, folder+": the package comment explains nothing")
		}
	}
	return bad
}

// words: what no file may contain. They are put together here, so that this file holds none of them.
func words(files []*file) []string {
	never := []struct {
		what *regexp.Regexp
		why  string
	}{
		{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), "finish it, or take it out"},
		{regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/(work|root|home/[a-z]+)/`), "a path of one machine"},
		{regexp.MustCompile(`\b(proxy|sum)\.golang\.` + `org|registry\.npmjs\.` + `org|pypi\.` + `org|(index|static)\.crates\.` + `io`),
			"a registry's host"},
		{regexp.MustCompile(`[lL]og\.(Info|Warn|Error)\(.*"er` + `r", `), `a fault stands in the log under "error"`},
	}
	var bad []string
	for _, f := range files {
		if bytes.IndexByte(f.text, 0) >= 0 || len(f.text) > 1<<20 {
			continue
		}
		for _, n := range never {
			for _, at := range n.what.FindAllIndex(f.text, 3) {
				line := 1 + bytes.Count(f.text[:at[0]], []byte("\n"))
				bad = append(bad, place(f.path, line)+": "+strings.TrimSpace(string(f.text[at[0]:at[1]]))+": "+n.why)
			}
		}
	}
	return bad
}

// executableScripts: what stands in scripts/ itself is run, not read.
func executableScripts(files []*file) []string {
	var bad []string
	for _, f := range files {
		if f.folder() != "scripts" && f.path != ".ci/run" || filepath.Separator != '/' {
			continue
		}
		if f.mode&0o111 == 0 {
			bad = append(bad, f.path+": not executable; chmod +x it")
		}
		if !bytes.HasPrefix(f.text, []byte("#!")) {
			bad = append(bad, f.path+": does not say what runs it (#!)")
		}
	}
	return bad
}
