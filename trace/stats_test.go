package trace

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestHistogramBuckets(t *testing.T) {
	// Every bucket's lowest value falls into it, and buckets are in order.
	for i := range 60 << subBits {
		low := bucketLow(i)
		if got := bucket(low); got != i {
			t.Fatalf("bucket(bucketLow(%d) = %d) = %d", i, low, got)
		}
		if i > 0 && bucketLow(i-1) >= low {
			t.Fatalf("bucket %d starts at %d, not above %d", i, low, bucketLow(i-1))
		}
	}
}

func TestHistogramQuantileError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(0, 1<<40), 1, 200).Draw(t, "values")
		var h Histogram
		for _, v := range values {
			h.Add(v)
		}
		slices.Sort(values)
		for _, q := range []float64{0.1, 0.5, 0.9, 0.99, 1} {
			exact := values[max(int(math.Ceil(q*float64(len(values)))), 1)-1]
			got := h.Quantile(q)
			if got > exact || exact-got > exact/32+1 {
				t.Fatalf("quantile %g of %v: got %d, exact %d", q, values, got, exact)
			}
		}
	})
}

func TestHistogramClasses(t *testing.T) {
	var h Histogram
	for _, v := range []uint64{0, 1, 1, 2, 3, 4, 100, 127, 128} {
		h.Add(v)
	}
	want := []Class{{0, 1}, {1, 2}, {2, 2}, {4, 1}, {64, 2}, {128, 1}}
	if got := h.Classes(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestStats works a small trace by hand: two objects, one of them grown twice.
func TestStats(t *testing.T) {
	b := new(Block)
	for _, e := range []Event{
		{Op: OpAlloc, Slot: 0, Size: 10, Site: 1},
		{Op: OpAlloc, Slot: 1, Size: 100, Site: 2, Thread: 1},
		{Op: OpRealloc, Slot: 0, Size: 20, Site: 1},
		{Op: OpRealloc, Slot: 0, Size: 15, Site: 1},
		{Op: OpFree, Slot: 1},
		{Op: OpAlloc, Slot: 1, Size: 10, Site: 1},
	} {
		b.Append(e)
	}
	var c StatsCounter
	c.Block(b)
	s := c.Stats(10)
	if s.Lifetimes.Count != 1 || s.Lifetimes.Max != 35 {
		t.Errorf("lifetimes: %d, longest %d; want 1 of 35 bytes (20 + 15 after the birth of the 100)", s.Lifetimes.Count, s.Lifetimes.Max)
	}
	ch := s.Chains
	if ch.Objects != 1 || ch.Grows != 1 || ch.Shrinks != 1 || ch.Bytes != 30 || ch.Lengths.Max != 2 || ch.Final.Max != 15 {
		t.Errorf("chains %+v", ch)
	}
	if want := []Tally{{Key: 10, Count: 2, Bytes: 20}, {Key: 100, Count: 1, Bytes: 100}}; !slices.Equal(s.TopSizes, want) {
		t.Errorf("sizes %v, want %v", s.TopSizes, want)
	}
	if want := []Tally{{Key: 2, Count: 1, Bytes: 100}, {Key: 1, Count: 2, Bytes: 20}}; !slices.Equal(s.TopSites, want) {
		t.Errorf("sites %v, want %v", s.TopSites, want)
	}
	if want := []uint64{5, 1}; !slices.Equal(s.Threads, want) {
		t.Errorf("threads %v, want %v", s.Threads, want)
	}
}
