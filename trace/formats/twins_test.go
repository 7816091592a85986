package formats

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// sharedDir returns the folder of recorded traces and their twins, which lies
// beside the module where it is there at all.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
	shared := filepath.Join(dir, "..", "shared")
	if _, err := os.Stat(filepath.Join(shared, "ops", "real", "INDEX.tsv")); err != nil {
		t.Skip("no recorded traces beside the module")
	}
	return shared
}

// twins says where the recordings of each format are and which twin each has:
// prefix, then the file's name without any of the suffixes, then suffix.
var twins = []struct {
	format  string // that must be detected
	glob    string // under traces
	prefix  string
	trim    string // cut from the front of the name
	cut     []string
	suffix  string
	o       Options
	threads bool // the format names threads
	files   int  // how many there must be
	sizes   trace.SizeKind
	// repairs is the kind of loss, without a column in the index, that the
	// format or a recording of it brings with it.
	repairs trace.LossKind
}{
	{format: "mtrace", glob: "glibc-mtrace/*.mtrace", prefix: "mtrace-", cut: []string{".mtrace"}, files: 2},
	{format: "mtrace", glob: "rendered-fixtures/*.mtrace", prefix: "fixture-", cut: []string{".mtrace"}, files: 2},
	{format: "memory_replay", glob: "android/*.zip", prefix: "android-", cut: []string{".zip"}, threads: true, files: 1},
	{format: "memory_replay", glob: "rendered-fixtures/*.memory_replay.txt", prefix: "fixture-", cut: []string{".memory_replay.txt"}, threads: true, files: 2},
	{format: "memory_replay", glob: "rendered-fixtures/*.memory_replay_ts.txt", prefix: "fixture-", cut: []string{".memory_replay_ts.txt"}, threads: true, files: 2},
	{format: "rep", glob: "malloclab/*.rep", prefix: "rep-", cut: []string{".rep"}, files: 53},
	{format: "valgrind", glob: "valgrind/*.vg", prefix: "valgrind-", cut: []string{".vg"}, files: 3},
	{format: "valgrind", glob: "rendered-fixtures/*.vg", prefix: "fixture-", cut: []string{".vg"}, files: 2},
	{format: "heaptrack", glob: "heaptrack/*.zst", prefix: "heaptrack-", cut: []string{".zst"}, files: 6, repairs: trace.LossApproxFrees},
	{format: "heaptrack", glob: "heaptrack-kde/heaptrack.*", prefix: "heaptrackkde-", trim: "heaptrack.", cut: []string{".zst", ".gz"}, files: 4, repairs: trace.LossApproxFrees},
	{format: "hrec", glob: "hrec-text/*.hrec.txt.gz", prefix: "hrec-", cut: []string{".hrec.txt.gz"}, threads: true, files: 13, repairs: trace.LossBadTime},
	{format: "hrec", glob: "hrec32-text/*.hrec.txt.gz", prefix: "hrec32-", cut: []string{".hrec.txt.gz"}, threads: true, files: 3},
	{format: "hrec", glob: "rendered-fixtures/*.hrec.txt", prefix: "fixture-", cut: []string{".hrec.txt"}, threads: true, files: 2},
	{format: "freertos", glob: "freertos-posix/*.log.gz", cut: []string{"-m32.log.gz"}, threads: true, files: 1, sizes: trace.SizesBlock},
	{format: "freertos", glob: "rendered-fixtures/*.freertos-printf.txt", prefix: "fixture-", cut: []string{".freertos-printf.txt"}, suffix: "-splitrealloc", files: 2, sizes: trace.SizesBlock},
	{format: "regex", glob: "freertos-posix/*.log.gz", cut: []string{"-m32.log.gz"}, o: presetOptions("freertos"), threads: true, files: 1, sizes: trace.SizesBlock},
	{format: "regex", glob: "rendered-fixtures/*.freertos-printf.txt", prefix: "fixture-", cut: []string{".freertos-printf.txt"}, suffix: "-splitrealloc", o: presetOptions("freertos"), files: 2, sizes: trace.SizesBlock},
	{format: "regex", glob: "rendered-fixtures/*.mbed.txt", prefix: "fixture-", cut: []string{".mbed.txt"}, o: presetOptions("mbed"), files: 2},
	{format: "regex", glob: "rendered-fixtures/*.nuttx.txt", prefix: "fixture-", cut: []string{".nuttx.txt"}, suffix: "-splitrealloc", o: presetOptions("nuttx"), threads: true, files: 2, sizes: trace.SizesBlock},
}

// lossColumns are the columns of the index that count what was dropped or
// repaired.
var lossColumns = map[string]trace.LossKind{
	"unknown_frees":    trace.LossUnknownFrees,
	"unknown_reallocs": trace.LossUnknownReallocs,
	"implicit_frees":   trace.LossImplicitFrees,
	"failed_allocs":    trace.LossFailedAllocs,
	"null_frees":       trace.LossNullFrees,
	"unparsed_lines":   trace.LossUnparsedLines,
}

// TestTwins holds every reader to the recordings of its format: the events as
// text, and all counts, are those an independent importer found.
func TestTwins(t *testing.T) {
	shared := sharedDir(t)
	index := readIndex(t, filepath.Join(shared, "ops", "real", "INDEX.tsv"))
	for _, row := range twins {
		files, err := filepath.Glob(filepath.Join(shared, "traces", row.glob))
		if err != nil || len(files) != row.files {
			t.Errorf("%s: %d files, want %d (%v)", row.glob, len(files), row.files, err)
		}
		for _, file := range files {
			name := strings.TrimPrefix(filepath.Base(file), row.trim)
			for _, suffix := range row.cut {
				name = strings.TrimSuffix(name, suffix)
			}
			name = row.prefix + name + row.suffix
			t.Run(row.format+"/"+filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				r, err := Open(file, nil, row.o)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if got := r.Header().Source; got != row.format {
					t.Errorf("read as %s, want %s", got, row.format)
				}
				if got := r.Header().Sizes; got != row.sizes {
					t.Errorf("sizes are %v, want %v", got, row.sizes)
				}
				compareOps(t, r, filepath.Join(shared, "ops", "real", name+".ops.gz"))
				columns := index[name+".ops.gz"]
				if columns == nil {
					t.Fatalf("%s is not in the index", name)
				}
				compareCounts(t, r.Header(), columns, row.threads)
				compareRest(t, r.Header(), row.repairs)
			})
		}
	}
}

// readIndex reads the table of counts: file, then column, then count.
func readIndex(t *testing.T, path string) map[string]map[string]uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	columns := strings.Split(lines[0], "\t")
	index := map[string]map[string]uint64{}
	for _, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		row := map[string]uint64{}
		for i, f := range fields[1:] {
			if row[columns[i+1]], err = strconv.ParseUint(f, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		index[fields[0]] = row
	}
	return index
}

// compareOps compares the text form of r with its twin, line for line.
func compareOps(t *testing.T, r trace.Reader, twin string) {
	t.Helper()
	var got bytes.Buffer
	if err := WriteOps(&got, trace.Validated(r)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(twin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	a, b := bufio.NewScanner(&got), bufio.NewScanner(z)
	for line := 1; ; line++ {
		more, wantMore := a.Scan(), b.Scan()
		if a.Text() != b.Text() || more != wantMore {
			t.Fatalf("event %d: got %q, want %q", line, a.Text(), b.Text())
		}
		if !more {
			break
		}
	}
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
}

// compareCounts compares what a complete header counts with a row of the
// index.
func compareCounts(t *testing.T, h *trace.Header, want map[string]uint64, threads bool) {
	t.Helper()
	if !h.Complete {
		t.Error("header is not complete at the end")
	}
	s := h.Summary
	got := map[string]uint64{
		"events": s.Events, "allocs": s.Allocs, "frees": s.Frees, "reallocs": s.Reallocs,
		"max_live_bytes": s.PeakLiveBytes, "max_live_objects": s.PeakLiveObjects, "never_freed": s.NeverFreed,
		"aligned_allocs": s.Aligned, "zero_size_allocs": s.ZeroSize, "largest_size": s.Largest,
	}
	if h.HasThread != threads {
		t.Errorf("names threads: %v, want %v", h.HasThread, threads)
	}
	if threads {
		got["threads"] = uint64(s.Threads)
	}
	for column, kind := range lossColumns {
		got[column] = h.Loss[kind]
	}
	for column, n := range want {
		if g, ok := got[column]; ok && g != n {
			t.Errorf("%s: got %d, want %d", column, g, n)
		} else if !ok && (column != "threads" || threads) {
			t.Errorf("column %s is not compared", column)
		}
	}
}

// compareRest holds the kinds of loss without a column in the index to none,
// but for foreign lines and one kind that is known of the recordings.
func compareRest(t *testing.T, h *trace.Header, repairs trace.LossKind) {
	t.Helper()
	inIndex := map[trace.LossKind]bool{trace.LossOtherLines: true, repairs: true}
	for _, kind := range lossColumns {
		inIndex[kind] = true
	}
	for kind, n := range h.Loss {
		if !inIndex[trace.LossKind(kind)] && n != 0 {
			t.Errorf("%s: got %d, want 0", trace.LossKind(kind).Key(), n)
		}
	}
}
