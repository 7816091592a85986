package plan_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

var long = flag.Bool("long", false, "compare every row of the table of minimum heaps")

// specs says how the table's allocators are named, without their size.
var specs = map[string]string{
	"esp_tlsf":       "esp-tlsf:ptr=32",
	"freertos_heap2": "freertos-heap2:ptr=32",
	"freertos_heap4": "freertos-heap4:ptr=32",
	"freertos_heap5": "freertos-heap5:ptr=32",
	"lwip":           "lwip-mem:ptr=32",
	"nuttx":          "nuttx-mm:ptr=32",
	"o1heap":         "o1heap:ptr=32",
	"rtthread":       "rtthread-smem:ptr=32,align=8",
	"threadx":        "threadx-byte-pool:ptr=32",
	"tlsf":           "tlsf:ptr=32",
	"zephyr_small":   "zephyr-sys-heap:ptr=32,mode=small",
}

// TestTable holds MinHeap to what the originals needed, every size tried: the
// table of minimum heaps, which the conformance suite carries.
func TestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("too long for the race detector")
	}
	dir := filepath.Join("..", "..", "heapmodel", "modeltest", "testdata")
	f, err := os.Open(filepath.Join(dir, "minheap.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		row := strings.Split(lines.Text(), "\t")
		text, ok := specs[row[0]]
		if !ok {
			continue // the head
		}
		src := load(t, dir, row[1])
		// The small traces always; all of them take minutes.
		if src == nil || !*long && (src.Header().Summary.PeakLiveBytes > 4000 || row[0] == "freertos_heap2") {
			continue
		}
		rows++
		t.Run(row[0]+"/"+row[1], func(t *testing.T) {
			t.Parallel()
			spec, err := heapmodel.ParseSpec(catalog.Models, text)
			if err != nil {
				t.Fatal(err)
			}
			step, err := strconv.ParseUint(row[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			r, err := plan.MinHeap(context.Background(), src, spec, plan.Options{Step: step, Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %d %s %d", r.MinOK, r.SafeFrom, ranges(r.Failing), r.From)
			if want := strings.Join([]string{row[3], row[4], row[5], row[9]}, " "); got != want {
				t.Errorf("min_ok, safe_from, failing above min_ok, scanned from:\n got %s\nwant %s", got, want)
			}
		})
	}
	if rows < 10 {
		t.Errorf("compared %d rows only", rows)
	}
}

func ranges(failing []plan.Range) string {
	if len(failing) == 0 {
		return "-"
	}
	parts := make([]string, len(failing))
	for i, f := range failing {
		parts[i] = fmt.Sprint(f.From)
		if f.To != f.From {
			parts[i] = fmt.Sprintf("%d-%d", f.From, f.To)
		}
	}
	return strings.Join(parts, ",")
}

// load reads a synthetic trace, from the shared material if it is not shipped;
// nil if it is neither.
func load(t *testing.T, dir, name string) trace.Source {
	t.Helper()
	for _, path := range []string{
		filepath.Join(dir, "ops", name+".ops.gz"),
		filepath.Join("..", "..", "..", "shared", "ops", "synthetic", name+".ops.gz"),
		filepath.Join("..", "..", "..", "shared", "ops", "synthetic", name+".ops"),
	} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		src, err := formats.Load(path, nil, formats.Options{From: "ops"}, 1<<30, func(*trace.Block) {}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	return nil
}
