package manifest

import (
	"fmt"
)

// FilePrefix stands before the path of a file that an operator names for a setting of the type file.
const FilePrefix = "file:"

// Keys that each table of a file has besides its own.
const (
	tableFile = "file"
	tableLine = "line"
)

// Tables reads what a setting of the type file names: TOML, in which each table gets the name of the file, as messages call it, and
// the line where it begins.
func Tables(name string, data []byte) (map[string]any, error) {
	d := &decoder{file: name}
	root := d.parseTOML(data)
	if root == nil {
		return nil, d.errors()
	}
	v, err := root.plain(true)
	if err != nil {
		d.report(root.line, "%v", err)
		return nil, d.errors()
	}
	d.place(root, v)
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	return v.(map[string]any), nil
}

// place tells tables where they stand.
func (d *decoder) place(n *node, v any) {
	switch n.kind {
	case table:
		m := v.(map[string]any)
		for _, e := range n.keys {
			if e.name == tableFile || e.name == tableLine {
				d.report(e.line, "%s: each table has that by itself; take it out", e.name)
			}
			d.place(e.node, m[e.name])
		}
		m[tableFile], m[tableLine] = d.file, int64(n.line)
	case list:
		for i, item := range n.items {
			d.place(item, v.([]any)[i])
		}
	}
}

// PlaceTables does the same for a table that stands in the configuration. at gives the place of a path below it.
func PlaceTables(v any, at func(path ...string) (file string, line int), index func(int) string, path ...string) error {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{tableFile, tableLine} {
			if _, ok := v[key]; ok {
				file, line := at(append(path, key)...)
				return fmt.Errorf("%s:%d: %s: each table has that by itself; take it out", file, line, key)
			}
		}
		for k := range v {
			if err := PlaceTables(v[k], at, index, append(path[:len(path):len(path)], k)...); err != nil {
				return err
			}
		}
		file, line := at(path...)
		v[tableFile], v[tableLine] = file, int64(line)
	case []any:
		for i := range v {
			if err := PlaceTables(v[i], at, index, append(path[:len(path):len(path)], index(i))...); err != nil {
				return err
			}
		}
	}
	return nil
}
