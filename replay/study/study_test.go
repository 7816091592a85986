package study_test

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/buddy"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/segstorage"
	"github.com/fragprof/fragprof/replay/study"
	"github.com/fragprof/fragprof/trace/formats"
)

var (
	long   = flag.Bool("long", false, "measure all traces of the full test material")
	update = flag.Bool("update", false, "rewrite samples/johnstone-wilson.md: with -long all of it, else its last section")
)

var (
	samples  = filepath.Join("..", "..", "samples")
	document = filepath.Join(samples, "johnstone-wilson.md")
	real     = filepath.Join("..", "..", "..", "shared", "ops", "real") // the full test material
)

// models returns the catalog and what the study needs beyond it.
func models() []*heapmodel.Model {
	out := slices.Clone(catalog.Models)
	for _, m := range []*heapmodel.Model{buddy.Binary, buddy.Double, segstorage.Model} {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// A recording, what the document calls it, and what it is.
type recording struct{ name, file, about string }

// recordings are the traces of at least 30,000 events that were recorded from
// programs, each program once a pointer width.
var recordings = []recording{
	{"android", "android-systemui.ops.gz", "Android's SystemUI, a trace of its memory_replay"},
	{"gui", "heaptrackkde-heaptrack_gui.99454.ops.gz", "heaptrack's viewer, from heaptrack's test data; its frees name size and site only, the oldest such object was taken"},
	{"cc1", "hrec-cc1.ops.gz", "the C compiler of GCC 12 on a file of 25 lines, with -O2"},
	{"git", "hrec-git-log.ops.gz", "git log -p --stat of 60 commits"},
	{"jq", "hrec-jq.ops.gz", "jq 1.6, a filter on 390 KB of JSON"},
	{"lua", "hrec-lua.ops.gz", "Lua: word statistics, tables, string building"},
	{"mosquitto", "hrec-mosquitto.ops.gz", "the mosquitto MQTT broker with 3 subscribers and 80 publishers"},
	{"node", "hrec-node.ops.gz", "Node.js: zlib, crypto and files on a pool of threads"},
	{"perl", "hrec-perl.ops.gz", "Perl: hashes and arrays"},
	{"python", "hrec-python.ops.gz", "Python 3.11 over malloc: JSON, 3 threads"},
	{"sqlite", "hrec-sqlite3.ops.gz", "sqlite3 3.40: 2,500 inserts, indexes, joins, vacuum"},
	{"dogfood", "wee-dogfood.ops.gz", "a trace of wee_alloc's tests, in which a realloc is a free and then an allocation"},
	{"cjson/32", "freertos-v11-heap4-cjson.ops.gz", "FreeRTOS 11, POSIX port: tasks, queues, timers, cJSON, a heap of 128 KiB"},
	{"lua/32", "hrec32-lua.ops.gz", "Lua built for 32 bits, a smaller run"},
	{"mosquitto/32", "hrec32-mosquitto.ops.gz", "the broker built for 32 bits"},
}

// again are further recordings of those programs, and shorter or other inputs.
var again = []string{
	"heaptrack-cc1-small.interpreted", "heaptrack-cc1-small.raw", "mtrace-cc1-small", "valgrind-cc1-small",
	"heaptrack-sqlite-full.interpreted", "heaptrack-sqlite-full.raw", "valgrind-jq-small",
}

var shipped = []recording{
	{name: "cjson/32", file: "freertos-cjson.parquet"},
	{name: "mbedtls/32", file: "mbedtls-client-32.parquet"},
	{name: "mosquitto/32", file: "mosquitto-32.parquet"},
	{name: "sqlite", file: "sqlite.parquet"},
}

func record(t *testing.T, dir string, r recording, freeFirst bool) *study.Load {
	t.Helper()
	src, err := formats.Load(filepath.Join(dir, r.file), nil, formats.Options{}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := study.Record(r.name, src, freeFirst)
	if err != nil {
		t.Fatal(err)
	}
	l.About = r.about
	return l
}

func run(t *testing.T, l *study.Load) study.Row {
	t.Helper()
	out, err := study.Run(context.Background(), l, models())
	if err != nil {
		t.Fatal(err)
	}
	return study.Row{Load: l, Out: out}
}

func runSamples(t *testing.T) (rows []study.Row) {
	t.Helper()
	for _, s := range shipped {
		rows = append(rows, run(t, record(t, samples, s, false)))
	}
	return rows
}

// TestSamples measures the shipped samples and compares them with the last
// section of the document.
func TestSamples(t *testing.T) {
	if _, err := os.Stat(real); err == nil && *long {
		t.Skip("TestDocument does it")
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, []byte(study.SamplesHeading))
	if at < 0 {
		t.Fatalf("%s has no section of the samples", document)
	}
	var got strings.Builder
	study.WriteSamples(&got, runSamples(t))
	if got.String() == string(text[at:]) {
		return
	}
	if *update {
		if err := os.WriteFile(document, append(text[:at:at], got.String()...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what is measured:\n%s", document, firstDifference(got.String(), string(text[at:])))
}

// TestDocument measures everything anew. It needs the full test material.
func TestDocument(t *testing.T) {
	if _, err := os.Stat(real); err != nil || !*long {
		t.Skip("needs -long and the full test material")
	}
	var d study.Data
	for _, r := range recordings {
		l := record(t, real, r, false)
		d.Recorded = append(d.Recorded, run(t, l))
		d.Shuffled = append(d.Shuffled, run(t, l.Shuffle(1)))
		d.FreeFirst = append(d.FreeFirst, run(t, record(t, real, r, true)))
	}
	for seed := range uint64(5) {
		d.Exponential = append(d.Exponential, run(t, study.Exponential(200_000, 64, 2000, seed+1)))
	}
	d.Samples = runSamples(t)
	checkProse(t, &d)
	var got strings.Builder
	if err := d.Write(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(document, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s is not what is measured:\n%s", document, firstDifference(got.String(), string(want)))
	}
}

// checkProse checks what the document says in words that were written, not
// measured.
func checkProse(t *testing.T, d *study.Data) {
	t.Helper()
	out := func(rows []study.Row, load, policy string) study.Outcome {
		row := slices.IndexFunc(rows, func(r study.Row) bool { return r.Load.Name == load })
		return rows[row].Out[slices.IndexFunc(study.Policies, func(p study.Policy) bool { return p.Name == policy })]
	}
	if g := out(d.Recorded, "lua", "BF AO").Last; g.Need != 131_048 || g.LargestFree != 1<<17-1<<11 {
		t.Errorf("the last growth of lua is another: %+v", g)
	}
	copies := 0
	for _, h := range out(d.Recorded, "python", "BF AO").Holes {
		if slices.Contains([]uint64{121_376, 136_576, 153_696, 172_960, 194_624, 219_008}, h.Size) {
			copies++
		}
	}
	if best, first := out(d.Recorded, "python", "BF AO"), out(d.Recorded, "python", "FF AO"); copies < 5 || best.Measure4() < 2*first.Measure4() {
		t.Errorf("best fit on python is another: %+v", best)
	}
	if seg, more := study.Mean(study.Table4[14]), study.Mean(study.Table4[15]); seg <= more {
		t.Errorf("the paper's means of segregated storage are %v and %v", seg, more)
	}
	for i, program := range study.Programs {
		least := 100.0
		for _, policy := range []int{1, 2, 3, 5, 7, 11} {
			least = min(least, study.Table4[policy][i])
		}
		if least > 10 {
			t.Errorf("the paper has %s with %v under all policies that it finds good", program, least)
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	return "line " + strings.Join([]string{strings.Join(g[i:min(i+1, len(g))], ""), strings.Join(w[i:min(i+1, len(w))], "")}, "\nwant ")
}

// TestAllRecordings looks whether every long recording of the test material is
// in the study or left out on purpose.
func TestAllRecordings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(real, "INDEX.tsv"))
	if err != nil {
		t.Skip("the full test material is not here")
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, "\t")
		file := fields[0]
		// Malloc labs' traces are made, minimalloc's are of buffers in time.
		if len(fields[1]) < 5 || fields[1] < "30000" && len(fields[1]) == 5 ||
			strings.HasPrefix(file, "rep-") || strings.HasPrefix(file, "minimalloc-") || strings.HasPrefix(file, "file") {
			continue
		}
		if !slices.ContainsFunc(recordings, func(r recording) bool { return r.file == file }) &&
			!slices.Contains(again, strings.TrimSuffix(file, ".ops.gz")) {
			t.Errorf("%s has %s events and is not in the study", file, fields[1])
		}
	}
	for _, r := range recordings {
		if !strings.Contains(string(text), r.file+"\t") {
			t.Errorf("%s: %v", r.file, fs.ErrNotExist)
		}
	}
}
