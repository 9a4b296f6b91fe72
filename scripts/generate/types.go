package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
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
	for _, s := range service.Services() {
		for _, o := range s.Objects {
			w[o.Name] = "stagepost." + o.Name
		}
	}
	return w
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

// argType is the type of an argument of a method or verdict.
func argType(a api.Arg) (string, error) {
	switch a.Type {
	case api.Text:
		if a.Words != nil {
			return oneOf(a.Words...), nil
		}
		return "string", nil
	case api.Int:
		return "integer", nil
	case api.Number, api.Seconds, api.Time:
		return "number", nil
	case api.Bool:
		return "boolean", nil
	case api.Texts:
		return "string|string[]", nil
	case api.TextMap:
		var fields []string
		for _, f := range a.Of {
			fields = append(fields, f.Name+"?: string")
		}
		return "{" + strings.Join(fields, ", ") + "}", nil
	case api.Address:
		return addressLike, nil
	case api.Function:
		return a.Form, nil
	case api.Addresses:
		return addressLike + "|" + addressLike + "[]", nil
	}
	return "", fmt.Errorf("the argument %q, %s, has no LuaCATS type; give it one in scripts/generate", a.Name, a.Type)
}

// params are the parameters of a method; table is the class of those that are a table of named arguments.
func params(shape []api.Arg, table string) ([]param, error) {
	var out []param
	for _, a := range shape {
		p := param{a.Name, table}
		if a.Optional {
			p.name += "?"
		}
		if a.Type != api.Named {
			var err error
			if p.typ, err = argType(a); err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// contents says what lists and maps of an object hold, where the declaration does not name an object.
func contents() map[string]string {
	return map[string]string{
		"session.groups":    "string[]",
		"login.certificate": "{subject: string, issuer: string, names: string[], fingerprint: string}",
		"session.history":   "{stage: string, plugin: string, verdict: string, code: integer, reason: string}[]",
		"message.params":    "table<string, string>",
		"rcpt.params":       "table<string, string>",
		"plan.hosts":        "string[]",
		"delivery.parcel":   "{from: string, key: string, content: any}",
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

// headerTypes has the types of a header's keys that the example in the declaration does not tell; a test holds the words
// against what the decoder takes.
func headerTypes() map[string]string {
	return map[string]string{
		"config.NAME.type": oneOf(manifest.Bool, manifest.Int, manifest.String, manifest.Duration, manifest.Size,
			manifest.List, manifest.Map, manifest.File),
		"config.NAME.default": "any",
		"facts.NAME.type":     oneOf(message.FactTypes()...),
		"facts.NAME.values":   "(string|integer)[]",
		"facts.NAME.of":       oneOf(message.FactOwners()...),
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
