package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// duckdbPackage is DuckDB for Node, from npm.
const duckdbPackage = "@duckdb/node-api@1.5.6-r.1"

// duckdbModules returns a folder with DuckDB in its node_modules, in the
// user's cache, where it is installed the first time. Where that cannot be
// done the test is skipped, or fails if it is CI's.
func duckdbModules(t *testing.T) string {
	t.Helper()
	giveUp := func(form string, args ...any) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf(form, args...)
		}
		t.Skipf(form, args...)
	}
	if _, err := exec.LookPath("node"); err != nil {
		giveUp("DuckDB is not asked: %v", err)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		giveUp("DuckDB is not asked: %v", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "fragprof-test")
	dir := filepath.Join(cache, strings.NewReplacer("/", "-", "@", "").Replace(duckdbPackage))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir
	}
	// It takes its name when it is whole.
	if err := os.MkdirAll(cache, 0o777); err != nil {
		giveUp("DuckDB is not asked: %v", err)
	}
	temp, err := os.MkdirTemp(cache, "install-")
	if err != nil {
		giveUp("DuckDB is not asked: %v", err)
	}
	defer os.RemoveAll(temp)
	install := exec.Command(npm, "install", "--prefix", temp, "--no-audit", "--no-fund", "--no-save", duckdbPackage)
	install.Dir = temp
	if out, err := install.CombinedOutput(); err != nil {
		giveUp("DuckDB is not asked: install %s: %v\n%s", duckdbPackage, err, out)
	}
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		if _, err2 := os.Stat(filepath.Join(dir, "node_modules")); err2 != nil { // nor has another test been faster
			t.Fatal(err)
		}
	}
	return dir
}

// TestDuckDB asks DuckDB about a stored trace and compares with the events.
func TestDuckDB(t *testing.T) {
	modules := duckdbModules(t)
	// Pages of all kinds: constant, dictionary, delta, dictionary outgrown.
	events, sites := synthetic(31, 3*trace.BlockEvents)
	for i := range events[:2*trace.BlockEvents] {
		events[i].Thread = 0
		if e := &events[i]; e.Op == trace.OpAlloc && i > trace.BlockEvents {
			e.Size = 1<<40 + uint64(i)*12345
		}
	}
	m := memoryOf(events, sites, trace.BlockEvents)
	m.Header().Synthetic = true
	path := filepath.Join(t.TempDir(), "trace.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(f, m.Header(), Options{RowGroup: 2 * trace.BlockEvents})
	for _, b := range m.Blocks() {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}

	s := m.Header().Summary
	var slotSum, timeSum, siteSum, threadSum, alignSum uint64
	var hash uint64
	for i, e := range events {
		slotSum += uint64(e.Slot)
		timeSum += uint64(e.Time)
		siteSum += uint64(e.Site)
		threadSum += uint64(e.Thread)
		alignSum += uint64(e.Align)
		hash += uint64(i%1000+1) * (e.Size%1000 + uint64(e.Op)) // depends on the order
	}
	late := events[len(events)/2].Time
	lateEvents := 0
	for _, e := range events {
		if e.Time >= late {
			lateEvents++
		}
	}
	from := fmt.Sprintf(" from read_parquet('%s', file_row_number = true)", path)
	tests := []struct {
		query string
		want  [][]string
	}{
		{"select column_name, column_type from (describe select *" + fmt.Sprintf(" from '%s')", path), [][]string{
			{"op", "UTINYINT"},
			{"slot", "UINTEGER"},
			{"size", "UBIGINT"},
			{"align", "UINTEGER"},
			{"time", "BIGINT"},
			{"thread", "UINTEGER"},
			{"site", "UINTEGER"},
		}},
		{"select op, count(*)" + from + " group by op order by op", [][]string{
			{"1", fmt.Sprint(s.Allocs)}, {"2", fmt.Sprint(s.Frees)}, {"3", fmt.Sprint(s.Reallocs)},
		}},
		{"select sum(size), max(size), max(slot), sum(slot), sum(time), sum(site), sum(thread), sum(align)" + from, [][]string{{
			fmt.Sprint(s.AllocSum), fmt.Sprint(s.Largest), fmt.Sprint(s.Slots - 1), fmt.Sprint(slotSum),
			fmt.Sprint(timeSum), fmt.Sprint(siteSum), fmt.Sprint(threadSum), fmt.Sprint(alignSum),
		}}},
		{"select sum((file_row_number % 1000 + 1) * (size % 1000 + op))" + from, [][]string{{fmt.Sprint(hash)}}},
		// These use the ranges of row groups.
		{fmt.Sprintf("select count(*)%s where time >= %d", from, late), [][]string{{fmt.Sprint(lateEvents)}}},
		{"select count(*)" + from + " where align > 4096", [][]string{{"0"}}},
		{"select min(op), max(op), min(time), max(time), max(thread)" + from, [][]string{{
			"1", "3", fmt.Sprint(s.FirstTime), fmt.Sprint(s.LastTime), fmt.Sprint(s.Threads - 1),
		}}},
		{fmt.Sprintf("select decode(key), decode(value) from parquet_kv_metadata('%s') where decode(key) in ('fragprof.synthetic', 'fragprof.summary.events')", path), [][]string{
			{"fragprof.synthetic", "true"}, {"fragprof.summary.events", fmt.Sprint(len(events))},
		}},
		{fmt.Sprintf("select json_extract_string(decode(value), '$[2]') from parquet_kv_metadata('%s') where decode(key) = 'fragprof.sites'", path), [][]string{{sites[2]}}},
		{fmt.Sprintf("select count(distinct row_group_id), sum(num_values) from parquet_metadata('%s') where path_in_schema = 'op'", path), [][]string{{
			fmt.Sprint((len(events) + 2*trace.BlockEvents - 1) / (2 * trace.BlockEvents)), fmt.Sprint(len(events)),
		}}},
	}
	args := []string{filepath.Join("testdata", "query.js"), modules}
	for _, tt := range tests {
		args = append(args, tt.query)
	}
	cmd := exec.Command("node", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var results [][][]string
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(tests) {
		t.Fatalf("%v in %d results\n%s", err, len(results), out)
	}
	for i, tt := range tests {
		if !slices.EqualFunc(results[i], tt.want, slices.Equal[[]string]) {
			t.Errorf("%s\ngot  %v\nwant %v", tt.query, results[i], tt.want)
		}
	}
}
