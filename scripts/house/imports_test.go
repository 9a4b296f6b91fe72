package house

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// levels has the packages from the lowest up. A package may import those of lower levels only; a package below one of
// these folders belongs to it, and may import it. Commands under cmd and scripts may import everything.
func levels() [][]string {
	return [][]string{
		{"core/bounce", "core/macro", "core/weburl"},
		{"core/smtp", "core/password", "core/resolve", "core/config", "core/observe", "core/workers", "core/throttle", "core/idle", "core/breaker", "core/capability", "core/proxy", "sdk"},
		{"core/message", "core/esmtp", "core/sasl", "core/gate"},
		{"hooks", "core/certs", "core/store", "core/dsn", "core/report", "core/deliver", "plugins/mailauth", "plugins/lookup", "plugins/template"},
		{"core/tally", "core/suspects"},
		{"core/intake", "core/login", "core/queue", "plugins/manifest", "plugins/pool"},
		{"core/server", "plugins/service"},
		{"plugins/api"}, // words errors about values as services do
		{"plugins/lua", "plugins/wasm", "plugins/bundled", "core/admin"},
		{"plugins/catalog/desk"},
		{"plugins/catalog"}, // reads the manifests of both engines
		{"plugins/generation"},
		{"plugins/transcript", "plugins/conformance"},
		{"cmd", "scripts", "examples"},
	}
}

// home gives the folder of levels that a package belongs to, and its level; "" if none.
func home(pkg string) (folder string, level int) {
	for i, l := range levels() {
		for _, folder := range l {
			if pkg == folder || strings.HasPrefix(pkg, folder+"/") {
				return folder, i
			}
		}
	}
	return "", -1
}

// levelsOf: imports point down. Tests may look up, since nothing imports them, but never from the core to the plugins.
func levelsOf(files []*file) []string {
	var bad []string
	for _, f := range files {
		if f.tree == nil {
			continue
		}
		ours, level := home(f.folder())
		if ours == "" {
			bad = append(bad, f.path+": its package has no level; give it one in scripts/house/imports_test.go")
			continue
		}
		for at, pkg := range imports(f) {
			theirs, below := home(pkg)
			var why string
			switch {
			case theirs == "":
				why = "which has no level; give it one in scripts/house/imports_test.go"
			case strings.HasPrefix(ours, "core/") && strings.HasPrefix(theirs, "plugins/"):
				why = "but nothing under core/ imports plugins/"
			case f.isTest() || theirs == ours:
			case below >= level:
				why = fmt.Sprintf("which is not below it: %s is on level %d, %s on %d", ours, level, theirs, below)
			}
			if why != "" {
				bad = append(bad, fmt.Sprintf("%s: imports %s, %s", place(f.path, at), pkg, why))
			}
		}
	}
	return bad
}

// forbiddenImports: the first two would see bytes from the network. The one ends DATA on a bare LF, the other parses addresses
// in quadratic time. Prometheus' library has one place, since parts that count with it would each have a way of their own.
func forbiddenImports(files []*file) []string {
	var bad []string
	for _, f := range files {
		if f.tree == nil || f.isTest() {
			continue
		}
		for _, spec := range f.tree.Imports {
			if slices.Contains([]string{`"net/textproto"`, `"net/mail"`}, spec.Path.Value) {
				at := f.fset.Position(spec.Pos()).Line
				bad = append(bad, place(f.path, at)+": "+spec.Path.Value+" must not see mail; use core/smtp and core/message")
			}
			if strings.HasPrefix(spec.Path.Value, `"github.com/prometheus/`) && f.folder() != "core/observe/metrics" {
				at := f.fset.Position(spec.Pos()).Line
				bad = append(bad, place(f.path, at)+": "+spec.Path.Value+" is for core/observe/metrics alone; count with core/observe, and declare the metric in cmd/stagepost")
			}
		}
	}
	return bad
}

// imports gives the packages of this module that a file imports, from the module's root, by line.
func imports(f *file) map[int]string {
	found := map[int]string{}
	for _, spec := range f.tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if pkg, ok := strings.CutPrefix(p, module+"/"); ok {
			found[f.fset.Position(spec.Pos()).Line] = pkg
		}
	}
	return found
}

func place(path string, line int) string { return fmt.Sprintf("%s:%d", path, line) }
