package modeltest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
)

// minheapSpecs says how to give an original of minheap.tsv its size; each %d is
// replaced by it.
var minheapSpecs = map[string]string{
	"esp_tlsf":       "esp-tlsf:capacity=%d,ptr=32",
	"freertos_heap2": "freertos-heap2:capacity=%d,ptr=32",
	"freertos_heap4": "freertos-heap4:capacity=%d,ptr=32",
	"freertos_heap5": "freertos-heap5:regions=%d@0,ptr=32",
	"lwip":           "lwip-mem:capacity=%d,ptr=32",
	"nuttx":          "nuttx-mm:capacity=%d,ptr=32",
	"o1heap":         "o1heap:capacity=%d,ptr=32",
	"rtthread":       "rtthread-smem:capacity=%d,ptr=32,align=8",
	"threadx":        "threadx-byte-pool:capacity=%d,ptr=32",
	"tlsf":           "tlsf:capacity=%d,ptr=32",
	"zephyr_small":   "zephyr-sys-heap:capacity=%d,ptr=32,mode=small",
}

// minheapRow is a row of minheap.tsv. Of the sizes at each step from from to to
// those below least fail, and those in the ranges; all others pass.
type minheapRow struct {
	heap, trace           string
	step, least, from, to uint64
	fails                 [][2]uint64 // inclusive, ascending
}

func minheapRows() ([]minheapRow, error) {
	rows, err := shippedRows("minheap.tsv", 14)
	if err != nil {
		return nil, err
	}
	out := make([]minheapRow, len(rows))
	for i, r := range rows {
		m := minheapRow{heap: r[0], trace: r[1]}
		for _, f := range []struct {
			to   *uint64
			text string
		}{{&m.step, r[2]}, {&m.least, r[3]}, {&m.from, r[9]}, {&m.to, r[10]}} {
			if *f.to, err = strconv.ParseUint(f.text, 10, 64); err != nil {
				return nil, fmt.Errorf("minheap.tsv: %s %s: %w", m.heap, m.trace, err)
			}
		}
		if r[5] != "-" {
			for part := range strings.SplitSeq(r[5], ",") {
				first, last, isRange := strings.Cut(part, "-")
				if !isRange {
					last = first
				}
				a, err1 := strconv.ParseUint(first, 10, 64)
				b, err2 := strconv.ParseUint(last, 10, 64)
				if err1 != nil || err2 != nil {
					return nil, fmt.Errorf("minheap.tsv: %s %s: range %q", m.heap, m.trace, part)
				}
				m.fails = append(m.fails, [2]uint64{a, b})
			}
		}
		out[i] = m
	}
	return out, nil
}

// passes reports whether the original passes the trace in the size.
func (m *minheapRow) passes(size uint64) bool {
	if size < m.least {
		return false
	}
	for _, f := range m.fails {
		if size >= f[0] && size <= f[1] {
			return false
		}
	}
	return true
}

// edges returns the sizes at which passing and failing meet, and a few others.
func (m *minheapRow) edges() []uint64 {
	out := []uint64{m.from, m.least - m.step, m.least, m.to}
	for _, f := range m.fails {
		out = append(out, f[0]-m.step, f[0], f[1], f[1]+m.step)
	}
	for i := uint64(1); i < 8; i++ {
		out = append(out, m.from+(m.to-m.from)*i/8/m.step*m.step)
	}
	return out
}

// MinHeap compares the model with the scans of its original over all arena
// sizes: in which sizes a trace passes without a failed allocation, and in
// which it does not. It tries the sizes where the two meet; the tests of
// replay/plan try all. Models without scans are skipped.
func MinHeap(t *testing.T, m *heapmodel.Model) {
	t.Helper()
	rows, err := minheapRows()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, row := range rows {
		form := minheapSpecs[row.heap]
		if name, _, _ := strings.Cut(form, ":"); name != m.Name {
			continue
		}
		ran++
		t.Run(row.trace, func(t *testing.T) {
			t.Parallel()
			tr, err := LoadTrace(row.trace)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range row.edges() {
				s, err := Inside(nil).parse(m, fmt.Sprintf(form, size))
				if err != nil {
					t.Fatal(err)
				}
				h, err := s.New()
				if err != nil {
					t.Fatal(err)
				}
				failed, err := firstFailure(h, tr)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case row.passes(size) && failed >= 0:
					t.Errorf("%s: line %d: %s: fails, the original passes the trace", s, failed+1, tr.Ops[failed])
				case !row.passes(size) && failed < 0:
					t.Errorf("%s: passes, the original does not", s)
				}
			}
		})
	}
	if ran == 0 {
		t.Skipf("no scan of arena sizes for %s", m.Name)
	}
}

// firstFailure returns the index of the first operation that the heap cannot
// serve, -1 if there is none.
func firstFailure(h heapmodel.Heap, t *Trace) (int, error) {
	p, err := newPlayer(h, t)
	if err != nil {
		return 0, err
	}
	for i, o := range t.Ops {
		if p.play(o) == golden.Null {
			return i, nil
		}
	}
	return -1, nil
}
