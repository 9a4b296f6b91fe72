package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// addressLike is the alias for what is taken where an address is wanted.
const addressLike = "stagepost.addresslike"

// words maps the words that types are declared with to LuaCATS.
type words map[string]string

// luaWords mean the same for fields, methods and services.
func luaWords() words {
	w := words{"list": "any[]", "table": "table<string, any>", "map": "table<string, any>"}
	for _, same := range []string{"string", "integer", "number", "boolean", "any", "nil", "fun"} {
		w[same] = same
	}
	return w
}

// objectWords also know the objects that handlers get.
func objectWords() words {
	w := luaWords()
	for _, o := range hooks.Objects() {
		w[o.Name] = "stagepost." + o.Name
	}
	return w
}

// serviceWords also know the tables that services return, which are not those objects although one bears the same name.
func serviceWords() words {
	w := luaWords()
	w["address"] = "stagepost.addr.address"
	w["captures"] = "stagepost.re.captures"
	return w
}

// with gives the words with one meaning changed.
func (w words) with(word, meaning string) words {
	out := words{word: meaning}
	for k, v := range w {
		if k != word {
			out[k] = v
		}
	}
	return out
}

// typeToken is a text in quotes, a name before a colon, a word, or any other character.
var typeToken = regexp.MustCompile(`"[^"]*"|[A-Za-z_]\w*\??:|[A-Za-z_]\w*|.`)

// luaType translates a type such as "{name: string, raw: string}[]".
func (w words) luaType(text string) (string, error) {
	var b strings.Builder
	for _, token := range typeToken.FindAllString(strings.ReplaceAll(text, " | ", "|"), -1) {
		letter := token[0] == '_' || token[0]|0x20 >= 'a' && token[0]|0x20 <= 'z'
		switch {
		case !letter || strings.HasSuffix(token, ":"):
			b.WriteString(token)
		case w[token] == "":
			return "", fmt.Errorf("the type %q has the word %q; give it a LuaCATS type in scripts/generate", text, token)
		default:
			b.WriteString(w[token])
		}
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("there is no type")
	}
	return b.String(), nil
}

// param is one parameter of a function.
type param struct{ name, typ string } // an optional one has a ? behind its name

func (p param) bare() string { return strings.TrimSuffix(p.name, "?") }

// params reads the arguments of a method: "name: string, n?: integer", or "{tenant?, expires?}" for a table of named ones,
// which gets the class table.
func (w words) params(args, table string) ([]param, error) {
	if strings.HasPrefix(args, "{") && !strings.Contains(args, ":") {
		return []param{{"fields", table}}, nil
	}
	var out []param
	for _, arg := range splitTop(args) {
		name, typ, ok := strings.Cut(arg, ":")
		if !ok {
			return nil, fmt.Errorf("the argument %q has no type", arg)
		}
		w := w
		if name == "address" { // the engines take an address of the message, too
			w = w.with("string", addressLike)
		}
		typ, err := w.luaType(strings.TrimSpace(typ))
		if err != nil {
			return nil, err
		}
		out = append(out, param{name, typ})
	}
	return out, nil
}

// splitTop splits at the commas that are in no bracket.
func splitTop(text string) (parts []string) {
	depth, from := 0, 0
	for i, r := range text {
		switch r {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
	}
	if last := strings.TrimSpace(text[from:]); last != "" {
		parts = append(parts, last)
	}
	return parts
}

// contents says what lists and maps of an object hold, where the declaration does not name an object.
func contents() map[string]string {
	return map[string]string{
		"session.groups":  "string[]",
		"session.history": "{stage: string, plugin: string, verdict: string, code: integer, reason: string}[]",
		"message.params":  "table<string, string>",
		"rcpt.params":     "table<string, string>",
		"plan.hosts":      "string[]",
	}
}

// fieldType is the type of an object's field when it is there.
func fieldType(object string, f hooks.Field) (string, error) {
	switch {
	case f.Type == hooks.TypeTime:
		return "number", nil
	case f.Type == hooks.TypeFacts || f.Type == hooks.TypeMyFacts:
		return "stagepost.facts", nil
	case f.Type == hooks.TypeObject:
		return objectWords().luaType(f.Of)
	case f.Type == hooks.TypeList && f.Of != "":
		return objectWords().luaType(f.Of + "[]")
	case f.Type == hooks.TypeList || f.Type == hooks.TypeMap:
		if t := contents()[object+"."+f.Name]; t != "" {
			return t, nil
		}
		return "", fmt.Errorf("nothing says what the %s holds; add it to contents in scripts/generate", f.Type)
	}
	return luaWords().luaType(string(f.Type))
}

// argument is one named argument of a verdict or method. Without doc the field of that name in a plan has it.
type argument struct{ typ, doc string }

func arguments() map[string]argument {
	return map[string]argument{
		"text":       {"string", "the reply's text, for the client"},
		"code":       {"integer", "the reply's SMTP code"},
		"enhanced":   {"string", "the reply's enhanced status code"},
		"reason":     {"string", "a word for the record"},
		"delay":      {"number", fmt.Sprintf("seconds before the reply, at most %.0f", hooks.MaxDelay.Seconds())},
		"after":      {"number", "seconds until the next try"},
		"user":       {"string", "who logged in"},
		"groups":     {"string|string[]", "groups of the user"},
		"via":        {"string", ""},
		"hosts":      {"string|string[]", ""},
		"mx":         {"string", ""},
		"helo":       {"string", ""},
		"sender":     {addressLike, ""},
		"tenant":     {"string", "on whose behalf it is sent"},
		"priority":   {"integer", "from -9 to 9, the higher first"},
		"not_before": {"number", "not sent before that time, as now() gives it"},
		"expires":    {"number", "given up at that time, as now() gives it"},
	}
}

// placeholders are the texts in the forms of verdicts that stand for any.
var placeholders = []string{`"text"`, `"why"`}

// headerTypes has the types of a header's keys that the example in the declaration does not tell; a test holds the words
// against what the decoder takes.
func headerTypes() map[string]string {
	return map[string]string{
		"config.NAME.type": oneOf(manifest.Bool, manifest.Int, manifest.String, manifest.Duration, manifest.Size,
			manifest.List, manifest.Map),
		"config.NAME.default": "any",
		"hook.STAGE.on_error": oneOf(hooks.Next.String(), hooks.Defer.String(), hooks.Reject.String()),
		"hook.STAGE.when.role": "(" + oneOf(message.RoleMX, message.RoleSubmission, message.RoleLMTP, message.RoleAPI,
			message.RoleSendmail, message.RoleInternal) + ")[]",
	}
}

func oneOf[T ~string](of ...T) string {
	quoted := make([]string, len(of))
	for i, word := range of {
		quoted[i] = fmt.Sprintf("%q", string(word))
	}
	return strings.Join(quoted, "|")
}

// formType finds the type of a key from how it is written: `order = 50` is an integer. values are the only words that it
// may hold; nil allows any. A table of keys gives "".
func formType(form string, values []string) (string, error) {
	stmts, err := parse.Parse(strings.NewReader("return {"+form+"}"), "form")
	if err != nil {
		return "", fmt.Errorf("the form %q is not Lua", form)
	}
	text := "string"
	if values != nil {
		text = oneOf(values...)
	}
	switch v := stmts[0].(*ast.ReturnStmt).Exprs[0].(*ast.TableExpr).Fields[0].Value.(type) {
	case *ast.TrueExpr, *ast.FalseExpr:
		return "boolean", nil
	case *ast.NumberExpr:
		return "integer", nil
	case *ast.StringExpr:
		return text, nil
	case *ast.TableExpr:
		if len(v.Fields) == 0 || v.Fields[0].Key != nil {
			return "", nil
		}
		if _, ok := v.Fields[0].Value.(*ast.StringExpr); !ok {
			break
		}
		if len(values) > 1 {
			text = "(" + text + ")"
		}
		return text + "[]", nil
	}
	return "", fmt.Errorf("the form %q tells no type; add it to headerTypes in scripts/generate", form)
}
