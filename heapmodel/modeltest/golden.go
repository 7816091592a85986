package modeltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// Golden replays every trace that the original of the model was run on,
// through every configuration, and compares the answers line for line: with
// the tables themselves where the full test material lies beside the module,
// else with their hashes. A configuration is a subtest, a trace one below it.
func Golden(t *testing.T, m *heapmodel.Model) {
	t.Helper()
	if goldenConfigs(t, m, true) == 0 {
		t.Errorf("no configuration of model %s is in golden.tsv", m.Name)
	}
}

// goldenConfigs returns the number of configurations of the model. The long trace has
// more operations than all others together.
func goldenConfigs(t *testing.T, m *heapmodel.Model, long bool) (configs int) {
	t.Helper()
	all, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range byConfig(all) {
		if rows[0].model() != m.Name {
			continue
		}
		configs++
		t.Run(rows[0].config, func(t *testing.T) {
			t.Parallel()
			s, err := Inside(nil).parse(m, rows[0].spec)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				if rows[i].trace == "long" && !long {
					continue
				}
				t.Run(rows[i].trace, func(t *testing.T) { goldenTable(t, s, &rows[i]) })
			}
		})
	}
	return configs
}

// byConfig cuts the rows into runs of one configuration each.
func byConfig(all []table) [][]table {
	return slices.Collect(func(yield func([]table) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && all[n].heap == all[0].heap && all[n].config == all[0].config {
				n++
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	})
}

func goldenTable(t *testing.T, s *heapmodel.Spec, row *table) {
	want, err := row.text()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := LoadTrace(row.trace)
	if err != nil {
		if row.trace == "long" && SharedDir() == "" {
			t.Skip("the trace is only in the full test material")
		}
		t.Fatal(err)
	}
	if want != nil {
		if err := Compare(s, tr, want); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if hashOf(want) != row.hash {
			t.Errorf("%s: golden.tsv is out of date: run go test ./heapmodel/modeltest -run Material -update", row)
		}
		return
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	got := Answers(h, tr)
	if lines := bytes.Count(got, []byte("\n")); lines != row.lines || hashOf(got) != row.hash {
		t.Errorf("%s: %d lines with hash %s, want %d with %s; the table itself, which would show the line, is only in the full test material",
			s, lines, hashOf(got), row.lines, row.hash)
	}
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// GoldenSpecs returns the specs of all configurations with golden tables whose
// model has the name, "" for all models.
func GoldenSpecs(model string) ([]string, error) {
	all, err := tables()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rows := range byConfig(all) {
		if model == "" || rows[0].model() == model {
			out = append(out, rows[0].spec)
		}
	}
	return out, nil
}

// Catalog compares every model of a catalog with the golden tables, those of
// the trace long only if asked to, and logs which configurations have no model
// in the catalog. Models without tables show as skipped.
func Catalog(t *testing.T, models []*heapmodel.Model, long bool) {
	t.Helper()
	all, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, rows := range byConfig(all) {
		name := rows[0].model()
		if !slices.ContainsFunc(models, func(m *heapmodel.Model) bool { return m.Name == name }) {
			missing = append(missing, rows[0].spec)
		}
	}
	if len(missing) > 0 {
		t.Logf("%d of %d configurations have no model in the catalog:\n%s",
			len(missing), len(byConfig(all)), strings.Join(missing, "\n"))
	}
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			if goldenConfigs(t, m, long) == 0 {
				t.Skip("there are no golden tables of the model")
			}
		})
	}
}
