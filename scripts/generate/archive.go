package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// goArchive is the SDK in Go in one file, since a program cannot embed the files of another module: each file after a line with its name, as
// package sdk reads them. fresh are files that were generated just now.
func goArchive(root string, fresh []file) (string, error) {
	folder := filepath.Join(root, "sdk", "go")
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", notice)
	err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		rel, err2 := filepath.Rel(folder, p)
		if err != nil || err2 != nil {
			return fmt.Errorf("sdk/go: %v %v", err, err2)
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (rel == "examples" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir(), strings.HasSuffix(rel, "_test.go") && !strings.HasPrefix(rel, "template/"), rel == "README.md", filepath.Ext(rel) == ".wasm":
			return nil
		}
		raw, err := os.ReadFile(p)
		text := string(raw)
		for _, f := range fresh {
			if f.path == "sdk/go/"+rel {
				text = f.text
			}
		}
		fmt.Fprintf(&b, "-- %s --\n%s", rel, text)
		return err
	})
	return b.String(), err
}
