package chains

import (
	"bufio"
	"fmt"
	"os"
	"testing"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

// recording returns the trace of a C or C++ program of testdata/programs, and
// the pairs that it told of itself.
func recording(t testing.TB, name string) (trace.Source, map[[2]uint32]bool) {
	t.Helper()
	src, err := formats.Load("testdata/"+name+".hrec.txt.gz", nil, formats.Options{}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/" + name + ".pairs.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	truth := map[[2]uint32]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var a, b uint32
		if _, err := fmt.Sscan(s.Text(), &a, &b); err != nil {
			t.Fatalf("%s: %q: %v", name, s.Text(), err)
		}
		truth[[2]uint32{a, b}] = true
	}
	return src, truth
}

// TestRecorded wants of recordings of real containers what was found in them,
// less a margin. Growth is made hard: one call site for all, first in, first
// out objects of random sizes, and appends that decide the sizes.
func TestRecorded(t *testing.T) {
	for _, tt := range []struct {
		name              string
		sites, threads    bool // missing
		precision, recall float64
	}{
		{"vectors", false, false, goal, goal},
		{"tables", false, false, goal, goal},
		{"growth", false, false, goal, 0.80},
		{"vectors", true, false, goal, goal},
		{"tables", true, false, goal, goal},
		{"growth", true, false, 0.88, 0.85},
		{"tables", false, true, goal, goal},
		{"tables", true, true, goal, goal},
	} {
		src, truth := recording(t, tt.name)
		table, err := Detect(stripped(t, src, tt.sites, tt.threads))
		if err != nil {
			t.Fatal(err)
		}
		m := measured{truth: len(truth)}
		for a, b := range table.Next {
			if b != None {
				m.found++
				if truth[[2]uint32{uint32(a), b}] {
					m.right++
				}
			}
		}
		t.Logf("%-8s sites %-5v threads %-5v %5d pairs   precision %.3f   recall %.3f",
			tt.name, !tt.sites, !tt.threads, m.truth, m.precision(), m.recall())
		if m.precision() < tt.precision || m.recall() < tt.recall {
			t.Errorf("%s: want %.2f and %.2f", tt.name, tt.precision, tt.recall)
		}
	}
}
