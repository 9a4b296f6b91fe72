package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// attack is one plugin that tries to break out. Its text begins with what is wanted: `want: TEXT`, the error that ends the call or
// refuses the plugin, or `answer: REPLY`, where it may go on but must come to nothing else.
type attack struct {
	name, runtime string
	files         map[string]string // of the plugin, by path in the watched folder
	want, answer  string
	stage         string
	timeout       time.Duration
	odd           bool // slices of the harmless plugin are counted in turn
}

// In the watched folder.
const (
	luaFile    = "attack.lua"
	wasmFolder = "attack"
)

// file is how messages call the plugin's code.
func (k *attack) file() string {
	if k.runtime == "wasm" {
		return "plugins/" + wasmFolder + "/plugin."
	}
	return "plugins/" + luaFile + ":"
}

// luaFiles are those of a plugin that is one file.
func luaFiles(text string) map[string]string { return map[string]string{luaFile: text} }

var (
	stageOf   = regexp.MustCompile(`(?m)^function on\.(\w+)`)
	timeoutOf = regexp.MustCompile(`timeout = "(\w+)"`)
	timeOf    = regexp.MustCompile(`(?m)^-- time: (\w+)`)
)

// attacks reads those of this package and those of the engines' own tests.
func attacks(t *testing.T) []attack {
	t.Helper()
	var list []attack
	for _, from := range []struct {
		pattern string
		least   int
		read    func(testing.TB, *attack, string) bool
	}{
		{filepath.Join(root, "plugins/lua/testdata/attacks/*.lua"), 50, readLua},
		{"testdata/attacks/*.lua", 30, readLua},
		{filepath.Join(root, "plugins/wasm/testdata/attacks/*.asm"), 80, readWasm},
	} {
		files, err := filepath.Glob(from.pattern)
		if err != nil || len(files) < from.least {
			t.Fatalf("found %d attacks in %s, %v", len(files), from.pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Base(file)
			a := attack{name: strings.TrimSuffix(base, filepath.Ext(base)), stage: "rcpt", timeout: time.Second}
			if !from.read(t, &a, string(text)) {
				continue
			}
			if a.want == "" && a.answer == "" {
				t.Fatalf("%s does not say what is wanted", file)
			}
			list = append(list, a)
		}
	}
	list = append(list, hangingAttacks(t)...)
	slices.SortStableFunc(list, func(a, b attack) int { return cmp.Or(cmp.Compare(a.number(), b.number()), cmp.Compare(a.name, b.name)) })
	if only := os.Getenv("STAGEPOST_E2E_ATTACKS"); only != "" {
		pattern, err := regexp.Compile(only)
		if err != nil {
			t.Fatalf("STAGEPOST_E2E_ATTACKS: %v", err)
		}
		list = slices.DeleteFunc(list, func(a attack) bool { return !pattern.MatchString(a.runtime + " " + a.name) })
	}
	return list
}

// readLua reads an attack in Lua. Those of the engine's own test call the handler test and have no header; they get one, and line
// numbers stay as they are in the file.
func readLua(t testing.TB, a *attack, text string) bool {
	a.runtime = "lua"
	first, _, _ := strings.Cut(text, "\n")
	var wants bool
	if a.want, wants = strings.CutPrefix(first, "-- want: "); !wants {
		a.want = ""
		a.answer = strings.TrimPrefix(first, "-- answer: ")
	}
	if !strings.Contains(text, "\nplugin {") {
		if strings.Contains(text, "host.") && strings.HasPrefix(a.name, "s14") {
			return false // it needs a host function that panics, which the engine's own test has
		}
		timeout := "300ms"
		if m := timeOf.FindStringSubmatch(text); m != nil {
			timeout = m[1]
		}
		head := fmt.Sprintf(`plugin { id = "attack", hook = { rcpt = { when = { listener = { "attack" } }, timeout = %q } } } `, timeout)
		text = head + strings.ReplaceAll(strings.ReplaceAll(text, "on.test", "on.rcpt"), "= host", "= config")
		if !strings.Contains(text, "on.rcpt") { // its main chunk is the attack
			text = strings.Replace(text, ", hook = { rcpt = { when = { listener = { \"attack\" } }, timeout = \"300ms\" } }", "", 1)
		}
	}
	if m := stageOf.FindStringSubmatch(text); m != nil {
		a.stage = m[1]
	}
	if m := timeoutOf.FindStringSubmatch(text); m != nil {
		a.setTimeout(t, m[1])
	}
	a.files = luaFiles(text)
	return true
}

// readWasm assembles an attack in WebAssembly and writes the manifest that its notes ask for.
func readWasm(t testing.TB, a *attack, text string) bool {
	a.runtime = "wasm"
	notes := asm.Notes(text)
	a.want, a.answer = notes["want"], notes["answer"]
	if s := notes["stage"]; s != "" {
		a.stage = s
	}
	a.setTimeout(t, cmp.Or(notes["timeout"], "300ms"))
	code, err := asm.Plugin(text)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	a.files = map[string]string{
		wasmFolder + "/plugin.wasm": string(code),
		wasmFolder + "/plugin.toml": fmt.Sprintf("id = \"attack\"\nversion = \"1.0.0\"\nneeds = { %s }\n\n[hook.%s]\nwhen = { listener = [\"attack\"] }\ntimeout = %q\n",
			notes["needs"], a.stage, a.timeout),
	}
	return true
}

func (k *attack) setTimeout(t testing.TB, text string) {
	var err error
	if k.timeout, err = time.ParseDuration(text); err != nil {
		t.Fatal(err)
	}
}

// number is that of the kind of attack, by which they are tried, so that both runtimes are measured side by side.
func (k *attack) number() (n int) {
	_, _ = fmt.Sscanf(k.name, "s%d_", &n)
	return n
}

// put changes the plugin, in Lua, and tells why it was refused; "" if it is live.
func (a *arena) put(text string) string {
	a.t.Helper()
	return a.install(luaFiles(text))
}

// install is put for a plugin in any language.
func (a *arena) install(files map[string]string) string {
	a.t.Helper()
	text, isLua := files[luaFile]
	if isLua {
		a.write("plugins/"+luaFile+".new~", text)
	}
	for name, text := range files {
		if name != luaFile {
			a.write("next/"+name, text)
		}
	}
	// The two are one plugin of one name, so one goes and the other comes, at once.
	for _, old := range []string{luaFile, wasmFolder} {
		if _, err := os.Lstat(a.path("plugins/" + old)); err == nil && (old != luaFile || !isLua) {
			a.rename("plugins/"+old, fmt.Sprintf("old-%s-%d", old, time.Now().UnixNano()))
		}
	}
	if isLua {
		a.rename("plugins/"+luaFile+".new~", "plugins/"+luaFile)
	} else {
		a.rename("next/"+wasmFolder, "plugins/"+wasmFolder)
	}
	r := a.run("reload")
	if r.code == exitConfig {
		return r.out + r.err
	}
	if n, _ := fmt.Sscanf(r.out, "generation %d is live", &a.generation); r.code != 0 || n != 1 {
		before := a.generation // the watch may have been first
		if a.generation = a.status().Generation; r.code != 0 || a.generation == before {
			a.t.Fatalf("reload: exit code %d: %s%s", r.code, r.out, r.err)
		}
	}
	return ""
}
