package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"
)

// mayBeSet lists the variables that are set although two servers in one process share them, each with its reason.
func mayBeSet() map[string]string {
	return map[string]string{}
}

// mutableState: a package-level variable is written by its declaration only. Functions may not assign to it, its fields
// or elements, nor take its address, and it may not be of a type that exists to be changed, such as a mutex. A sync.Pool
// holds nothing that anybody can see, so it may stay.
func mutableState(files []*file) []string {
	folders := map[string][]*file{}
	for _, f := range files {
		if f.tree != nil && !f.isTest() {
			folders[f.folder()] = append(folders[f.folder()], f)
		}
	}
	var bad []string
	for folder, group := range folders {
		s := state{folder: folder, info: types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
		var trees []*ast.File
		for _, f := range group {
			trees = append(trees, f.tree)
		}
		// Imports are empty packages here, so there are type errors without end; which name means which declaration is
		// found all the same, and that is all that is asked.
		check := types.Config{Importer: emptyPackages{}, Error: func(error) {}}
		s.pkg, _ = check.Check(folder, group[0].fset, trees, &s.info)
		for _, f := range group {
			s.file = f
			s.look()
		}
		bad = append(bad, s.bad...)
	}
	return bad
}

type emptyPackages struct{}

func (emptyPackages) Import(p string) (*types.Package, error) {
	name := path.Base(p)
	if strings.TrimLeft(name, "v0123456789") == "" { // a major version
		name = path.Base(path.Dir(p))
	}
	pkg := types.NewPackage(p, strings.TrimPrefix(name, "gopher-"))
	pkg.MarkComplete()
	return pkg, nil
}

// state looks for what changes package-level variables in one package.
type state struct {
	folder string
	pkg    *types.Package
	info   types.Info
	file   *file
	bad    []string
}

func (s *state) complain(at token.Pos, text string) {
	s.bad = append(s.bad, place(s.file.path, s.file.fset.Position(at).Line)+": "+text)
}

func (s *state) look() {
	for _, d := range s.file.tree.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				s.declaration(d)
			}
		case *ast.FuncDecl:
			if d.Body != nil {
				ast.Inspect(d.Body, s.statement)
			}
		}
	}
}

func (s *state) declaration(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		parts := slices.Clone(v.Values)
		if v.Type != nil {
			parts = append(parts, v.Type)
		}
		for _, part := range parts {
			if what := changing(part); what != "" {
				s.complain(v.Pos(), v.Names[0].Name+" is a package-level "+what+"; give it to the value that uses it")
			}
		}
	}
}

// changing names the type of an expression if it exists to be changed: channels, locks, atomic values.
func changing(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ChanType:
		return "channel"
	case *ast.StarExpr:
		return changing(e.X)
	case *ast.UnaryExpr:
		return changing(e.X)
	case *ast.CompositeLit:
		return changing(e.Type)
	case *ast.IndexExpr: // atomic.Pointer[T]
		return changing(e.X)
	case *ast.CallExpr:
		if name, ok := e.Fun.(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") && len(e.Args) > 0 {
			return changing(e.Args[0])
		}
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok && e.Sel.Name != "Pool" && (pkg.Name == "sync" || pkg.Name == "atomic") {
			return pkg.Name + "." + e.Sel.Name
		}
	}
	return ""
}

func (s *state) statement(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, left := range n.Lhs {
				s.written(left, "is assigned to")
			}
		}
	case *ast.IncDecStmt:
		s.written(n.X, "is assigned to")
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			s.written(n.Key, "is assigned to")
			s.written(n.Value, "is assigned to")
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			s.written(n.X, "has its address taken")
		}
	case *ast.CallExpr:
		name, ok := n.Fun.(*ast.Ident)
		if ok && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy"}, name.Name) {
			s.written(n.Args[0], "is changed by "+name.Name)
		}
	}
	return true
}

// written complains if e is a package-level variable, of this package or another, or a part of one.
func (s *state) written(e ast.Expr, how string) {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.SelectorExpr:
			if pkg, ok := x.X.(*ast.Ident); ok {
				if _, ok := s.info.Uses[pkg].(*types.PkgName); ok {
					s.shared(x.Pos(), pkg.Name+"."+x.Sel.Name, how)
					return
				}
			}
			e = x.X
		case *ast.Ident:
			v, ok := s.info.Uses[x].(*types.Var)
			if ok && s.pkg != nil && v.Parent() == s.pkg.Scope() {
				s.shared(x.Pos(), x.Name, how)
			}
			return
		default:
			return
		}
	}
}

func (s *state) shared(at token.Pos, name, how string) {
	if mayBeSet()[s.folder+" "+name] == "" {
		s.complain(at, name+" "+how+" in a function, but all servers of the process share it")
	}
}
