package catalog_test

import (
	"flag"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

var long = flag.Bool("long", false, "compare with the tables of the trace long, too")

func TestGolden(t *testing.T) { modeltest.Catalog(t, catalog.Models, *long) }

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range catalog.Models {
		if seen[m.Name] {
			t.Errorf("model %s stands twice", m.Name)
		}
		seen[m.Name] = true
	}
}

func TestSpecsMakeHeaps(t *testing.T) {
	for _, m := range catalog.Models {
		specs, must, err := modeltest.Inside(catalog.Models).Specs(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range specs[:must] {
			s, err := heapmodel.ParseSpec(catalog.Models, text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.New(); err != nil {
				t.Error(err)
			}
		}
	}
}
