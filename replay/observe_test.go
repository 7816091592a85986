package replay_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// TestObserve looks whether an observer is told what Placements writes, of every
// event once, with the heap as it is then.
func TestObserve(t *testing.T) {
	src := someTrace(t)
	var placements bytes.Buffer
	var seen []byte
	next := uint64(0)
	observe := func(h heapmodel.Heap, b *trace.Block, i int, a golden.Answer) bool {
		if at := b.First + uint64(i); at != next {
			t.Fatalf("event %d is observed after %d others", at, next)
		}
		next++
		if _, placed := a.At(); placed && h.Usage().UsedBlocks == 0 {
			t.Fatalf("event %d placed an object in a heap without any", next-1)
		}
		seen = append(a.Append(seen), '\n')
		return true
	}
	run(t, src, replay.Options{Placements: &placements, Observe: observe}, "freertos-heap4:capacity=4KiB")
	if next != src.Header().Summary.Events || !bytes.Equal(seen, placements.Bytes()) {
		t.Errorf("%d of %d events observed, in %d bytes of answers; the placements have %d", next, src.Header().Summary.Events, len(seen), placements.Len())
	}
	for _, answer := range []string{"!\n", "_\n", ".\n"} {
		if !strings.Contains(placements.String(), answer) {
			t.Errorf("no answer %q: the trace does not fill the heap", answer)
		}
	}
}

func TestObserverEndsTheReplay(t *testing.T) {
	src := someTrace(t)
	const events = trace.BlockEvents + 10
	seen := uint64(0)
	r := run(t, src, replay.Options{Observe: func(heapmodel.Heap, *trace.Block, int, golden.Answer) bool {
		seen++
		return seen < events
	}}, "freertos-heap4:capacity=4KiB")[0]
	if seen != events || r.Events != events || r.Stopped {
		t.Errorf("%d events observed, %d replayed, stopped by a failure: %t; want %d", seen, r.Events, r.Stopped, events)
	}
}

func TestObserverNeedsOneModel(t *testing.T) {
	never := func(heapmodel.Heap, *trace.Block, int, golden.Answer) bool { return true }
	if _, err := replay.Run(context.Background(), someTrace(t), parse(t, "ideal", "ideal"), replay.Options{Observe: never}); err == nil {
		t.Error("two models were observed at once")
	}
}
