package plot

import (
	"context"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// textbook is 12 events on a heap of 10 bytes, in which event 6 fails: two
// bytes are free, one on each side.
var textbook = []trace.Event{
	{Op: trace.OpAlloc, Slot: 0, Size: 3},
	{Op: trace.OpAlloc, Slot: 1, Size: 2},
	{Op: trace.OpAlloc, Slot: 2, Size: 4},
	{Op: trace.OpFree, Slot: 1},
	{Op: trace.OpFree, Slot: 0},
	{Op: trace.OpAlloc, Slot: 0, Size: 4},
	{Op: trace.OpAlloc, Slot: 1, Size: 6},
	{Op: trace.OpFree, Slot: 2},
	{Op: trace.OpAlloc, Slot: 2, Size: 2},
	{Op: trace.OpFree, Slot: 0},
	{Op: trace.OpFree, Slot: 2},
	{Op: trace.OpAlloc, Slot: 0, Size: 7},
}

// churn is a trace of n events that ramps up, churns and ramps down, from a
// fixed generator of numbers.
func churn(n int) []trace.Event {
	state := uint64(12345)
	random := func(below int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % below
	}
	var events []trace.Event
	var live, free []trace.Slot
	for i := range 40 {
		free = append(free, trace.Slot(39-i))
	}
	for i := range n {
		want := 6 + 34*min(i, n-i)*2/n
		if len(free) > 0 && (len(live) == 0 || len(live) < want && random(3) > 0) {
			slot := free[len(free)-1]
			free, live = free[:len(free)-1], append(live, slot)
			events = append(events, trace.Event{Op: trace.OpAlloc, Slot: slot, Size: uint64(8 << random(6)), Time: int64(i) * 1_000_000})
			continue
		}
		j := random(len(live))
		slot := live[j]
		live[j] = live[len(live)-1]
		live, free = live[:len(live)-1], append(free, slot)
		events = append(events, trace.Event{Op: trace.OpFree, Slot: slot, Time: int64(i) * 1_000_000})
	}
	return events
}

// source makes a trace of events.
func source(h trace.Header, events []trace.Event) trace.Source {
	b := &trace.Block{}
	for _, e := range events {
		b.Append(e)
	}
	return trace.NewMemory(&h, []*trace.Block{b})
}

// replayed replays events through heaps and keeps maps.
func replayed(t testing.TB, h trace.Header, events []trace.Event, o replay.Options, specs ...string) []*replay.Result {
	t.Helper()
	var parsed []*heapmodel.Spec
	for _, text := range specs {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{toyModel, idealModel}, text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, s)
	}
	if o.MapCols == 0 {
		o.MapCols = 480
	}
	results, err := replay.Run(context.Background(), source(h, events), parsed, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatalf("%s: %v", r.Spec, r.Err)
		}
	}
	return results
}

// small is the textbook trace on a heap that fails once and on the ideal.
func small(t testing.TB) []*replay.Result {
	return replayed(t, trace.Header{Program: "textbook", Source: "ops", Synthetic: true}, textbook, replay.Options{}, "ideal/ref", "toy:capacity=10")
}

// medium is a trace with time stamps on heaps that grow, fail and do neither.
func medium(t testing.TB) []*replay.Result {
	return replayed(t, trace.Header{Program: "churn", Source: "ops", HasTime: true}, churn(900), replay.Options{},
		"ideal/ref", "toy:capacity=8KiB", "toy:capacity=1KiB,quantum=512", "toy:capacity=1800", "toy:capacity=1200")
}
