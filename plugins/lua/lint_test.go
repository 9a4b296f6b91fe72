package lua

import (
	"fmt"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	deep := func(open, shut string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(shut, n) }
	for _, tt := range []struct{ name, src, want string }{
		{"syntax", "local x =\n= 1", `x.lua:2: syntax error near "="`},
		{"end of file", "local function f()\n\n", `x.lua:1: syntax error at the end of the file`},
		{"string", "local s = \"abc\n", `unterminated string`},
		{"character", "local x = 1 ! 2", `x.lua:1: Invalid token near "!"`},
		{"global in function", "function on.rcpt()\n  count = 1\nend",
			"x.lua:2: count is a global and cannot be set inside a function; write local count, or keep it in kv or a fact"},
		{"function in function", "local function f()\n  function g() end\nend", "x.lua:2: g is a global and cannot be set inside a function"},
		{"own global in function", "n = 1\nlocal function f() n = 2 end", "x.lua:2: n is a global and cannot be set inside a function"},
		{"upvalue", "local n = 0\nlocal function f()\n  n = n + 1\nend",
			"x.lua:3: n is a local of the main chunk and cannot be set inside a function; keep it in kv or a fact"},
		{"upvalue deep", "local n = 0\nlocal function f() return function() n = 1 end end", "x.lua:2: n is a local of the main chunk"},
		{"field of upvalue", "local t = {}\nlocal function f() t.x = 1 end", "x.lua:2: the table t belongs to the main chunk"},
		{"inner field", "local t = {a = {}}\nlocal function f() t.a[1].b = 1 end", "x.lua:2: the table t belongs to the main chunk"},
		{"method in function", "local t = {}\nlocal function f() function t:m() end end", "x.lua:2: the table t belongs to the main chunk"},
		{"field of own global", "t = {}\nlocal function f() t.x = 1 end", "x.lua:2: the table t belongs to the main chunk"},
		{"insert", "local t = {}\nlocal function f() table.insert(t, 1) end", "x.lua:2: the table t belongs to the main chunk"},
		{"sort", "local t = {}\nlocal function f() table.sort(t.list) end", "x.lua:2: the table t belongs to the main chunk"},
		{"loop variable", "for i = 1, 3 do\n on[i] = function() i = 2 end\nend", "x.lua:2: i is a local of the main chunk"},
		{"on in function", "local function f() on.rcpt = 1 end", "x.lua:1: the table on belongs to the main chunk"},
		{"host table", "host.x = 1", "x.lua:1: host belongs to the host and cannot be changed"},
		{"library replaced", "string = {}", "x.lua:1: string belongs to the host and cannot be replaced"},
		{"unknown", "local function f()\n  return tostrnig(1)\nend", `x.lua:2: unknown global "tostrnig"; did you mean "tostring"?`},
		{"unknown like own", "function helper() end\nlocal x = hepler()", `x.lua:2: unknown global "hepler"; did you mean "helper"?`},
		{"unknown field", `local x = string.trim("a")`, `x.lua:1: string has no function "trim"`},
		{"near field", `local x = table.conact({})`, `x.lua:1: table has no function "conact"; did you mean "concat"?`},
		{"dump", `local x = string.dump(type)`, `x.lua:1: string has no function "dump"`},
		{"print", `print("x")`, "x.lua:1: print is not available to plugins; use log.info"},
		{"header later", "local x = 1\nplugin { id = 'x' }", "x.lua:2: plugin { ... } must be the first statement"},
		{"header call", "plugin('x')", "x.lua:1: the header must be one table literal"},
		{"require in function", "local function f() require 'lib/x' end", "x.lua:1: require belongs to the main chunk"},
		{"require absolute", "require '/etc/passwd'", "x.lua:1: require \"/etc/passwd\": a module is named like"},
		{"require extension", "require 'lib/x.lua'", "a module is named like"},
		{"require single file", "require 'lib/x'", `x.lua:1: require "lib/x": a plugin of one file has no modules`},
		{"vararg in chunk", "local x = ...", "x.lua:1: the main chunk has no arguments"},
		{"vararg misplaced", "local function f() return ... end", "x.lua:1: ... needs a function declared with (...)"},
		{"arg", "local function f(...) return arg.n end", "x.lua:1: arg is not available; use {...}"},
		{"goto", "::a:: goto a", "goto is not part of Lua 5.1"},
		{"number", "local x = 1e+x", `x.lua:1: malformed number "1e+x"`},
		{"break", "break", "x.lua:1: no loop to break"},
		{"brackets", "local x = " + deep("(", ")", 200), "nested too deeply: more than 100 brackets and blocks"},
		{"tables", "local x = " + deep("{", "}", 200), "nested too deeply: more than 100 brackets and blocks"},
		{"blocks", strings.Repeat("do ", 200) + strings.Repeat("end ", 200), "nested too deeply: more than 100 brackets and blocks"},
		{"functions", "local x = " + strings.Repeat("function() return ", 200) + "1" + strings.Repeat(" end", 200), "nested too deeply"},
		{"not", "local x = " + strings.Repeat("not ", 300) + "1", "more than 200 operators in one expression"},
		{"minus", "local x = " + strings.Repeat("- ", 300) + "1", "more than 200 operators in one expression"},
		{"power", "local x = 1" + strings.Repeat("^1", 300), "more than 200 operators in one expression"},
		{"concat", "local x = ''" + strings.Repeat("..''", 300), "more than 200 operators in one expression; use table.concat"},
		{"fields", "local x = {} x = x" + strings.Repeat(".a", 300), "nested too deeply: more than 200 levels"},
		{"calls", "local x = type" + strings.Repeat("()", 300), "nested too deeply: more than 200 levels"},
		{"sum", "local x = 1" + strings.Repeat("+1", 300), "nested too deeply: more than 200 levels"},
		{"or", "local x = 1" + strings.Repeat(" or 1", 300), "nested too deeply: more than 200 levels"},
		{"elseif", "if 1 then " + strings.Repeat("elseif 1 then ", 300) + "end", "nested too deeply: more than 200 levels"},
		{"locals", "local function f() " + repeat(300, "local a%d\n") + "end", "too many local variables"},
		{"arguments", "type(" + strings.Repeat("1,", 300) + "1)", "too many local variables or arguments"},
		{"upvalues", "do " + outer(4, 60) + " end", "one function uses more than 200 locals of the functions around it"},
		{"constants", "local t = {" + repeat(5000, "'k%d',") + "}", "more than 4,096 different constants"},
		{"items", "local t = {" + strings.Repeat("1,", 26_000) + "}", "more than 25,000 items in one table"},
		{"scope", "local " + strings.TrimSuffix(repeat(3000, "a%d,"), ","), "too many local variables: more than 2,000 in scope at once"},
		{"top-level names", repeat(200, "g%d = 1\n"), "x.lua:151: the main chunk defines more than 150 names"},
		{"unknown many", repeat(3000, "u%d()\n"), "x.lua:1: unknown global"},
		{"functions", strings.Repeat("type(function() end) ", 2001), "more than 2,000 functions in one file"},
		{"constants used often", "local t = {} " + repeat(4000, "t.k%d=1 ") + strings.Repeat("t.k3999=1 ", 40000), "too large; put data into a lookup"},
		{"tokens", strings.Repeat("type() ", 100_000), "the file is too long"},
		{"size", strings.Repeat(" ", MaxSource+1), "x.lua: the file has 1,048,577 bytes; at most 1,048,576 are allowed"},
		{"several", "a1()\nb2()\nc3()", "x.lua:1: unknown global \"a1\"\nx.lua:2: unknown global \"b2\"\nx.lua:3: unknown global \"c3\""},
	} {
		p, err := compile(tt.src)
		if err == nil {
			_, err = Link(p, nil)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			got := fmt.Sprint(err)
			t.Errorf("%s: got %.200s, want %s", tt.name, got, tt.want)
		}
	}
}

func repeat(n int, format string) string {
	var sb strings.Builder
	for i := range n {
		fmt.Fprintf(&sb, format, i)
	}
	return sb.String()
}

// outer nests functions with n locals each, and uses all of them in the innermost.
func outer(depth, n int) string {
	var open, names, shut string
	for d := range depth {
		open += "local function f" + fmt.Sprint(d) + "() "
		for i := range n {
			name := fmt.Sprintf("v%d_%d", d, i)
			open += "local " + name + " "
			names += name + ", "
		}
		shut += " end"
	}
	return open + "return function() return " + names + "1 end" + shut
}

func TestAllowed(t *testing.T) {
	for _, src := range []string{
		"plugin { id = 'x' } function on.rcpt(r) return nil end",
		"on.rcpt = function() end",
		"local t = {} t.x = 1 table.insert(t, 2) function t.f() end function t:g() self.x = 1 end",
		"function helper(n) return n end local function f() return helper(1) end",
		"local function f() return later() end function later() return 1 end",
		"local n = 1 n = n + 1 for i = 1, 3 do n = n + i end do local m = n m = 2 end",
		"local function f() local t = {} t.x = 1 table.sort(t) local function g() t.y = 1 end return g end",
		"local function f(t) t.x = 1 end local function g(string) return string.anything end",
		"local s = [[ plugin { ]] -- plugin { os.execute }",
		"return 1",
		"",
		"-- nothing",
	} {
		if _, err := compile(src); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func TestProgramTellsWhatItDefines(t *testing.T) {
	p, err := compile("plugin { id = 'x' }\nfunction on.rcpt() end\non.data = function() end\nlocal a = require 'lib/a'")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Header, p.Handlers, p.Requires); got != "true [{rcpt 2} {data 3}] [{lib/a 4}]" {
		t.Error(got)
	}
}

// TestCompiledCode holds what the package comment promises about compiled plugin code.
func TestCompiledCode(t *testing.T) {
	p, err := compile(`
local t = {1, 2, x = 3, ["y z"] = 4, [1000] = 5, f = function(...) return {...} end}
t.a, t["b" .. 1] = 1 .. "x", t.x
g = 1
function h(a, b) a = a .. b local c = {a = a} c.a.b = function() return a .. c end return a .. b .. c end
function t.m(x) x.y = {} end function t:n() self.z = self.y .. "x" end
for i = 1, 2 do local function k() return i .. "" end t[i] = k end
while t.x do t.x = nil end repeat local u = t.a .. "" until u == u .. ""
if t.x .. "" == "" then t[#t + 1] = "a" .. "b" elseif t.y then t[1] = {} else t.z = -t.x end
return t.x and t.x .. "y" or {} `)
	if err != nil {
		t.Fatal(err)
	}
	if found := forbidden(p.proto); found != "" {
		t.Error(found)
	}
}

// What many files are compiled to is bounded together.
func TestLongInAll(t *testing.T) {
	texts := map[string][]byte{}
	main := "plugin { id = \"p\", version = \"1.0.0\", api = 0 }\n"
	for i := range 5 {
		texts[fmt.Sprintf("m%d.lua", i)] = []byte(strings.Repeat("type() ", 80_000))
		main += fmt.Sprintf("require \"m%d\"\n", i)
		texts["init.lua"] = []byte(main)
		want := ""
		if i == 4 {
			want = "p/m4.lua:1: the plugin is too long: more than 1,000,000 words and signs in its files up to this one"
		} else if i < 3 {
			continue
		}
		if _, _, err := Open(Files{Main: "init.lua", Texts: texts, Path: func(f string) string { return "p/" + f }}); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%d files: %v, want %q", i+1, err, want)
		}
	}
}
