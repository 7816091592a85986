package formats

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// TestTable compares a table with a map, on keys so close together that they
// meet again and again.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got table
		want := map[uint64]uint32{}
		keys := rapid.OneOf(rapid.Uint64Range(0, 40), rapid.Just(uint64(1<<63)), rapid.Uint64())
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			key := keys.Draw(t, "key")
			old, was := want[key]
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				val := rapid.Uint32Max(1<<32-2).Draw(t, "val")
				got.put(key, val)
				want[key] = val
			case 1:
				e, known := got.place(key)
				if known != was || known && e.val != old+1 {
					t.Fatalf("place %d: %d, %v, want %d, %v", key, e.val, known, old+1, was)
				}
				e.val = 7 + 1
				want[key] = 7
			case 2:
				if val, ok := got.remove(key); ok != was || val != old {
					t.Fatalf("remove %d: %d, %v, want %d, %v", key, val, ok, old, was)
				}
				delete(want, key)
			}
			if got.used != len(want) {
				t.Fatalf("%d entries, want %d", got.used, len(want))
			}
		}
		for key, val := range want {
			if v, ok := got.get(key); !ok || v != val {
				t.Fatalf("get %d: %d, %v, want %d", key, v, ok, val)
			}
		}
		all := map[uint64]uint32{}
		for _, e := range got.entries {
			if e.val != 0 {
				all[e.key] = e.val - 1
			}
		}
		if !maps.Equal(all, want) {
			t.Fatalf("holds %v, want %v", all, want)
		}
	})
}

// TestTableLoad fills a table with many keys of a pattern, as addresses have
// it, and measures how far from home they stand.
func TestTableLoad(t *testing.T) {
	for name, key := range map[string]func(i uint64) uint64{
		"dense":      func(i uint64) uint64 { return i },
		"16 apart":   func(i uint64) uint64 { return 0x7f00_0000_0010 + i<<4 },
		"pages":      func(i uint64) uint64 { return i << 12 },
		"high bits":  func(i uint64) uint64 { return i << 40 },
		"reversed":   func(i uint64) uint64 { return ^(i << 5) },
		"two arenas": func(i uint64) uint64 { return i&1<<46 + i<<4 },
	} {
		var tab table
		const count = 3 << 14 // exactly full
		for i := range uint64(count) {
			tab.put(key(i), uint32(i))
		}
		if len(tab.entries) != 4<<14 {
			t.Fatalf("%s: %d places", name, len(tab.entries))
		}
		steps := 0
		for i, e := range tab.entries {
			if e.val != 0 {
				steps += (i - tab.home(e.key)) & (len(tab.entries) - 1)
			}
		}
		// Linear probing at 3/4 full: 1.5 steps on average for keys at random.
		if mean := float64(steps) / count; mean > 2.5 {
			t.Errorf("%s: %.2f steps on average", name, mean)
		}
	}
}
