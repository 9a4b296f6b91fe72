package service

func templateService() Service {
	return Service{Name: "template", Doc: "Puts texts together from the files in the folder `templates` of a plugin that is a folder.",
		Funcs: []Func{{
			Name: "template.render", Args: []Arg{{Name: "name", Kind: String}, {Name: "data", Kind: Map}}, Result: "string", AtLoad: true, Pure: true,
			Doc: `The text of templates/NAME with the values of data, at most 1 MiB: {{name}}, {{#list}}...{{/list}}, {{^list}}...{{/list}}, {{> other}}. ` +
				`In a template whose name ends with .html, values are escaped, except in {{{name}}}. A value that is missing is an error.`,
			Call: func(c *Context, args []any) (any, error) {
				text, err := c.Templates.Render(args[0].(string), args[1].(map[string]any), c.spend)
				if err != nil {
					return nil, err
				}
				return text, nil
			},
		}},
	}
}
