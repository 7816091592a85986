package formats

import (
	"hash/maphash"
	"math/bits"
)

// table maps 64-bit keys to 32-bit values: open addressing with linear
// probing, at most 3/4 full, 16 bytes an entry so that a look-up touches one
// line of the cache. A plain map costs several times as much per event and
// this is the hottest part of every import.
type table struct {
	entries []entry // a power of two of them, or none
	used    int
}

type entry struct {
	key uint64
	val uint32 // value + 1; zero marks an empty place
}

// tableSeed makes the places of keys different in every run, so that no input
// can be made up whose keys all want the same place. Nothing that is printed
// depends on it.
var tableSeed = maphash.Bytes(maphash.MakeSeed(), nil)

func (t *table) home(key uint64) int {
	hi, lo := bits.Mul64(key^tableSeed, 0xd6e8feb86659fd93)
	return int((hi ^ lo) & uint64(len(t.entries)-1))
}

// find returns the place of key, or the empty place where it would go. The
// table must have places.
func (t *table) find(key uint64) (int, bool) {
	entries := t.entries
	i := t.home(key)
	for entries[i].val != 0 {
		if entries[i].key == key {
			return i, true
		}
		i = (i + 1) & (len(entries) - 1)
	}
	return i, false
}

func (t *table) get(key uint64) (uint32, bool) {
	if t.used == 0 {
		return 0, false
	}
	i, ok := t.find(key)
	if !ok {
		return 0, false
	}
	return t.entries[i].val - 1, true
}

func (t *table) put(key uint64, val uint32) {
	e, _ := t.place(key)
	e.val = val + 1
}

// place returns the entry of key, whose val the caller sets at once, and
// whether key was in the table before. The entry is valid until the next put
// or remove.
func (t *table) place(key uint64) (e *entry, was bool) {
	if 4*(t.used+1) > 3*len(t.entries) {
		t.grow()
	}
	i, was := t.find(key)
	e = &t.entries[i]
	if !was {
		t.used++
		e.key = key
	}
	return e, was
}

func (t *table) grow() {
	old := t.entries
	t.entries = make([]entry, max(64, 2*len(old)))
	for _, e := range old {
		if e.val != 0 {
			i, _ := t.find(e.key)
			t.entries[i] = e
		}
	}
}

func (t *table) remove(key uint64) (uint32, bool) {
	if t.used == 0 {
		return 0, false
	}
	i, ok := t.find(key)
	if !ok {
		return 0, false
	}
	entries := t.entries
	val := entries[i].val - 1
	t.used--
	// Close the gap: move back every later entry of the run that may stand here.
	mask := len(entries) - 1
	for j := i; ; {
		j = (j + 1) & mask
		if entries[j].val == 0 {
			break
		}
		if (j-t.home(entries[j].key))&mask >= (j-i)&mask {
			entries[i] = entries[j]
			i = j
		}
	}
	entries[i].val = 0
	return val, true
}
