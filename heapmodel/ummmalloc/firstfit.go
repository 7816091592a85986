package ummmalloc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// firstFit is a first-fit heap. Its chunks are records that know their
// neighbours, 16 bytes a chunk whatever its size.
//
// Which neighbours of a freed chunk are free is as good as random, and a wrong
// guess of a branch costs as much as a third of all there is to do. So Free does
// not branch on it: it goes through a merge on both sides, with masks, and with
// slot 0 of the list, which is no chunk's, where there is nothing to merge. With
// branches it guessed wrong 0.9 times a free, which took a tenth of the time of
// the trace long.
type firstFit struct {
	base
	chunks []chunk
	list   list
	spare  uint32 // chain of unused records through high; zero ends it
}

// chunk is the record of one chunk. The list head and the end marker have
// records too, as used chunks that nobody can free.
type chunk struct {
	start uint32 // number of its first block
	low   uint32 // chunk below
	high  uint32 // chunk above
	slot  uint32 // in the list; zero in a used chunk, and not in an unused record
}

// The first records.
const (
	listHead  = 0
	endMarker = 1
	lowest    = 2 // the first chunk; ordinary chunks have records from there on
)

func newFirstFit(b base, count uint32) *firstFit {
	h := &firstFit{base: b, list: newList()}
	h.chunks = []chunk{
		listHead:  {start: 0, low: listHead, high: lowest},
		endMarker: {start: count - 1, low: lowest, high: endMarker},
		lowest:    {start: 1, low: listHead, high: endMarker},
	}
	// One object that is freed is the empty heap.
	u := &h.use
	u.UsedBlocks, u.FreeBlocks = 1, 0
	u.Allocated, u.Free = u.Free, 0
	h.Free(lowest)
	return h
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *firstFit) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size-1 >= heapmodel.MaxSize {
		return heapmodel.NullRef, size == 0
	}
	u, l := &h.use, &h.list
	want := h.want(size)
	if want > l.limit || h.spare == 0 {
		return h.allocSlow(want)
	}
	class, pattern := l.class, uint64(min(want, topClass))*ones
	w := l.top / lanes
	word := class[w]
	hits, passed := fits(word, pattern), uint64(0)
	for hits == 0 { // there are some behind the end
		passed += taken(word)
		w++
		word = class[w]
		hits = fits(word, pattern)
	}
	shift := uint32(bits.TrailingZeros64(hits)) & 63 &^ 7
	slot := w*lanes + shift/8
	room, id := l.entry[slot].size(), l.entry[slot].id()
	if room < want {
		return h.allocSlow(want) // smaller, but of the class; or the end
	}
	steps := uint64(total(passed + taken(word)&(hits^(hits-1))))
	rest := room - want // if zero, so is its class: it is off the list
	word &^= 0xff << shift
	class[w] = word | uint64(min(rest, topClass))<<shift
	l.entry[slot] = makeEntry(id, rest)
	chunks := h.chunks
	n := &chunks[id]
	end := n.start + want
	got := uint64(want) * h.body
	u.Steps += steps
	u.UsedBlocks++
	u.Allocated += got
	u.Free -= got
	if high := uint64(end) * h.body; high > u.HighWater {
		u.HighWater = high
	}
	if rest == 0 {
		if slot == l.top {
			l.top++
		}
		n.slot = 0
		u.FreeBlocks--
		return heapmodel.Ref(id), true
	}
	// [low][id........] -> [low][cut][id...]: what remains keeps its record, and
	// so its place in the list.
	cut, low := h.spare, n.low
	b := &chunks[cut]
	h.spare = b.high
	b.start, b.low, b.high, b.slot = n.start, low, id, 0
	n.start, n.low = end, cut
	chunks[low].high = cut
	return heapmodel.Ref(cut), true
}

// allocSlow is Alloc where there may be no chunk that is large enough, no spare
// record, or a long list.
//
//go:noinline
func (h *firstFit) allocSlow(want uint32) (heapmodel.Ref, bool) {
	u, l := &h.use, &h.list
	if want > l.limit && !l.long() {
		u.Steps += u.FreeBlocks
		return heapmodel.NullRef, false
	}
	slot, steps := l.first(want)
	u.Steps += uint64(steps)
	if slot == 0 {
		return heapmodel.NullRef, false
	}
	id, rest := l.entry[slot].id(), l.entry[slot].size()-want
	u.UsedBlocks++
	u.Allocated += h.bytes(want)
	u.Free -= h.bytes(want)
	h.mark(h.chunks[id].start + want)
	if rest == 0 {
		l.remove(slot)
		h.chunks[id].slot = 0
		u.FreeBlocks--
		return heapmodel.Ref(id), true
	}
	l.shrink(slot, rest)
	cut := h.take()
	n := &h.chunks[id]
	h.chunks[cut] = chunk{start: n.start, low: n.low, high: id}
	h.chunks[n.low].high = cut
	n.start += want
	n.low = cut
	return heapmodel.Ref(cut), true
}

// take returns an unused record.
func (h *firstFit) take() uint32 {
	if h.spare == 0 {
		n := len(h.chunks)
		if n == cap(h.chunks) {
			// Growing by a sixteenth keeps the memory a chunk near its 16 bytes.
			grown := make([]chunk, n, n+max(64, n/16))
			copy(grown, h.chunks)
			h.chunks = grown
		}
		h.chunks = h.chunks[:n+1]
		return uint32(n)
	}
	id := h.spare
	h.spare = h.chunks[id].high
	return id
}

// Free implements heapmodel.Heap.
func (h *firstFit) Free(r heapmodel.Ref) {
	chunks, id := h.chunks, uint32(r)
	if uint(id) >= uint(len(chunks)) || id < lowest || chunks[id].slot != 0 {
		if r != heapmodel.NullRef {
			notLive(r)
		}
		return
	}
	u, l := &h.use, &h.list
	if l.top <= l.floor {
		l.relay(chunks)
	}
	n := &chunks[id]
	low, high := n.low, n.high
	lo, hi := &chunks[low], &chunks[high]
	slot, gone := lo.slot, hi.slot
	// 1 if that neighbour is free, which has a slot, 0 if not.
	joinsLow, joinsHigh := -slot>>31, -gone>>31
	size := uint64(hi.start-n.start) * h.body
	u.UsedBlocks--
	u.Allocated -= size
	u.Free += size
	u.FreeBlocks -= uint64(joinsLow+joinsHigh) - 1
	u.Steps += uint64(joinsLow + joinsHigh)

	// The slot of low, or else the next below top, which moves up by one if
	// what is there goes.
	top := l.top
	top += ((gone ^ top) - 1) >> 31
	slot |= (top - 1) & (joinsLow - 1)
	l.top = top - 1 + joinsLow
	n.slot = slot

	// [low][id][high][above] -> [into...........][above], or less of it. The
	// records of id, if it joins low, and of high become spare.
	ifLow, ifHigh := -joinsLow, -joinsHigh
	spare, after := h.spare, hi.high
	n.high = spare
	spare ^= (spare ^ id) & ifLow
	hi.high = after ^ (after^spare)&ifHigh
	h.spare = spare ^ (spare^high)&ifHigh
	into, above := id^(id^low)&ifLow, high^(high^after)&ifHigh
	f, a := &chunks[into], &chunks[above]
	f.high, a.low = above, into

	room := a.start - f.start
	l.entry[slot] = makeEntry(into, room)
	class := l.class
	class.clear(gone)
	class.set(slot, room)
	if room > l.limit {
		l.rise(slot, room, 1-joinsLow, gone, joinsHigh)
	}
}

// Realloc implements heapmodel.Heap.
func (h *firstFit) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	return realloc(h, r, size)
}

func (h *firstFit) live(r heapmodel.Ref) bool {
	return r >= lowest && uint64(r) < uint64(len(h.chunks)) && !h.isFree(uint32(r))
}

func (h *firstFit) isFree(id uint32) bool { return h.chunks[id].slot != 0 }

// size returns the blocks of a chunk.
func (h *firstFit) size(id uint32) uint32 {
	n := &h.chunks[id]
	return h.chunks[n.high].start - n.start
}

func (h *firstFit) resize(id, want uint32) (at uint32, ok bool) {
	low, high := h.chunks[id].low, h.chunks[id].high
	var below, above uint32 // blocks of the free neighbours
	if h.isFree(low) {
		below = h.size(low)
	}
	if h.isFree(high) {
		above = h.size(high)
	}
	takeLow, takeHigh, ok := joins(h.size(id), below, above, want)
	if !ok {
		return id, false
	}
	if takeHigh {
		h.unlink(high)
		h.merge(id)
	}
	if takeLow {
		h.unlink(low)
		h.merge(low)
		id = low
	}
	end := h.chunks[id].start + want
	h.mark(end)
	if h.size(id) > want {
		// [id............] -> [id: want][up: an object that is freed]
		up := h.take()
		n := &h.chunks[id]
		h.chunks[up] = chunk{start: end, low: id, high: n.high}
		h.chunks[n.high].low = up
		n.high = up
		h.use.UsedBlocks++
		h.Free(heapmodel.Ref(up))
	}
	return id, true
}

// unlink takes a free chunk off the list, for a used neighbour.
func (h *firstFit) unlink(id uint32) {
	n, u := &h.chunks[id], &h.use
	h.list.remove(n.slot)
	n.slot = 0
	size := h.bytes(h.size(id))
	u.FreeBlocks--
	u.Allocated += size
	u.Free -= size
	u.Steps++
}

// merge joins a chunk with the one above: [id][up] -> [id....].
func (h *firstFit) merge(id uint32) {
	n := &h.chunks[id]
	up := n.high
	b := &h.chunks[up]
	n.high = b.high
	h.chunks[n.high].low = id
	b.slot, b.high = 1, h.spare
	h.spare = up
}

// Addr implements heapmodel.Heap.
func (h *firstFit) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.bytes(h.chunks[r].start) + header)
}

// LargestFree implements heapmodel.Heap. O(1) as long as the largest stays, else
// O(free chunks/8).
func (h *firstFit) LargestFree() uint64 { return h.bytes(h.list.largest()) }
