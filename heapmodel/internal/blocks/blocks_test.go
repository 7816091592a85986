package blocks_test

import (
	"testing"
	"unsafe"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"pgregory.net/rapid"
)

// piece is a block as the plain model has it: a list of sizes.
type piece struct {
	id   blocks.ID
	size uint32
	used bool
}

// A Table and a SlimTable do what a plain list does, whatever is split and merged.
func TestTableIsAList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tab blocks.Table
		reserved := rapid.IntRange(0, 5).Draw(rt, "reserved")
		if reserved > 0 && blocks.Reserve(&tab, reserved) != 0 {
			rt.Fatal("the first reserved record is not 0")
		}
		isAList(rt, &tab, reserved)
	})
	rapid.Check(t, func(rt *rapid.T) { isAList(rt, &blocks.SlimTable{}, 0) })
}

func TestSizeOfRecords(t *testing.T) {
	if size, slim := unsafe.Sizeof(blocks.Node{}), unsafe.Sizeof(blocks.SlimNode{}); size != 20 || slim != 16 {
		t.Errorf("a record has %d bytes, a slim one %d; want 20 and 16", size, slim)
	}
}

func isAList[Y any](rt *rapid.T, tab *blocks.Chain[Y], reserved int) {
	size := rapid.Uint32Range(1, 1000).Draw(rt, "size")
	first := tab.Region(7, 7+size)
	end := tab.Next(first)
	list := []piece{{id: first, size: size}}
	for range rapid.IntRange(0, 60).Draw(rt, "operations") {
		i := rapid.IntRange(0, len(list)-1).Draw(rt, "block")
		p := &list[i]
		switch rapid.IntRange(0, 3).Draw(rt, "operation") {
		case 0:
			if p.size > 1 {
				low := rapid.Uint32Range(1, p.size-1).Draw(rt, "low")
				up := piece{id: tab.Split(p.id, low), size: p.size - low}
				p.size = low
				list = append(list[:i+1], append([]piece{up}, list[i+1:]...)...)
			}
		case 1:
			if i+1 < len(list) {
				tab.Merge(p.id)
				p.size += list[i+1].size
				list = append(list[:i+1], list[i+2:]...)
			}
		case 2:
			tab.SetUsed(p.id)
			p.used = true
		case 3:
			tab.SetFree(p.id)
			p.used = false
		}
		compare(rt, tab, list, end)
		if want := reserved + len(list) + 1; tab.Len() != want {
			rt.Fatalf("%d records in use, want %d", tab.Len(), want)
		}
	}
}

func compare[Y any](rt *rapid.T, tab *blocks.Chain[Y], list []piece, end blocks.ID) {
	at, prev, id := uint32(7), blocks.None, list[0].id
	for _, p := range list {
		switch n := tab.Nodes[id]; {
		case id != p.id || n.Start != at || tab.Size(id) != p.size:
			rt.Fatalf("block %d at %d of %d, want %d at %d of %d", id, n.Start, tab.Size(id), p.id, at, p.size)
		case tab.Prev(id) != prev:
			rt.Fatalf("block %d: lower neighbour %d, want %d", id, tab.Prev(id), prev)
		case tab.Used(id) != p.used || tab.Live(id) != p.used:
			rt.Fatalf("block %d: used is %t, live %t, want %t", id, tab.Used(id), tab.Live(id), p.used)
		}
		at += p.size
		prev, id = id, tab.Next(id)
	}
	if id != end || tab.Prev(end) != prev || tab.Next(end) != blocks.None || !tab.Used(end) || tab.Live(end) {
		rt.Fatalf("the chain ends with %d, which is not the marked end node %d", id, end)
	}
}

func TestRecordsThatAreNoBlocks(t *testing.T) {
	var tab blocks.Table
	heads := blocks.Reserve(&tab, 3)
	for i := range blocks.ID(3) {
		if n := tab.Nodes[heads+i]; n.X != heads+i || n.Y != heads+i {
			t.Errorf("reserved record %d is linked to %d and %d", heads+i, n.X, n.Y)
		}
	}
	a := tab.Region(0, 100)
	b := tab.Split(a, 40)
	tab.SetUsed(b)
	tab.Merge(a)
	for _, id := range []blocks.ID{heads, heads + 2, b, tab.Next(a), 1 << 20, blocks.None, 1<<32 - 1} {
		if tab.Live(id) {
			t.Errorf("record %d is live", id)
		}
	}
	if again := tab.Take(); again != b {
		t.Errorf("takes record %d, want the dropped %d", again, b)
	}
}

func TestMoveEnd(t *testing.T) {
	var tab blocks.Table
	a := tab.Region(8, 100)
	tab.MoveEnd(tab.Next(a), 120)
	if tab.Size(a) != 112 {
		t.Errorf("size %d, want 112", tab.Size(a))
	}
}

func TestPopLeavesNodesInPlace(t *testing.T) {
	var tab blocks.Table
	id := tab.Region(0, 1<<20)
	for range 1000 {
		tab.Spare()
		before := &tab.Nodes[0]
		tab.Drop(tab.Pop())
		if before != &tab.Nodes[0] {
			t.Fatal("Pop after Spare moves Nodes")
		}
		id = tab.Split(id, 1)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var tab blocks.Table
	a := tab.Region(0, 100)
	if allocs := testing.AllocsPerRun(100, func() {
		tab.Split(a, 10)
		tab.Merge(a)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
