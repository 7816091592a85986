package catalog_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryModelIsHeldToTheSuite reads the source of the catalog and of the
// models' tests: each model in the table needs a test that runs the conformance
// suite on it, a fuzz target with a corpus that is checked in, and a benchmark.
// A model that is new in the catalog and lacks one of them fails here.
func TestEveryModelIsHeldToTheSuite(t *testing.T) {
	held := map[string]suite{} // by package
	for _, row := range rows(t) {
		tests, read := held[row.pkg]
		if !read {
			tests = readSuite(t, filepath.Join("..", row.pkg))
			held[row.pkg] = tests
		}
		for _, want := range []struct{ call, what string }{
			{"Run", "no test runs the conformance suite, modeltest.Run"},
			{"Fuzz", "no fuzz target, modeltest.Fuzz"},
			{"Bench", "no benchmark, modeltest.Bench"},
		} {
			if len(tests[call{want.call, row.name}]) == 0 {
				t.Errorf("%s.%s: %s", row.pkg, row.name, want.what)
			}
		}
		for _, target := range tests[call{"Fuzz", row.name}] {
			corpus := filepath.Join("..", row.pkg, "testdata", "fuzz", target)
			if files, err := os.ReadDir(corpus); err != nil || len(files) == 0 {
				t.Errorf("%s.%s: fuzz target %s has no corpus in %s", row.pkg, row.name, target, corpus)
			}
		}
	}
}

// row is a model of the table by its package, which has the name of its folder,
// and its variable.
type row struct{ pkg, name string }

// rows reads the table of models.
func rows(t *testing.T) (out []row) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "catalog.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	table := lists([]*ast.File{file})["Models"]
	if table == nil {
		t.Fatal("catalog.go has no table of models")
	}
	for _, e := range table.Elts {
		sel, ok := e.(*ast.SelectorExpr)
		if !ok {
			t.Fatal("a row of the catalog is not the variable of a package")
		}
		out = append(out, row{nameOf(sel.X), sel.Sel.Name})
	}
	return out
}

// call is a function of modeltest and the model it is called with.
type call struct{ function, model string }

// suite has the names of the test functions that make each call.
type suite map[call][]string

// readSuite reads the tests in a folder.
func readSuite(t *testing.T, folder string) suite {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	out, tables := suite{}, lists(files)
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				out.read(fn, tables)
			}
		}
	}
	return out
}

// read finds the calls in a function. A model is named, or is the variable of a
// loop over a list of models.
func (s suite) read(fn *ast.FuncDecl, tables map[string]*ast.CompositeLit) {
	kinds := map[string]string{"Run": "Test", "Fuzz": "Fuzz", "Bench": "Benchmark"}
	loops := map[string]*ast.CompositeLit{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.RangeStmt:
			if over, ok := n.X.(*ast.Ident); ok && n.Value != nil {
				loops[nameOf(n.Value)] = tables[over.Name]
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) < 2 || kinds[sel.Sel.Name] == "" || !strings.HasPrefix(fn.Name.Name, kinds[sel.Sel.Name]) {
				return true
			}
			models := []string{nameOf(n.Args[1])}
			if list := loops[models[0]]; list != nil {
				models = nil
				for _, e := range list.Elts {
					models = append(models, nameOf(e))
				}
			}
			for _, m := range models {
				if key := (call{sel.Sel.Name, m}); !slices.Contains(s[key], fn.Name.Name) {
					s[key] = append(s[key], fn.Name.Name)
				}
			}
		}
		return true
	})
}

// lists returns the slices that are declared as variables of a package.
func lists(files []*ast.File) map[string]*ast.CompositeLit {
	out := map[string]*ast.CompositeLit{}
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, value := range v.Values {
					if list, ok := value.(*ast.CompositeLit); ok {
						out[v.Names[i].Name] = list
					}
				}
			}
		}
	}
	return out
}

// nameOf returns the name of a variable, without its package.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
