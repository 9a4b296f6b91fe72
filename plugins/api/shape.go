package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
)

// Type is what an argument may be.
type Type uint8

// The types, with what a checked argument is in Go.
const (
	Text      Type = iota // string
	Int                   // int64
	Number                // float64
	Bool                  // bool
	Seconds               // time.Duration
	Time                  // time.Time; seconds since 1970, as now() gives
	Texts                 // []string; one text stands for a list of it
	Address               // smtp.Address; text, or an address of the message
	Addresses             // []smtp.Address; one stands for a list of it
	TextMap               // map[string]string, with the names in Of
	Named                 // a table of the named arguments in Of: map[string]any of checked ones
	Function              // a function of the plugin; engines have ways of their own for it
)

var typeWords = [...]string{"a string", "an integer", "a number", "a boolean", "a number of seconds", "a time in seconds since 1970", "a list of strings", "an address", "a list of addresses", "a table of strings", "a table", "a function"}

// String is the type in an error.
func (t Type) String() string { return typeWords[t] }

// Arg is the shape of one argument.
type Arg struct {
	Name     string
	Type     Type
	Words    []string // the only texts that it may be; nil = any
	Of       []Arg    // of Named and TextMap
	Form     string   // of Function: its own arguments and result
	Optional bool
	Doc      string
}

// keys declares the arguments that have names, of all verdicts and methods: a name means the same everywhere.
var keys = []Arg{
	{Name: "text", Type: Text, Doc: "the text: of the reply, for the client, or of the body"},
	{Name: "code", Type: Int, Doc: "the reply's SMTP code"},
	{Name: "enhanced", Type: Text, Doc: "the reply's enhanced status code"},
	{Name: "reason", Type: Text, Doc: "a word for the record"},
	{Name: "delay", Type: Seconds, Doc: fmt.Sprintf("seconds before the reply, at most %.0f", hooks.MaxDelay.Seconds())},
	{Name: "after", Type: Seconds, Doc: "seconds until the next try"},
	{Name: "class", Type: Text, Words: []string{string(hooks.Local), string(hooks.Relay)}, Doc: "local or relay, at rcpt"},
	{Name: "user", Type: Text, Doc: "who logged in"},
	{Name: "groups", Type: Texts, Doc: "groups of the user"},
	{Name: "scram", Type: Text, Doc: "where a client begins SCRAM-SHA-256: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey of the user"},
	{Name: "via", Type: Text},
	{Name: "hosts", Type: Texts},
	{Name: "mx", Type: Text},
	{Name: "public", Type: Bool, Doc: "true: mx leads to no private address, as without a route, whatever the plugin is granted"},
	{Name: "tls", Type: Text},
	{Name: "auth", Type: TextMap, Of: []Arg{{Name: "user"}, {Name: "secret"}, {Name: "mechanism"}, {Name: "tls"}},
		Doc: "what to log in with at hosts or mx: user, secret (its name), mechanism and tls if need be"},
	{Name: "source", Type: Text},
	{Name: "helo", Type: Text},
	{Name: "sender", Type: Address},
	{Name: "site", Type: Text},
	{Name: "tenant", Type: Text, Doc: "on whose behalf it is sent"},
	{Name: "priority", Type: Int, Doc: "from -9 to 9, the higher first"},
	{Name: "not_before", Type: Time, Doc: "not sent before that time, as now() gives it"},
	{Name: "subject", Type: Text, Doc: "the message's new subject"},
	{Name: "html", Type: Text, Doc: "the body in HTML"},
	{Name: "expires", Type: Time, Doc: "given up at that time, as now() gives it"},
}

// Key is the named argument with that name. Those that a plan has, too, have the plan's text.
func Key(name string) (Arg, error) {
	i := slices.IndexFunc(keys, func(a Arg) bool { return a.Name == name })
	if i < 0 {
		return Arg{}, fmt.Errorf("the argument %q is new; declare it among keys in plugins/api", name)
	}
	a := keys[i]
	a.Optional = true
	for _, o := range hooks.Objects() {
		for _, f := range o.Fields {
			if a.Doc == "" && o.Name == "plan" && f.Name == name {
				a.Doc = f.Doc
			}
		}
	}
	return a, nil
}

// Args reads the arguments of a method as package hooks declares them: "name: string, n?: integer", or "{tenant?, expires?}" for a table
// of named ones, all of which may be left out.
func Args(text string) ([]Arg, error) {
	if strings.HasPrefix(text, "{") && !strings.Contains(text, ":") {
		of, err := named(text)
		return []Arg{{Name: "fields", Type: Named, Of: of}}, err
	}
	var args []Arg
	for _, part := range Split(text) {
		name, typ, ok := strings.Cut(part, ":")
		if !ok {
			return nil, fmt.Errorf("the argument %q has no type", part)
		}
		a := Arg{}
		a.Name, a.Optional = strings.CutSuffix(name, "?")
		if err := a.parse(strings.ReplaceAll(strings.TrimSpace(typ), " | ", "|")); err != nil {
			return nil, err
		}
		args = append(args, a)
	}
	return args, nil
}

func named(text string) (of []Arg, err error) {
	for _, name := range Split(strings.Trim(text, "{}")) {
		a, err := Key(strings.TrimSuffix(name, "?"))
		if err != nil {
			return nil, err
		}
		of = append(of, a)
	}
	return of, nil
}

// parse reads a type. A text whose name is address is one.
func (a *Arg) parse(typ string) error {
	address := a.Name == "address"
	switch {
	case typ == "string" && address:
		a.Type = Address
	case typ == "string|string[]" && address:
		a.Type = Addresses
	case typ == "string":
		a.Type = Text
	case typ == "integer":
		a.Type = Int
	case typ == "number":
		a.Type = Number
	case typ == "boolean":
		a.Type = Bool
	case typ == "string|string[]", typ == "string[]":
		a.Type = Texts
	case strings.HasPrefix(typ, "fun("):
		a.Type, a.Form = Function, typ
	case strings.HasPrefix(typ, `"`):
		for word := range strings.SplitSeq(typ, "|") {
			a.Words = append(a.Words, strings.Trim(word, `"`))
		}
	default:
		return fmt.Errorf("the argument %q is of the new type %q; give it a meaning in plugins/api", a.Name, typ)
	}
	return nil
}

// Split splits at the commas that are in no bracket.
func Split(text string) (parts []string) {
	depth, from := 0, 0
	for i, r := range text {
		switch r {
		case '(', '{', '[', '<':
			depth++
		case ')', '}', ']', '>':
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

// Form is how a verdict is written: with one text, with a table of named arguments, with a function, or with none of them.
type Form struct {
	Kind  hooks.Kind
	Word  string   // the argument that a text stands for; "" = it takes no text
	Table []string // the arguments that a table may name; nil = it takes no table
	Each  bool     // it takes a function, which answers for each recipient
	Bare  bool     // it may be written with nothing
	Keys  []Arg    // all of them: Word and Table
}

// FormOf reads the form of a verdict: `accept "local" | accept() | accept{user, groups}`.
func FormOf(k hooks.KindInfo) (*Form, error) {
	f := &Form{Kind: k.Kind}
	if k.Kind == hooks.Next {
		return f, nil
	}
	for form := range strings.SplitSeq(k.Form, " | ") {
		arg, ok := strings.CutPrefix(form, k.Name)
		if !ok {
			return nil, fmt.Errorf("the form %q does not begin with its name", form)
		}
		switch arg = strings.TrimSpace(arg); {
		case arg == "()":
			f.Bare = true
		case arg == "(function(r) return verdict end)":
			f.Each = true
		case arg == `"text"`:
			f.Word = "text"
		case arg == `"why"`:
			f.Word = "reason"
		case arg == `"local"`, arg == `"relay"`:
			f.Word = "class"
		case strings.HasPrefix(arg, "{") && strings.HasSuffix(arg, "}"):
			f.Table = Split(arg[1 : len(arg)-1])
		default:
			return nil, fmt.Errorf("the form %q is of no known kind", form)
		}
	}
	all := f.Table
	if f.Word != "" && !slices.Contains(all, f.Word) {
		all = append([]string{f.Word}, all...)
	}
	for _, name := range all {
		a, err := Key(name)
		if err != nil {
			return nil, err
		}
		f.Keys = append(f.Keys, a)
	}
	return f, nil
}
