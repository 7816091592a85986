package modeltest

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Material shipped with the module, enough to test every model without the
// golden tables themselves:
//
//	golden.tsv          what each table of answers hashes to
//	throughput.tsv      how fast the originals are
//	minheap.tsv         the smallest arenas in which the originals replay a trace
//	ops/*.ops.gz        the traces, all but long
//	tables/<heap>/<config>/<trace>.gz    a few whole tables
//
// TestMaterial writes them anew from the full test material with -update.
//
//go:embed testdata/*.tsv testdata/ops testdata/tables
var shipped embed.FS

// A table is a row of golden.tsv: what an original answered to a trace.
type table struct {
	heap, config string // folder names in the test material
	spec         string
	trace        string
	lines        int
	hash         string // first 16 hex digits of the text's SHA-256
}

func (t *table) model() string {
	name, _, _ := strings.Cut(t.spec, ":")
	return name
}

func (t *table) String() string { return t.heap + "/" + t.config + "/" + t.trace }

// fuzz reports whether the trace is one of the random ones, whose tables and
// operations are in folders of their own: fa1, fn6.
func fuzzTrace(trace string) bool {
	return len(trace) == 3 && trace[0] == 'f' && (trace[1] == 'a' || trace[1] == 'n')
}

// tables returns the rows of golden.tsv.
var tables = sync.OnceValues(func() ([]table, error) {
	rows, err := shippedRows("golden.tsv", 6)
	if err != nil {
		return nil, err
	}
	out := make([]table, 0, len(rows))
	for _, r := range rows {
		lines, err := strconv.Atoi(r[4])
		if err != nil {
			return nil, fmt.Errorf("golden.tsv: lines of %v: %w", r, err)
		}
		out = append(out, table{heap: r[0], config: r[1], spec: r[2], trace: r[3], lines: lines, hash: r[5]})
	}
	return out, nil
})

// shippedRows reads a shipped table of tab-separated columns and leaves out
// its header.
func shippedRows(name string, columns int) ([][]string, error) {
	f, err := shipped.Open("testdata/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRows(f, columns)
}

func readRows(r io.Reader, columns int) ([][]string, error) {
	c := csv.NewReader(r)
	c.Comma, c.Comment, c.FieldsPerRecord = '\t', '#', columns
	rows, err := c.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[1:], nil
}

// SharedDir returns the folder of the full test material, which lies beside
// the module's root, or "" if it is not there.
var SharedDir = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			shared := filepath.Join(filepath.Dir(dir), "shared")
			if _, err := os.Stat(filepath.Join(shared, "golden", "configs.tsv")); err == nil {
				return shared
			}
			return ""
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
})

// traces keeps what loadTrace has read.
var traces sync.Map // name -> func() (*Trace, error)

// LoadTrace returns a trace of the test material by its name: "mixed", "fa1".
// The caller must not change it. The trace long is only in the full material;
// without it the error wraps fs.ErrNotExist.
func LoadTrace(name string) (*Trace, error) {
	once, _ := traces.LoadOrStore(name, sync.OnceValues(func() (*Trace, error) { return readTrace(name) }))
	return once.(func() (*Trace, error))()
}

func readTrace(name string) (*Trace, error) {
	f, err := shipped.Open("testdata/ops/" + name + ".ops.gz")
	if err != nil {
		if SharedDir() == "" {
			return nil, err
		}
		if f, err = os.Open(opsPath(SharedDir(), name)); err != nil {
			return nil, err
		}
	}
	defer f.Close()
	return ParseOps(name, f)
}

func opsPath(shared, trace string) string {
	kind := "synthetic"
	if fuzzTrace(trace) {
		kind = "fuzz"
	}
	return filepath.Join(shared, "ops", kind, trace+".ops.gz")
}

// tablePath returns where the table is, relative to the full material.
func tablePath(t *table) string {
	kind := "golden"
	if fuzzTrace(t.trace) {
		kind = "golden-fuzz"
	}
	return filepath.Join(kind, t.heap, t.config, t.trace+".gz")
}

// text returns the whole table if it is here, else nil.
func (t *table) text() ([]byte, error) {
	var f fs.File
	var err error
	if dir := SharedDir(); dir != "" {
		f, err = os.Open(filepath.Join(dir, tablePath(t)))
	} else if f, err = shipped.Open("testdata/tables/" + t.String() + ".gz"); err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gunzip(f)
}

func gunzip(r io.Reader) ([]byte, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(z); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
