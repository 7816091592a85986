package dlmalloc_test

import (
	"math/bits"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
)

// chunk is a chunk of the naive heap, in bytes.
type chunk struct {
	start, size uint64
	used        bool
	// Of a chunk in a tree: children, and the chunks of equal size, oldest first.
	child [2]*chunk
	later []*chunk
	born  int // when it was binned
}

// naive is dlmalloc as its description has it: chunks in address order, small
// bins as slices that begin with the newest, tries of pointers. Beside the
// tries it keeps a plain list of their chunks, and asserts that the search in
// the tries finds the smallest that fits and, of equals, the oldest. It counts
// steps while it walks. Methods that a replay does not call are missing.
type naive struct {
	heapmodel.Heap
	word, wordBits uint64
	chunks         []*chunk // without the top
	small          [32][]*chunk
	roots          [32]*chunk
	large          []*chunk // all in tries
	dv             *chunk
	topStart, top  uint64 // bytes
	brk, limit     uint64 // of the global heap
	contiguous     bool
	objects        []*chunk
	use            heapmodel.Usage
	clock          int
}

func newMspace(capacity, word uint64) *naive {
	state, foot := uint64(480), uint64(40)
	if word == 8 {
		state, foot = 944, 80
	}
	return &naive{word: word, wordBits: 8 * word, topStart: state, top: capacity - state - foot}
}

func newGlobal(limit, word uint64) *naive {
	return &naive{word: word, wordBits: 8 * word, limit: limit, contiguous: true}
}

func (h *naive) step() { h.use.Steps++ }

func (h *naive) need(n uint64) uint64 {
	a := 2 * h.word
	if n < 3*h.word-1 {
		return 4 * h.word
	}
	return (n + h.word + a - 1) / a * a
}

func (h *naive) index(c *chunk) int { return slices.Index(h.chunks, c) }

// treeIndex returns the tree bin of a size and its bits from the first that the
// bin leaves open on.
func (h *naive) treeIndex(size uint64) (int, []int) {
	x := size >> 8
	i, first := 31, int(h.wordBits)-1
	if x <= 65535 {
		k := 0
		if x > 0 {
			k = bits.Len64(x) - 1
			i = 2*k + int(size>>(k+7)&1)
		} else {
			i = 0
		}
		first = i/2 + 6
	}
	var key []int
	for b := first; b >= 0; b-- {
		key = append(key, int(size>>b&1))
	}
	return i, key
}

func (h *naive) insert(c *chunk) {
	c.used = false
	c.child, c.later = [2]*chunk{}, nil
	h.clock++
	c.born = h.clock
	if c.size < 256 {
		h.small[c.size/8] = slices.Insert(h.small[c.size/8], 0, c)
		return
	}
	h.large = append(h.large, c)
	i, key := h.treeIndex(c.size)
	at := &h.roots[i]
	for *at != nil {
		h.step()
		if (*at).size == c.size {
			(*at).later = append((*at).later, c)
			return
		}
		at = &(*at).child[key[0]]
		key = key[1:]
	}
	*at = c
}

// find returns the link that leads to the node of a size in its trie.
func (h *naive) find(size uint64) **chunk {
	i, key := h.treeIndex(size)
	at := &h.roots[i]
	for (*at).size != size {
		at = &(*at).child[key[0]]
		key = key[1:]
	}
	return at
}

func (h *naive) remove(c *chunk) {
	if c.size < 256 {
		bin := h.small[c.size/8]
		i := slices.Index(bin, c)
		h.small[c.size/8] = slices.Delete(bin, i, i+1)
		return
	}
	h.large = slices.DeleteFunc(h.large, func(o *chunk) bool { return o == c })
	at := h.find(c.size)
	node := *at
	if node != c {
		node.later = slices.DeleteFunc(node.later, func(o *chunk) bool { return o == c })
		return
	}
	var heir *chunk
	if len(c.later) > 0 {
		heir = c.later[0]
		heir.later = c.later[1:]
	} else if c.child[0] != nil || c.child[1] != nil {
		link := at
		for {
			next := &(*link).child[1]
			if *next == nil {
				next = &(*link).child[0]
			}
			if *next == nil {
				break
			}
			h.step()
			link = next
		}
		heir = *link
		*link = nil
	}
	if heir != nil {
		heir.child = c.child
	}
	*at = heir
}

// best returns what of the trees serves a request of k bytes, nil if none does.
func (h *naive) best(k uint64) *chunk {
	var want *chunk
	for _, c := range h.large {
		if c.size >= k && (want == nil || c.size < want.size || c.size == want.size && c.born < want.born) {
			want = c
		}
	}
	return want
}

// leftmost walks down to the left and returns the smallest of best and what it
// meets that has k bytes.
func (h *naive) leftmost(t, best *chunk, k uint64) *chunk {
	for t != nil {
		h.step()
		if t.size >= k && (best == nil || t.size < best.size) {
			best = t
		}
		if t.child[0] != nil {
			t = t.child[0]
		} else {
			t = t.child[1]
		}
	}
	return best
}

func (h *naive) searchSmall() *chunk {
	h.step()
	for _, root := range h.roots {
		if root != nil {
			return h.leftmost(root, nil, 0)
		}
	}
	return nil
}

func (h *naive) searchLarge(k uint64) *chunk {
	h.step()
	i, key := h.treeIndex(k)
	var best, right *chunk
	for t := h.roots[i]; t != nil; {
		h.step()
		if t.size >= k && (best == nil || t.size < best.size) {
			best = t
		}
		if t.size == k {
			return best
		}
		if key[0] == 0 && t.child[1] != nil {
			right = t.child[1]
		}
		t = t.child[key[0]]
		key = key[1:]
	}
	if right == nil && best == nil {
		h.step()
		for i++; i < 32; i++ {
			if h.roots[i] != nil {
				right = h.roots[i]
				break
			}
		}
	}
	return h.leftmost(right, best, k)
}

// cut makes the low k bytes of a free chunk in no bin a used chunk, and returns
// it and the rest, nil if that is too small.
func (h *naive) cut(c *chunk, k uint64) (low, rest *chunk) {
	c.used = true
	if c.size-k < 4*h.word {
		return c, nil
	}
	rest = &chunk{start: c.start + k, size: c.size - k}
	c.size = k
	h.chunks = slices.Insert(h.chunks, h.index(c)+1, rest)
	return c, rest
}

func (h *naive) dvSize() uint64 {
	if h.dv == nil {
		return 0
	}
	return h.dv.size
}

func (h *naive) malloc(n uint64) *chunk {
	k := h.need(n)
	if h.word == 4 && k >= 1<<32 {
		return nil
	}
	if k < 256 {
		i := k / 8
		h.step()
		for _, j := range []uint64{i, i + 1} {
			if j < 32 && len(h.small[j]) > 0 {
				c := h.small[j][0]
				h.remove(c)
				c.used = true
				return c
			}
		}
		if k > h.dvSize() {
			if c := h.splitSmall(k, i+2); c != nil {
				return c
			}
		}
	} else {
		want := h.best(k)
		v := h.searchLarge(k)
		if v != want {
			panic("the tries do not give the best fit")
		}
		if v != nil && (h.dvSize() < k || v.size-k < h.dvSize()-k) {
			h.remove(v)
			c, rest := h.cut(v, k)
			if rest != nil {
				h.insert(rest)
			}
			return c
		}
	}
	if k <= h.dvSize() {
		c, rest := h.cut(h.dv, k)
		h.dv = rest
		return c
	}
	return h.mallocTop(k)
}

func (h *naive) splitSmall(k, from uint64) *chunk {
	h.step()
	var c *chunk
	for j := from; j < 32 && c == nil; j++ {
		if len(h.small[j]) > 0 {
			c = h.small[j][0]
		}
	}
	if c == nil {
		if c = h.searchSmall(); c != h.best(0) {
			panic("the tries do not give the smallest chunk")
		}
	}
	if c == nil {
		return nil
	}
	h.remove(c)
	c, rest := h.cut(c, k)
	if rest != nil {
		if h.dv != nil {
			h.insert(h.dv)
		}
		h.dv = rest
	}
	return c
}

func (h *naive) mallocTop(k uint64) *chunk {
	if k >= h.top && h.limit > 0 {
		foot, a := 10*h.word, 2*h.word
		ask := k + foot + a
		if h.contiguous && h.brk > 0 {
			ask -= h.top
		}
		ask = (ask + 4095) / 4096 * 4096
		if h.brk+ask > h.limit {
			h.contiguous = false
			return nil
		}
		if h.brk == 0 {
			h.top -= foot
		}
		h.brk += ask
		h.top += ask
	}
	if k >= h.top {
		return nil
	}
	c := &chunk{start: h.topStart, size: k, used: true}
	h.topStart += k
	h.top -= k
	h.chunks = append(h.chunks, c)
	return c
}

// release frees a chunk.
func (h *naive) release(p *chunk) {
	i := h.index(p)
	atTop := i == len(h.chunks)-1
	var next *chunk
	if !atTop {
		next = h.chunks[i+1]
	}
	isDV := false
	if i > 0 && !h.chunks[i-1].used {
		low := h.chunks[i-1]
		if low == h.dv {
			isDV = true
		} else {
			h.remove(low)
		}
		low.size += p.size
		h.chunks = slices.Delete(h.chunks, i, i+1)
		h.step()
		p = low
		if isDV && !atTop && next.used {
			return
		}
	}
	p.used = false
	switch {
	case atTop:
		h.step()
		h.chunks = h.chunks[:len(h.chunks)-1]
		h.topStart = p.start
		h.top += p.size
		if isDV {
			h.dv = nil
		}
		return
	case next == h.dv:
		h.absorb(p, next)
		h.dv = p
		return
	case !next.used:
		h.remove(next)
		h.absorb(p, next)
	}
	if !isDV {
		h.insert(p)
	}
}

// absorb merges a chunk with the one above it.
func (h *naive) absorb(p, next *chunk) {
	h.step()
	p.size += next.size
	i := h.index(next)
	h.chunks = slices.Delete(h.chunks, i, i+1)
}

// freeTail frees what a used chunk has above k bytes.
func (h *naive) freeTail(c *chunk, k uint64) {
	_, tail := h.cut(c, k)
	if tail != nil {
		tail.used = true
		h.release(tail)
	}
}

func (h *naive) object(c *chunk) (heapmodel.Ref, bool) {
	if c == nil {
		return heapmodel.NullRef, false
	}
	h.objects = append(h.objects, c)
	return heapmodel.Ref(len(h.objects) - 1), true
}

func (h *naive) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	unit := 2 * h.word
	if uint64(align) <= unit {
		return h.object(h.malloc(size))
	}
	a := max(uint64(align), 4*h.word)
	k := h.need(size)
	c := h.malloc(k + a + 4*h.word - h.word)
	if c == nil {
		return heapmodel.NullRef, false
	}
	if user := c.start + unit; user%a != 0 {
		at := (user+a-1)/a*a - unit
		if at-c.start < 4*h.word {
			at += a
		}
		lead, rest := h.cut(c, at-c.start)
		rest.used = true
		h.release(lead)
		c = rest
	}
	if c.size > k+4*h.word {
		h.freeTail(c, k)
	}
	return h.object(c)
}

func (h *naive) Free(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		h.release(h.objects[r])
	}
}

func (h *naive) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	c := h.objects[r]
	if h.resize(c, h.need(size)) {
		return r, true
	}
	n := h.malloc(size)
	if n == nil {
		return r, false
	}
	h.release(c)
	return h.object(n)
}

func (h *naive) resize(c *chunk, k uint64) bool {
	i := h.index(c)
	if c.size >= k {
		h.freeTail(c, k)
		return true
	}
	if i == len(h.chunks)-1 {
		if c.size+h.top <= k {
			return false
		}
		h.topStart += k - c.size
		h.top -= k - c.size
		c.size = k
		return true
	}
	next := h.chunks[i+1]
	if next.used || c.size+next.size < k {
		return false
	}
	if next != h.dv {
		h.remove(next)
		h.absorb(c, next)
		h.freeTail(c, k)
		return true
	}
	if rest := c.size + next.size - k; rest >= 4*h.word {
		next.start, next.size = c.start+k, rest
		c.size = k
		return true
	}
	h.absorb(c, next)
	h.dv = nil
	return true
}

func (h *naive) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.objects[r].start + 2*h.word)
}

func (h *naive) Usage() *heapmodel.Usage { return &h.use }
