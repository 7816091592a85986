package segstorage

import (
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	h.use.Steps++
	class, ok := h.classOf(h.want(size, align))
	if !ok {
		return heapmodel.NullRef, false
	}
	if h.lists[class].free == 0 && !h.cut(class) {
		return heapmodel.NullRef, false
	}
	id := h.pop(class)
	o := &h.t.Nodes[id]
	o.Low = inUse
	start := h.At(h.startOf(id))
	o.Start = 0
	if uint64(align) > h.Grain {
		// Payloads are aligned already, so the gap is a number of granules.
		o.Start = uint32((uint64(align) - (start+h.Header)%uint64(align)) % uint64(align) >> h.Shift)
	}
	bytes := h.Bytes(h.sizes[class])
	u := &h.use
	u.UsedBlocks++
	u.FreeBlocks--
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, start+bytes)
	return heapmodel.Ref(id), true
}

// want returns the bytes that an object must have for a request, at most
// 2^63.
func (h *heap) want(size uint64, align uint32) uint64 {
	want := h.Block(min(size, heapmodel.MaxSize))
	if uint64(align) > h.Grain {
		want += uint64(align) - h.Grain
	}
	return want
}

// classOf returns the class whose objects have at least so many bytes. ok is
// false if no object is that large.
func (h *heap) classOf(bytes uint64) (class uint32, ok bool) {
	if bytes > h.Bytes(1<<32-2) {
		return 0, false
	}
	want := uint32(bytes >> h.Shift)
	low, high := 0, h.named
	for low < high {
		if mid := (low + high) / 2; h.sizes[mid] < want {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < h.named {
		return uint32(low), true
	}
	if !h.paged {
		return 0, false
	}
	return h.wideClass(want)
}

// wideClass returns the class of objects of the fewest whole pages that have at
// least want granules. It is new if there was no request for it.
func (h *heap) wideClass(want uint32) (class uint32, ok bool) {
	size := (uint64(want) + uint64(h.page) - 1) / uint64(h.page) * uint64(h.page)
	if size > uint64(h.Top(h.Limit)) {
		return 0, false // it could never be obtained, so it needs no list
	}
	at, known := slices.BinarySearchFunc(h.wide, uint32(size), h.compareSize)
	if known {
		return h.wide[at], true
	}
	class = uint32(len(h.sizes))
	h.sizes = append(h.sizes, uint32(size))
	h.lists = append(h.lists, empty)
	h.wide = slices.Insert(h.wide, at, class)
	return class, true
}

func (h *heap) compareSize(class, size uint32) int {
	return int(int64(h.sizes[class]) - int64(size))
}

// cut obtains pages for a class and puts the objects they make on its empty
// list. It reports whether there were such pages.
func (h *heap) cut(class uint32) bool {
	size := uint64(h.sizes[class])
	pages := (size + uint64(h.page) - 1) / uint64(h.page)
	length := pages * uint64(h.page)
	if uint64(h.next)+length > uint64(h.top) && !h.grow(class, length) {
		return false
	}
	count := uint32(length / size)
	first := blocks.Reserve(&h.t, int(count))
	for i := range count {
		h.t.Nodes[first+i] = blocks.Node{Low: first + i + 1, High: uint32(len(h.runs))}
	}
	h.t.Nodes[first+count-1].Low = none
	h.runs = append(h.runs, run{start: h.next, first: first, class: class})
	h.lists[class] = list{head: first, tail: first + count - 1, free: count}
	if h.order == byAddress {
		for i := range count {
			h.sorted.Insert(first+i, h.next+i*uint32(size), class+1)
		}
	}
	u := &h.use
	u.Steps += uint64(count)
	u.FreeBlocks += uint64(count)
	u.Free -= length << h.Shift
	u.Free += uint64(count) * h.Bytes(uint32(size))
	u.Overhead += (length - uint64(count)*size) << h.Shift
	h.next += uint32(length)
	if h.untouched() == 0 {
		u.FreeBlocks--
	}
	return true
}

// untouched returns the granules of whole pages that no class has yet.
func (h *heap) untouched() uint32 { return (h.top - h.next) / h.page * h.page }

// grow raises the break so that length granules are untouched, and reports
// whether it may.
func (h *heap) grow(class uint32, length uint64) bool {
	end := h.At(h.next) + length<<h.Shift
	size, ok := h.Quanta(h.brk, end-h.brk)
	if !ok {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: h.Bytes(h.sizes[class]), Free: h.use.Free, LargestFree: h.LargestFree()}
	h.obtain(size)
	return true
}

// obtain raises the break by so many bytes.
func (h *heap) obtain(size uint64) {
	was := h.untouched()
	h.brk += size
	h.top = h.Top(h.brk)
	more := h.Bytes(h.untouched() - was)
	u := &h.use
	u.Arena += size
	u.Free += more
	// The difference may be negative when lost bytes become part of a page.
	u.Overhead += size - more
	if was == 0 && more > 0 {
		u.FreeBlocks++
	}
}

// pop takes the first object off a list that is not empty.
func (h *heap) pop(class uint32) uint32 {
	l := &h.lists[class]
	l.free--
	if h.order == byAddress {
		p := h.sorted.FirstFit(class + 1)
		id, _ := h.sorted.At(p)
		h.sorted.Remove(p)
		return id
	}
	id := l.head
	if l.head = h.t.Nodes[id].Low; l.head == none {
		l.tail = none
	}
	return id
}

// push puts a freed object on a list.
func (h *heap) push(class, id uint32) {
	l, o := &h.lists[class], &h.t.Nodes[id]
	l.free++
	switch {
	case h.order == byAddress:
		o.Low = none
		p := h.sorted.Insert(id, h.startOf(id), class+1)
		h.use.Steps += uint64(h.sorted.Rank(p) - h.sorted.Rank(h.sorted.FirstFit(class+1)))
	case h.order == lifo || l.head == none:
		o.Low = l.head
		if l.head = id; o.Low == none {
			l.tail = id
		}
	default:
		o.Low = none
		h.t.Nodes[l.tail].Low = id
		l.tail = id
	}
}

// startOf returns the granule at which an object's block begins.
func (h *heap) startOf(id uint32) uint32 {
	r := &h.runs[h.t.Nodes[id].High]
	return r.start + (id-r.first)*h.sizes[r.class]
}

// live returns the record of a live object and its class, and panics if there
// is none.
func (h *heap) live(r heapmodel.Ref) (o *blocks.Node, class uint32) {
	if uint64(r) >= uint64(len(h.t.Nodes)) || h.t.Nodes[r].Low != inUse {
		panic("segstorage: the Ref is not that of a live object")
	}
	o = &h.t.Nodes[r]
	return o, h.runs[o.High].class
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	_, class := h.live(r)
	h.push(class, uint32(r))
	bytes := h.Bytes(h.sizes[class])
	u := &h.use
	u.UsedBlocks--
	u.FreeBlocks++
	u.Allocated -= bytes
	u.Free += bytes
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	o, class := h.live(r)
	if h.inPlace {
		want := h.want(size, 0) + h.Bytes(o.Start)
		if now, ok := h.classOf(want); ok && now == class {
			return r, true
		}
	}
	return heapmodel.Move(h, r, size, align)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.At(h.startOf(uint32(r))+h.t.Nodes[r].Start) + h.Header)
}
