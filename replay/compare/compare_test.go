package compare_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
)

// growing is a program whose buffers grow by steps between small objects that
// stay: each step leaves a hole that the next does not fit.
func growing() trace.Source {
	var b trace.Block
	var pool trace.SlotPool
	add := func(op trace.Op, slot trace.Slot, size uint64, site trace.SiteID) {
		b.Append(trace.Event{Op: op, Slot: slot, Size: size, Site: site})
		if op == trace.OpFree {
			pool.Give(slot)
		}
	}
	for range 6 {
		buffer := pool.Take()
		add(trace.OpAlloc, buffer, 64, 1)
		for size := uint64(128); size <= 1024; size *= 2 {
			add(trace.OpAlloc, pool.Take(), 16, 2)
			add(trace.OpRealloc, buffer, size, 1)
		}
		add(trace.OpFree, buffer, 0, 1)
		add(trace.OpAlloc, pool.Take(), 24, 2)
	}
	return trace.NewMemory(&trace.Header{HasSite: true, PtrBits: 32, Sites: []string{"", "buffer", "node"}}, []*trace.Block{&b})
}

func run(t *testing.T, o compare.Options, heap string, sets ...string) []*compare.Row {
	t.Helper()
	spec, err := heapmodel.ParseSpec(catalog.Models, heap)
	if err != nil {
		t.Fatal(err)
	}
	var parsed []strategy.Set
	for _, text := range sets {
		s, err := strategy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, s)
	}
	rows, err := compare.Run(context.Background(), growing(), []*heapmodel.Spec{spec}, parsed, &strategy.Env{Models: catalog.Models, Keep: 1 << 20}, o)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestReserveHelps: reserving the final capacity keeps the holes from forming,
// on the recorded ordering and on others, and the price is stated.
func TestReserveHelps(t *testing.T) {
	rows := run(t, compare.Options{MinHeap: &plan.Options{Step: 8}, Perturb: perturb.Options{Amount: [4]float64{0, 0, 0, 2}, Seed: 1}, Count: 20}, "freertos-heap4:capacity=4KiB", "none", "reserve")
	if len(rows) != 2 || rows[0].Base != nil || rows[1].Base != rows[0] {
		t.Fatalf("want the baseline and one row against it, got %d rows", len(rows))
	}
	none, reserve := rows[0], rows[1]
	if reserve.Min.SafeFrom >= none.Min.SafeFrom {
		t.Errorf("minimum heap %d with reserve, %d without", reserve.Min.SafeFrom, none.Min.SafeFrom)
	}
	if reserve.Ledger.Slack.Peak != 1024-64 || reserve.Copied != 0 || none.Copied == 0 {
		t.Errorf("slack %d, copied %d against %d", reserve.Ledger.Slack.Peak, reserve.Copied, none.Copied)
	}
	if v := reserve.Verdict; v.Word != compare.Helps || v.Orderings != 20 {
		t.Errorf("verdict %+v", v)
	}
}

// TestWorkers: results do not depend on the number of workers.
func TestWorkers(t *testing.T) {
	var got []string
	for _, workers := range []int{1, 4} {
		o := compare.Options{Replay: replay.Options{Workers: workers}, Perturb: perturb.Options{Amount: [4]float64{1, 0, 4, 2}, Seed: 3}, Count: 12}
		text := ""
		for _, r := range run(t, o, "tlsf:capacity=8KiB", "reserve", "reserve:at=p50") {
			text += fmt.Sprintln(r.Set, r.Result.Footprint, r.Verdict, r.Paired)
		}
		got = append(got, text)
	}
	if got[0] != got[1] {
		t.Errorf("1 worker:\n%s4 workers:\n%s", got[0], got[1])
	}
}

// TestTooSmall: a heap that cannot be made is a row that says so.
func TestTooSmall(t *testing.T) {
	rows := run(t, compare.Options{}, "tlsf:capacity=100", "reserve")
	for _, r := range rows {
		if r.Err == nil {
			t.Errorf("%s: no error", r.Set)
		}
	}
}
