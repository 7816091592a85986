package perturb_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/trace"
)

// peaks returns the most bytes live at a time, by thread of their last alloc or
// realloc.
func peaks(events []trace.Event) map[uint32]uint64 {
	type object struct {
		size   uint64
		thread uint32
	}
	of := map[trace.Slot]object{}
	live, most := map[uint32]uint64{}, map[uint32]uint64{}
	for _, e := range events {
		o := of[e.Slot]
		live[o.thread] -= o.size
		of[e.Slot] = object{e.Size, e.Thread}
		live[e.Thread] += e.Size
		most[e.Thread] = max(most[e.Thread], live[e.Thread])
	}
	return most
}

// TestJitterPeak: in another order a program of one thread has as much live at
// the most as it had, and no more.
func TestJitterPeak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawTrace(t)
		before := read(t, src)
		for _, e := range before {
			if e.Thread != 0 {
				return
			}
		}
		p, err := perturb.Source(src, amounts(0, 0, 9, 0), uint64(rapid.IntRange(0, 9).Draw(t, "number")), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if was, is := peaks(before)[0], peaks(read(t, p))[0]; was != is {
			t.Fatalf("%d bytes live at the most, in another order %d", was, is)
		}
	})
}

// TestJitterPause: no event crosses a pause, and without times there is none.
func TestJitterPause(t *testing.T) {
	for _, times := range []bool{true, false} {
		b := &trace.Block{}
		for i := range 400 {
			b.Append(trace.Event{Op: trace.OpAlloc, Slot: trace.Slot(i), Size: uint64(i), Time: int64(i / 10 * 2_000_000)})
		}
		src := trace.NewMemory(&trace.Header{HasTime: times}, []*trace.Block{b})
		p, err := perturb.Source(src, amounts(0, 0, 8, 0), 1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		moved, crossed := 0, 0
		for i, e := range read(t, p) {
			if e.Size != uint64(i) {
				moved++
			}
			if e.Size/10 != uint64(i/10) {
				crossed++
			}
		}
		if moved < 200 || times && crossed > 0 || !times && crossed < 50 {
			t.Errorf("times %v: %d of 400 events moved, %d across a pause", times, moved, crossed)
		}
	}
}

// TestJitterStart: what lives at the start of a rotated trace stays in the order
// of its birth, below what comes then.
func TestJitterStart(t *testing.T) {
	b := &trace.Block{}
	for i := range 300 {
		b.Append(trace.Event{Op: trace.OpAlloc, Slot: trace.Slot(i), Size: uint64(i)})
	}
	src := trace.NewMemory(&trace.Header{}, []*trace.Block{b})
	in, out := 0, 0 // events before and after the start that are in order
	for number := range uint64(20) {
		p, err := perturb.Source(src, perturb.Options{Amount: [4]float64{1, 0, 8, 0}, Seed: 7}, number, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		// Nothing is freed: what lives at the start are the first k objects.
		events, k := read(t, p), 0
		for k < len(events) && events[k].Size == uint64(k) {
			k++
		}
		in += k
		for i := k; i < len(events); i++ {
			if events[i].Size == uint64(i) {
				out++
			}
		}
	}
	// Places are drawn evenly from 300; of what is jittered, one in ten or so
	// stays where it was.
	if in < 20*100 || out > 20*50 {
		t.Errorf("in 20 orderings %d events from the start on are in order, and %d further ones", in, out)
	}
}
