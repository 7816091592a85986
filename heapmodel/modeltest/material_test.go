package modeltest

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew from the full test material")

// wholeTables are shipped as they are, so that a difference can be shown.
var wholeTables = []string{"tlsf/64k-m32/aligned", "tlsf/64k-m32/realloc", "freertos_heap4/32k-m32/exhaust"}

// TestMaterial compares the shipped material with the full one: the same
// tables, hashes, traces and figures.
func TestMaterial(t *testing.T) {
	dir := SharedDir()
	if dir == "" {
		t.Skip("the full test material is not here")
	}
	want := map[string][]byte{
		"golden.tsv":     goldenRows(t, dir),
		"throughput.tsv": throughputRows(t, dir),
		"minheap.tsv":    readFile(t, filepath.Join(dir, "plan", "minheap-open.tsv")),
	}
	for _, name := range traceNames(t, dir) {
		if name != "long" {
			want["ops/"+name+".ops.gz"] = readFile(t, opsPath(dir, name))
		}
	}
	for _, name := range wholeTables {
		want["tables/"+name+".gz"] = readFile(t, filepath.Join(dir, "golden", name+".gz"))
	}
	total := 0
	for name, data := range want {
		total += len(data)
		path := filepath.Join("testdata", filepath.FromSlash(name))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got := readFile(t, path); !bytes.Equal(got, data) {
			t.Errorf("testdata/%s is out of date: run with -update", name)
		}
	}
	if limit := 1_000_000; total > limit {
		t.Errorf("the shipped material has %d bytes, want at most %d", total, limit)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readTSV(t *testing.T, path string, columns int) [][]string {
	t.Helper()
	rows, err := readRows(bytes.NewReader(readFile(t, path)), columns)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return rows
}

func tsv(t *testing.T, rows [][]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Comma = '\t'
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// goldenRows makes golden.tsv: a row for each table there is of each
// configuration.
func goldenRows(t *testing.T, dir string) []byte {
	t.Helper()
	rows := [][]string{{"heap", "config", "spec", "trace", "lines", "sha256"}}
	for _, c := range readTSV(t, filepath.Join(dir, "golden", "configs.tsv"), 3) {
		found := 0
		for _, kind := range []string{"golden", "golden-fuzz"} {
			paths, err := filepath.Glob(filepath.Join(dir, kind, c[0], c[1], "*.gz"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				text, err := gunzip(bytes.NewReader(readFile(t, path)))
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				lines := strconv.Itoa(bytes.Count(text, []byte("\n")))
				trace := strings.TrimSuffix(filepath.Base(path), ".gz")
				rows = append(rows, []string{c[0], c[1], c[2], trace, lines, hashOf(text)})
				found++
			}
		}
		if found == 0 {
			t.Errorf("configs.tsv has %s/%s, which has no tables", c[0], c[1])
		}
	}
	return tsv(t, rows)
}

// throughputRows makes throughput.tsv: the speed of the original in each
// configuration that has a spec, and of glibc's malloc as the yardstick.
func throughputRows(t *testing.T, dir string) []byte {
	t.Helper()
	specs := map[string]string{yardstick: yardstick}
	for _, c := range readTSV(t, filepath.Join(dir, "golden", "configs.tsv"), 3) {
		specs[c[0]+"/"+c[1]] = c[2]
	}
	rows := [][]string{{"spec", "trace", "Mops"}}
	for _, r := range readTSV(t, filepath.Join(dir, "models", "throughput.tsv"), 6) {
		if spec := specs[r[0]+"/"+r[1]]; spec != "" {
			rows = append(rows, []string{spec, r[2], r[5]})
		}
	}
	return tsv(t, rows)
}

func traceNames(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, kind := range []string{"synthetic", "fuzz"} {
		paths, err := filepath.Glob(filepath.Join(dir, "ops", kind, "*.ops.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			out = append(out, strings.TrimSuffix(filepath.Base(p), ".ops.gz"))
		}
	}
	slices.Sort(out)
	return out
}

func TestGoldenRowsAreWellFormed(t *testing.T) {
	all, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	configs := byConfig(all)
	if len(configs) != 93 || len(all) != 1572 {
		t.Errorf("%d configurations with %d tables, want 93 with 1572", len(configs), len(all))
	}
	for i := range all {
		row := &all[i]
		if row.trace == "long" {
			continue
		}
		tr, err := LoadTrace(row.trace)
		if err != nil {
			t.Fatal(err)
		}
		if len(tr.Ops) != row.lines {
			t.Errorf("%s: %d lines, the trace has %d operations", row, row.lines, len(tr.Ops))
		}
	}
}
