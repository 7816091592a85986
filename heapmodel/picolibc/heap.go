package picolibc

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is one heap. The granule of its table is two words, counted from the
// first chunk.
//
// A free chunk in a bucket is marked used in the table, so that nothing merges
// with it; its X is inBucket and the next chunk in the bucket.
type heap struct {
	t          blocks.SlimTable
	free       *fit.SlimIndex // the list, by address
	use        heapmodel.Usage
	shift      uint   // log2 of two words
	lead       uint64 // address of the first chunk; also bytes of a header
	limit      uint64 // of the break
	head, end  blocks.ID
	bucketMost uint64 // bytes of the largest chunk from a bucket; 0: no buckets
	buckets    []blocks.ID
	smallBytes uint64 // in buckets
	small      uint64 // chunks in buckets
}

// inBucket is a bit that the place of no chunk in an index has.
const inBucket = 1 << 31

func (h *heap) bytes(granules uint32) uint64 { return uint64(granules) << (h.shift & 63) }

func (h *heap) addr(granules uint32) uint64 { return uint64(granules)<<(h.shift&63) + h.lead }

// chunk returns the bytes of the chunk for a request of at most MaxSize and some
// more, not rounded up to a bucket.
func (h *heap) chunk(size uint64) uint64 {
	mask := uint64(1)<<h.shift - 1
	return (size + h.lead + mask) &^ mask
}

// bucketFor returns the bucket for a chunk of at most bucketMost bytes, and the
// bytes of the chunks in it.
func (h *heap) bucketFor(bytes uint64) (bucket int, size uint64) {
	extra := uint64(1) << h.shift
	log2 := leastBucketLog2
	if bytes > 1<<leastBucketLog2+extra {
		log2 = bits.Len64(bytes - extra - 1)
	}
	return log2 - leastBucketLog2, 1<<log2 + extra
}

// bucketOf returns the bucket of chunks of a size, -1 if the size has none.
func (h *heap) bucketOf(granules uint32) int {
	bytes := h.bytes(granules)
	if bytes > h.bucketMost {
		return -1
	}
	bucket, size := h.bucketFor(bytes)
	if size != bytes {
		return -1
	}
	return bucket
}

// roomy returns what memalign asks malloc for.
func (h *heap) roomy(size uint64, align uint32) uint64 {
	return h.chunk(size) + uint64(max(align, 4)) + 1<<h.shift
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	ask := size
	if align != 0 {
		ask = h.roomy(size, align)
	}
	id := h.malloc(h.chunk(ask))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	if align != 0 {
		id = h.trim(id, uint32(h.chunk(size)>>h.shift), max(align, 4))
	}
	h.mark(id)
	return heapmodel.Ref(id), true
}

// mark raises the high-water mark to the end of a used chunk.
func (h *heap) mark(id blocks.ID) {
	end := h.t.Nodes[h.t.Next(id)].Start
	h.use.HighWater = max(h.use.HighWater, h.addr(end))
}

// malloc returns a used chunk of at least so many bytes, blocks.None if there is
// no memory for it.
func (h *heap) malloc(bytes uint64) blocks.ID {
	u := &h.use
	if bytes <= h.bucketMost {
		return h.fromBucket(h.bucketFor(bytes))
	}
	p, passed := fit.NoPos, uint64(0)
	if bytes <= h.limit {
		p, passed = h.free.Walk(uint32(bytes>>(h.shift&63)), 0)
	}
	if p == fit.NoPos {
		u.Steps += uint64(h.free.Len())
		return h.rise(bytes)
	}
	u.Steps += passed + 1
	want := uint32(bytes >> (h.shift & 63))
	id, room := h.free.At(p)
	rest := room - want
	if rest == 0 {
		h.free.Remove(p)
		u.FreeBlocks--
		h.t.SetUsed(id)
	} else {
		// [id............] -> [id: want][up: rest]
		h.t.Spare()
		up, nodes := h.t.Pop(), h.t.Nodes
		n := &nodes[id]
		start, after := n.Start+want, n.High
		b := &nodes[up]
		b.Start, b.Low, b.High = start, id, after
		n.High = up
		n.Low |= blocks.UsedBit
		above := &nodes[after]
		above.Low = up | above.Low&blocks.UsedBit
		h.free.Update(p, up, start, rest)
		if h.buckets != nil {
			h.settle(up, rest)
		}
	}
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	return id
}

// fromBucket returns a used chunk of a bucket's size.
func (h *heap) fromBucket(bucket int, bytes uint64) blocks.ID {
	u := &h.use
	u.Steps++
	id := h.buckets[bucket]
	if id == blocks.None {
		return h.rise(bytes)
	}
	n := &h.t.Nodes[id]
	h.buckets[bucket] = n.X &^ inBucket
	n.X = 0
	h.small--
	h.smallBytes -= bytes
	u.FreeBlocks--
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	return id
}

// settle moves a chunk of the list to a bucket if it has such a size now.
func (h *heap) settle(id blocks.ID, size uint32) {
	if bucket := h.bucketOf(size); bucket >= 0 {
		h.free.Remove(h.free.Find(id))
		h.push(id, bucket)
	}
}

// push puts a chunk that is on no list on top of a bucket.
func (h *heap) push(id blocks.ID, bucket int) {
	h.t.SetUsed(id)
	n := &h.t.Nodes[id]
	n.X = h.buckets[bucket] | inBucket
	h.buckets[bucket] = id
	h.small++
	h.smallBytes += h.bytes(h.t.Size(id))
}

// rise returns a used chunk at the break, which rises for it; blocks.None if it
// must not.
func (h *heap) rise(bytes uint64) blocks.ID {
	u := &h.use
	if bytes > h.limit-u.Arena {
		return blocks.None
	}
	grown := heapmodel.Growth{Need: bytes, Free: u.Free, LargestFree: h.LargestFree()}
	want := uint32(bytes >> h.shift)
	var id blocks.ID
	if h.head == blocks.None {
		if bytes+h.lead > h.limit {
			// The request for the bytes in front is refused, and the memory is
			// lost. What is left to the limit is less than the least chunk.
			u.Arena += bytes
			u.Overhead += bytes
			return blocks.None
		}
		id = h.t.Region(0, want)
		h.head, h.end = id, h.t.Next(id)
		u.Arena = h.lead
		u.Overhead = h.lead
	} else {
		// [last] break -> [last][id] break
		last := h.t.Prev(h.end)
		size := h.t.Size(last)
		h.t.MoveEnd(h.end, h.t.Nodes[h.end].Start+want)
		id = h.t.Split(last, size)
	}
	h.t.SetUsed(id)
	u.Arena += bytes
	u.UsedBlocks++
	u.Allocated += bytes
	u.Grown = grown
	return id
}

// trim cuts a used chunk of want granules with an aligned payload out of a used
// one that has room for it, and frees the rest.
func (h *heap) trim(id blocks.ID, want, align uint32) blocks.ID {
	payload := h.addr(h.t.Nodes[id].Start) + h.lead
	mask := uint64(align) - 1
	if front := (payload+mask)&^mask - payload; front > 0 {
		// [id..............] -> [free: front][id......]
		id = h.cut(id, uint32(front>>h.shift))
		h.release(h.t.Prev(id))
	}
	if h.t.Size(id) > want {
		// [id..............] -> [id: want][free]
		h.release(h.cut(id, want))
	}
	return id
}

// cut cuts a used chunk and returns the upper part, used as well.
func (h *heap) cut(id blocks.ID, granules uint32) blocks.ID {
	up := h.t.Split(id, granules)
	h.t.SetUsed(up)
	h.use.UsedBlocks++
	return up
}

// live reports whether a Ref is a chunk in use.
func (h *heap) live(r heapmodel.Ref) bool {
	return h.t.Live(blocks.ID(r)) && h.t.Nodes[r].X&inBucket == 0
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	if !h.live(r) {
		panic(fmt.Sprintf("picolibc: free of object %d, which is not live", r))
	}
	h.release(blocks.ID(r))
}

// release puts a used chunk into its bucket, or on the list and merges it with
// free neighbours there.
func (h *heap) release(id blocks.ID) {
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high, start := n.Low&^blocks.UsedBit, n.High, n.Start
	above := &nodes[high]
	size := above.Start - start
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= h.bytes(size)
	u.Free += h.bytes(size)
	if h.buckets != nil {
		if bucket := h.bucketOf(size); bucket >= 0 {
			u.FreeBlocks++
			h.push(id, bucket)
			return
		}
	}
	n.Low = low
	joinHigh := above.Low&blocks.UsedBit == 0 // an end node is used
	if joinHigh {
		u.Steps++
		size += nodes[above.High].Start - above.Start
	}
	switch {
	case low != blocks.None && nodes[low].Low&blocks.UsedBit == 0:
		// [low][id] -> [low.....]
		u.Steps++
		if joinHigh {
			h.free.Remove(h.free.Find(high))
			u.FreeBlocks--
			h.t.Merge(id)
		}
		p := h.free.Find(low)
		u.Steps += uint64(h.free.Rank(p)) + 1
		size += start - nodes[low].Start
		h.free.Update(p, low, nodes[low].Start, size)
		h.t.Merge(low)
		id = low
	case joinHigh:
		// [id][high] -> [id......]
		p := h.free.Find(high)
		u.Steps += uint64(h.free.Rank(p))
		h.free.Update(p, id, start, size)
		h.t.Merge(id)
	default:
		u.FreeBlocks++
		u.Steps += uint64(h.free.Rank(h.free.Insert(id, start, size)))
		return
	}
	if h.buckets != nil {
		h.settle(id, size)
	}
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	if !h.live(r) {
		panic(fmt.Sprintf("picolibc: realloc of object %d, which is not live", r))
	}
	id := blocks.ID(r)
	if size == 0 {
		h.release(id)
		return heapmodel.NullRef, true
	}
	if size > heapmodel.MaxSize {
		return r, false
	}
	was, now := h.bytes(h.t.Size(id)), h.chunk(size)
	bucketSized := h.bucketOf(h.t.Size(id)) >= 0
	switch {
	case now <= was:
		if now < was && !bucketSized {
			h.release(h.cut(id, uint32(now>>h.shift)))
		}
		return r, true
	case !bucketSized && h.t.Next(id) == h.end && now-was <= h.limit-h.use.Arena:
		h.stretch(id, now-was)
		return r, true
	default:
		return heapmodel.Move(h, r, size, 0)
	}
}

// stretch makes the last chunk longer by raising the break.
func (h *heap) stretch(id blocks.ID, more uint64) {
	u := &h.use
	u.Grown = heapmodel.Growth{Need: more, Free: u.Free, LargestFree: h.LargestFree()}
	h.t.MoveEnd(h.end, h.t.Nodes[h.end].Start+uint32(more>>h.shift))
	u.Arena += more
	u.Allocated += more
	h.mark(id)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.addr(h.t.Nodes[r].Start) + h.lead)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return 1 << h.shift }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if align != 0 {
		size = h.roomy(size, align)
	}
	bytes := h.chunk(size)
	if bytes <= h.bucketMost {
		_, bytes = h.bucketFor(bytes)
	}
	return bytes
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(buckets), of which there are 17 at
// most.
func (h *heap) LargestFree() uint64 {
	largest := h.bytes(h.free.Largest())
	for bucket := len(h.buckets) - 1; bucket >= 0; bucket-- {
		if h.buckets[bucket] != blocks.None {
			return max(largest, 1<<(bucket+leastBucketLog2)+1<<h.shift)
		}
	}
	return largest
}
