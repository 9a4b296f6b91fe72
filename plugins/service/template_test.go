package service

import (
	"errors"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/plugins/template"
)

func TestTemplate(t *testing.T) {
	set, err := template.Parse(map[string][]byte{"templates/hello.txt": []byte("Dear {{name}},\n{{#things}}\n- {{.}}\n{{/things}}\n")}, strings.ToUpper)
	if err != nil {
		t.Fatal(err)
	}
	left := 10_000
	c := NewHost(Options{}).Context("vip", &capability.Needs{}, func(steps, _ int) error {
		if left -= steps; left < 0 {
			return errors.New("over budget")
		}
		return nil
	})
	check(t, c, []call{{name: "template.render", args: list("hello.txt", map[string]any{}), err: "the plugin has no templates"}})
	c.Templates = set
	check(t, c, []call{
		{name: "template.render", args: list("hello.txt", map[string]any{"name": "Joe", "things": list("a", int64(1))}), want: "Dear Joe,\n- a\n- 1\n"},
		{name: "template.render", args: list("hello.txt", list()), err: "TEMPLATES/HELLO.TXT:1: the data has no name"},
		{name: "template.render", args: list("hello", map[string]any{}), err: `there is no template "hello"; there are hello.txt`},
		{name: "template.render", args: list("hello.txt", "Joe"), err: "data is a string; it must be of type table"},
	})
	things := make([]any, 10_000)
	for i := range things {
		things[i] = "x"
	}
	check(t, c, []call{{name: "template.render", args: list("hello.txt", map[string]any{"name": "Joe", "things": things}), err: "over budget"}})
}
