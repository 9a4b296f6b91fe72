package template

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func free(int, int) error { return nil }

func at(file string) string { return "plugins/p/" + file }

// set parses templates given as name, text, name, text.
func set(texts ...string) (*Set, error) {
	files := map[string][]byte{"init.lua": []byte("{{")}
	for i := 0; i < len(texts); i += 2 {
		files[Folder+texts[i]] = []byte(texts[i+1])
	}
	return Parse(files, at)
}

func TestRender(t *testing.T) {
	data := map[string]any{
		"name": "A & <b> \"c\" 'd'", "n": int64(5), "f": 2.5, "yes": true, "no": false, "empty": "", "none": []any{}, "bytes": []byte("b"),
		"list": []any{"x", "y"}, "user": map[string]any{"name": "Joe", "box": map[string]any{"size": int64(7)}},
		"items": []any{map[string]any{"k": "one", "tags": []any{"a", "b"}}, map[string]any{"k": "two", "name": "own"}}, "table": map[string]any{},
	}
	for _, tt := range []struct{ text, want string }{
		{"", ""}, {"no tags { } {x}", "no tags { } {x}"},
		{"{{name}}", data["name"].(string)}, {"{{ n }} {{f}} {{yes}} {{no}} {{bytes}}", "5 2.5 true false b"},
		{"{{user.name}} {{user.box.size}}", "Joe 7"}, {"{{{name}}}{{&n}}", data["name"].(string) + "5"},
		{"{{#list}}<{{.}}>{{/list}}", "<x><y>"}, {"{{^list}}no{{/list}}{{^none}}none{{/none}}{{#none}}x{{/none}}", "none"},
		{"{{#yes}}1{{/yes}}{{#no}}2{{/no}}{{#missing}}3{{/missing}}{{#empty}}4{{/empty}}{{#n}}5{{/n}}{{#table}}6{{/table}}", "15"},
		{"{{^yes}}1{{/yes}}{{^no}}2{{/no}}{{^missing}}3{{/missing}}{{^empty}}4{{/empty}}{{^table}}6{{/table}}", "2346"},
		{"{{#items}}{{k}}:{{#tags}}{{.}},{{/tags}}{{^tags}}-{{/tags}} {{#name}}{{.}}{{/name}};{{/items}}", "one:a,b, " + data["name"].(string) + ";two:- own;"},
		{"{{#user}}{{name}} {{n}}{{#box}}{{size}}{{/box}}{{/user}}", "Joe 57"},
		{"{{#user.box}}{{size}}{{/user.box}}{{^user.none.more}}-{{/user.none.more}}", "7-"},
		{"a\n{{! a comment\nof two lines }}\nb\n", "a\nb\n"}, {"a {{! c }} b", "a  b"},
		{"a\n  {{#list}}\n  - {{.}}\n  {{/list}}\nb\n", "a\n  - x\n  - y\nb\n"}, {"{{#list}}\r\n{{.}}\r\n{{/list}}\r\n", "x\r\ny\r\n"}, {"{{#list}}\n{{.}}\n{{/list}}", "x\ny\n"},
		{"{{> sub/part.txt}}|{{#user}}{{> sub/part.txt}}{{/user}}", "[5]|[5]"},
	} {
		s, err := set("x.txt", tt.text, "sub/part.txt", "[{{n}}]")
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if got, err := s.Render("x.txt", data, free); got != tt.want || err != nil {
			t.Errorf("%q is %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
	s, err := set("x.html", "{{name}} {{{name}}} {{> y.txt}}", "y.txt", "{{name}}")
	if err != nil {
		t.Fatal(err)
	}
	const escaped = "A &amp; &lt;b&gt; &#34;c&#34; &#39;d&#39;"
	if got, err := s.Render("x.html", data, free); got != escaped+" "+data["name"].(string)+" "+escaped || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("{{#a}}", n) + strings.Repeat("{{/a}}", n) }
	for _, tt := range []struct{ text, want string }{
		{"\n{{name", "plugins/p/templates/x:2: a tag is not closed with }}"}, {"{{{name}}", "not closed with }}}"},
		{"a\n{{#list}}\nb", "x:2: the part list is not closed; write {{/list}} behind it"}, {"{{/list}}", "x:1: {{/list}} closes what is not open"},
		{"{{#a}}\n{{#b}}\n{{/a}}", "x:3: {{/a}} stands where {{/b}} is due, for line 2"},
		{"{{}}", "is no name"}, {"{{a b}}", "is no name"}, {"{{a..b}}", "is no name"}, {"{{> ../x}}", "is no name"}, {"{{=<% %>=}}", "other braces"},
		{"\n\n{{> none}}", `x:3: there is no template "none"; there are x, y`}, {"{{#a}}{{> x}}{{/a}}", `x:1: the template "x" holds this one again`},
		{"{{> y}}", `holds this one again`}, {deep(maxDepth + 1), "parts are nested more than 16 deep"}, {"\xff", "x:1: the template is not UTF-8"},
		{strings.Repeat("x", MaxFile+1), "x:1: the template is larger than 256 KiB"}, {"x\n{{!\n\n}}\n\n{{a b}}", "x:6: "},
	} {
		if _, err := set("x", tt.text, "y", "{{> x}}"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.100q: %v, want %q", tt.text, err, tt.want)
		}
	}
	var many []string
	for i := range maxFiles + 1 {
		many = append(many, fmt.Sprintf("t%d", i), fmt.Sprintf("{{> t%d}}", i+1))
	}
	if _, err := set(many...); err == nil || !strings.Contains(err.Error(), "more than 100 templates") {
		t.Error(err)
	}
	many = append(many[:2*maxDepth+2], fmt.Sprintf("t%d", maxDepth+1), "end")
	if _, err := set(many...); err == nil || !strings.Contains(err.Error(), "templates are nested more than 16 deep") {
		t.Error(err)
	}
	if _, err := set(append(many[2:], "last", deep(maxDepth))...); err != nil {
		t.Error(err)
	}
}

func TestFails(t *testing.T) {
	s, err := set("x.txt", "\n{{name}}", "y", "{{list}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, want string }{
		{"x.txt", "plugins/p/templates/x.txt:2: the data has no name; where it may be missing, write {{#name}}"},
		{"y", "templates/y:1: list is a list or a table"}, {"z", `there is no template "z"; there are x.txt, y`},
	} {
		if _, err := s.Render(tt.name, map[string]any{"list": []any{}}, free); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	for _, none := range []*Set{nil, {}} {
		if _, err := none.Render("x", nil, free); err == nil || !strings.Contains(err.Error(), "the plugin has no templates") {
			t.Error(err)
		}
	}
}

// TestContained: what multiplies ends at the bound on the result, or where the budget does.
func TestContained(t *testing.T) {
	bomb := "{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}%s{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}"
	texts := []string{"loud", fmt.Sprintf(bomb, "x"), "quiet", fmt.Sprintf(bomb, ""), "t0", "{{#l}}{{/l}}"}
	for i := 1; i <= maxDepth; i++ {
		texts = append(texts, fmt.Sprintf("t%d", i), strings.Repeat(fmt.Sprintf("{{> t%d}}", i-1), 10))
	}
	s, err := set(texts...)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string]any{"l": make([]any, 100)}
	for i := range data["l"].([]any) {
		data["l"].([]any)[i] = true
	}
	if _, err := s.Render("loud", data, free); err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Error(err)
	}
	over := errors.New("over budget")
	for _, name := range []string{"loud", "quiet", fmt.Sprintf("t%d", maxDepth)} {
		left := 1_000_000
		if got, err := s.Render(name, data, func(steps, bytes int) error {
			if left -= steps; left < 0 {
				return over
			}
			return nil
		}); got != "" || err == nil || name != "loud" && err != over {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	nested, err := set("x", strings.Repeat("{{#l}}", maxDepth)+"{{> y}}"+strings.Repeat("{{/l}}", maxDepth), "y", strings.Repeat("{{#l}}", maxDepth)+"{{> z}}"+strings.Repeat("{{/l}}", maxDepth),
		"z", strings.Repeat("{{#l}}", maxDepth)+"{{> a}}"+strings.Repeat("{{/l}}", maxDepth), "a", strings.Repeat("{{#l}}", maxDepth)+strings.Repeat("{{/l}}", maxDepth))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nested.Render("x", map[string]any{"l": true}, free); err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
		t.Error(err)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{#l}}{{.}}{{/l}}", "{{^a}}\n{{{a}}}{{&a}}\n{{/a}}", "{{> y}}{{! c }}", "{{m.k}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := set("x.html", text, "y", "[{{m.k}}]")
		if err != nil {
			if !strings.Contains(err.Error(), "templates/x.html:") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		left := 100_000
		out, err := s.Render("x.html", map[string]any{"l": []any{"<", int64(1)}, "m": map[string]any{"k": "&"}, "a": ""}, func(steps, _ int) error {
			if left -= steps; left < 0 {
				return errors.New("x.html: over budget")
			}
			return nil
		})
		if err != nil && !strings.Contains(err.Error(), ":") || len(out) > MaxOutput {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	s, err := set("x.html", "<p>Dear {{name}},</p>\n<ul>\n{{#items}}\n<li>{{name}}: {{price}}</li>\n{{/items}}\n</ul>\n")
	if err != nil {
		b.Fatal(err)
	}
	var items []any
	for i := range 10 {
		items = append(items, map[string]any{"name": fmt.Sprint("thing ", i), "price": int64(i)})
	}
	data := map[string]any{"name": "Joe & Ann", "items": items}
	for b.Loop() {
		if _, err := s.Render("x.html", data, free); err != nil {
			b.Fatal(err)
		}
	}
}
