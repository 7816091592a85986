package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fragprof/fragprof/"

// layers says which of our packages each of them may import, by prefix, and
// onlyIn which packages may import a library. Test files are free.
var layers = []struct {
	pkg   string
	allow []string
}{
	{"trace/formats", []string{"trace", "trace/store"}},
	{"trace/gen", []string{"trace", "trace/growth"}},
	{"trace/growth", nil},
	{"trace/chains", []string{"trace", "trace/growth"}},
	{"trace/", []string{"trace"}},
	{"trace", nil},
	{"heapmodel/catalog", []string{"heapmodel"}},
	{"heapmodel/golden", []string{"heapmodel"}},
	{"heapmodel/modeltest", []string{"heapmodel", "heapmodel/golden"}},
	{"heapmodel/internal/oracle", []string{"heapmodel", "heapmodel/modeltest"}}, // for tests
	{"heapmodel/internal/", []string{"heapmodel", "heapmodel/internal/"}},
	{"heapmodel/espheapcaps", []string{"heapmodel", "heapmodel/internal/", "heapmodel/esptlsf"}}, // several of them
	{"heapmodel/", []string{"heapmodel", "heapmodel/internal/"}},
	{"heapmodel", nil},
	{"replay/study", []string{"trace", "trace/", "heapmodel", "replay"}},
	{"replay/strategy", []string{"trace", "trace/", "heapmodel", "replay"}},
	{"replay/plan", []string{"trace", "heapmodel", "replay"}},
	{"replay/perturb", []string{"trace", "trace/"}},
	{"replay/advise", []string{"trace", "trace/", "heapmodel", "replay", "replay/"}},
	{"replay/compare", []string{"trace", "trace/", "heapmodel", "replay", "replay/"}},
	{"replay/verify", []string{"trace", "heapmodel", "heapmodel/golden", "replay"}},
	{"replay", []string{"trace", "heapmodel", "heapmodel/golden"}},
	{"report/plot", []string{"trace", "heapmodel", "replay", "report"}},
	{"report", []string{"trace", "trace/chains", "heapmodel", "replay", "replay/advise", "replay/compare", "replay/plan", "replay/strategy"}},
}

var onlyIn = map[string][]string{
	"github.com/parquet-go/parquet-go": {"trace/store"},
	"gonum.org/v1/plot":                {"report/plot"},
	"gonum.org/v1/gonum":               {"replay/compare"},
	"github.com/spf13/cobra":           {"cmd/fragprof"},
	"log":                              {"cmd/fragprof"},
	"log/slog":                         {"cmd/fragprof"},
	"math/rand":                        {"heapmodel/modeltest", "heapmodel/internal/oracle", "trace/gen", "replay/perturb", "replay/compare", "replay/study", "heapmodel/offline"}, // with fixed seeds
}

// catalogs may be seen by commands and tests only.
var catalogs = []string{"heapmodel/catalog"}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkg := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok {
				checkLayer(t, pkg, ours)
			}
			for lib, homes := range onlyIn {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.Contains(homes, pkg) {
					t.Errorf("%s imports %s, which is for %s only", pkg, imp, homes)
				}
			}
		}
	}
	if packages < 10 {
		t.Errorf("saw %d packages only", packages)
	}
}

func checkLayer(t *testing.T, pkg, imp string) {
	t.Helper()
	if strings.HasPrefix(pkg, "cmd/") {
		return
	}
	if slices.Contains(catalogs, imp) {
		t.Errorf("%s imports the catalog %s", pkg, imp)
	}
	for _, l := range layers {
		if pkg != l.pkg && !(strings.HasSuffix(l.pkg, "/") && strings.HasPrefix(pkg, l.pkg)) {
			continue
		}
		// The catalog is what sees every model.
		if pkg == "heapmodel/catalog" && strings.HasPrefix(imp, "heapmodel/") {
			return
		}
		for _, a := range l.allow {
			if imp == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imp, a) {
				return
			}
		}
		t.Errorf("%s imports %s, against the layers", pkg, imp)
		return
	}
	t.Errorf("%s has no layer: add it to the table", pkg)
}
