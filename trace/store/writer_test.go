package store

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// failingWriter accepts a number of bytes and then fails.
type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	events, sites := synthetic(13, 1000)
	good := memoryOf(events, sites, 100)
	size := len(stored(t, good))
	write := func(w io.Writer, h *trace.Header, blocks []*trace.Block) error {
		out := NewWriter(w, h, Options{RowGroup: 1})
		var first error
		for _, b := range blocks {
			if err := out.Write(b); err != nil && first == nil {
				first = err
			}
		}
		err := out.Close()
		if first != nil && !errors.Is(err, first) {
			t.Errorf("Close returned %v after Write returned %v", err, first)
		}
		return err
	}
	for left := 0; left < size; left += 1 + left/3 {
		if err := write(&failingWriter{left}, good.Header(), good.Blocks()); !errors.Is(err, errFull) {
			t.Errorf("a disk full after %d of %d bytes: got %v", left, size, err)
		}
	}
	change := func(f func(h *trace.Header)) *trace.Header {
		h := *good.Header()
		f(&h)
		return &h
	}
	ragged := *good.Blocks()[0]
	ragged.Align = ragged.Align[1:]
	tests := []struct {
		name   string
		h      *trace.Header
		blocks []*trace.Block
		want   string
	}{
		{"not complete", change(func(h *trace.Header) { h.Complete = false }), good.Blocks(), "not complete"},
		{"events missing", good.Header(), good.Blocks()[:3], "header counts"},
		{"out of order", good.Header(), good.Blocks()[1:], "out of order"},
		{"ragged", good.Header(), []*trace.Block{&ragged}, "different lengths"},
		{"wrong summary", change(func(h *trace.Header) { h.Summary.Allocs++ }), good.Blocks(), "do not make"},
		{"wrong pointer", change(func(h *trace.Header) { h.PtrBits = 48 }), good.Blocks(), "48 bits"},
		{"long site name", change(func(h *trace.Header) { h.Sites = []string{strings.Repeat("x", maxSiteName)} }), good.Blocks(), "at most"},
		{"too many sites", change(func(h *trace.Header) { h.Sites = make([]string, maxSites+1) }), good.Blocks(), "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := write(&out, tt.h, tt.blocks)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			if _, _, err := readBytes(out.Bytes()); err == nil {
				t.Error("what was written reads as a trace")
			}
		})
	}
	t.Run("threads without events", func(t *testing.T) {
		lone := trace.Event{Op: trace.OpAlloc, Size: 1, Thread: 5} // the others' events were dropped
		file := stored(t, memoryOf([]trace.Event{lone}, nil, 1))
		if _, got, err := readBytes(file); err != nil || len(got) != 1 || got[0] != lone {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("after close", func(t *testing.T) {
		w := NewWriter(io.Discard, memoryOf(nil, nil, 1).Header(), Options{})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(good.Blocks()[0]); err == nil {
			t.Error("Write after Close succeeded")
		}
	})
}

func TestDictionary(t *testing.T) {
	var d dictionary
	index := make([]int32, trace.BlockEvents)
	want := map[uint64]int32{}
	for round := range 3 {
		var vals []uint64
		for i := range 20_000 {
			v := uint64(i) * uint64(i) // small and large ones
			vals = append(vals, v, v)
		}
		if !places(&d, vals, index) {
			t.Fatal("the dictionary is full too soon")
		}
		for i, v := range vals {
			if place, ok := want[v]; ok && place != index[i] || d.values[index[i]] != v {
				t.Fatalf("round %d: value %d is at place %d, was at %d", round, v, index[i], place)
			}
			want[v] = index[i]
		}
		// A page that does not fit leaves nothing behind.
		var more []uint64
		for i := range uint64(maxDict) {
			more = append(more, i<<20|1)
		}
		if places(&d, more, index) || !d.full || len(d.values) != 20_000 {
			t.Fatalf("%d values in the dictionary, full %v", len(d.values), d.full)
		}
		if d.find(1<<20|1).place != 0 {
			t.Fatal("a value that was taken back is still found")
		}
		d.truncate(0)
		d.full = false
		clear(want)
		for i, e := range d.large {
			if e.place != 0 {
				t.Fatalf("entry %d is left behind", i)
			}
		}
		if i := slices.IndexFunc(d.small, func(p uint16) bool { return p != 0 }); i >= 0 {
			t.Fatalf("small value %d is left behind", i)
		}
	}
}

// TestTimes stores times on both sides of what encodeDelta64 takes a short cut
// for, and wants them back, and the statistics right even where time goes
// back, which a Writer does not check.
func TestTimes(t *testing.T) {
	tests := []struct {
		name  string
		times []int64
	}{
		{"one", []int64{math.MaxInt64}},
		{"constant", []int64{5, 5, 5}},
		{"just near", []int64{7, 7 + 1<<31 - 1, 8}},
		{"just far", []int64{7, 7 + 1<<31, 8}},
		{"one back", []int64{7, 6}},
		{"negative", []int64{-1 << 40, -1<<40 + 3, -1<<40 + 2}},
		{"around zero", []int64{-5, 5, 0}},
		{"extremes", []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64}},
		{"overflow", []int64{math.MaxInt64 - 1, math.MaxInt64, math.MinInt64}},
		{"more than a block", append(make([]int64, 300), 1<<31-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := encoder{index: make([]int32, len(tt.times))}
			data, err := e.encodeDelta64(nil, tt.times)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]int64, len(tt.times))
			if err := decodePage(new(decoder), format.DeltaBinaryPacked, withSlack(data), nil, got); err != nil || !slices.Equal(got, tt.times) {
				t.Errorf("got %v, %v, want %v", got, err, tt.times)
			}
			lib, err := new(delta.BinaryPackedEncoding).DecodeInt64(nil, data)
			if err != nil || !slices.Equal(lib, tt.times) {
				t.Errorf("parquet-go: got %v, %v, want %v", lib, err, tt.times)
			}
			s := span{tt.times[0], tt.times[0]}
			s.extend(tt.times)
			if want := (span{slices.Min(tt.times), slices.Max(tt.times)}); s != want {
				t.Errorf("span %v, want %v", s, want)
			}
		})
	}
}
