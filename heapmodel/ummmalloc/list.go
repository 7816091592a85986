package ummmalloc

import "math/bits"

// A list is the free list of a first-fit heap. Chunks are only ever pushed at
// its front, taken out anywhere or changed where they are, so it is a log: each
// chunk has a slot, the newest the lowest.
//
//	class   ........ ....3..1 .2....9. ........ 7f7f7f7f7f7f7f7f
//	entry                |
//	                     top
//
// Slots hold size classes, a byte each, eight in a word, zero where there is no
// chunk (any more), and entries with the chunk and its size. A search looks at
// a word at once, and the chunks it passes are counted a word at once too. What
// is pushed goes below top; when there is no room, the chunks are laid out anew
// at the end of the log, which is after as many pushes as there are chunks, or
// more.
//
// A log of more than shortSlots slots is in groups with a bound of the sizes and
// a count each. A search looks at the 32 words of a group or two and passes the
// other groups, at most 129, as a heap has no more than 16383 free chunks. The
// groups cost short lists nothing: limit, a bound of all sizes, is zero in a long
// one, so that all that has to do with groups is where a size above limit is.
//
// Memory is 10 to 20 bytes a chunk for as many as there have been at once, and
// 2.6 KB at least.
type list struct {
	class  classes
	entry  []entry // by slot
	top    uint32  // lowest slot with a chunk, or below
	floor  uint32  // lowest slot that may be used
	limit  uint32  // no chunk of a short list has more blocks; in a long one 0
	big    uint32  // where the largest chunk was when it was last looked for
	groups []group // of a long list, by slot/groupSlots
}

// entry is what a slot holds: blocks<<16 | chunk. An arena has less than 1<<15
// of both.
type entry uint32

func makeEntry(id, size uint32) entry { return entry(size<<16 | id) }

func (e entry) id() uint32   { return uint32(e & 0xffff) }
func (e entry) size() uint32 { return uint32(e >> 16) }

// group says what there is in a run of slots.
type group struct {
	largest uint32 // no chunk has more blocks
	count   uint32 // chunks
}

const (
	shortSlots = 1024
	leastSlots = 512
	groupSlots = 256
	groupWords = groupSlots / lanes
)

// Size classes are sizes, and topClass for that and all above. An arena has no
// more than 258 chunks of so many blocks, so that looking at each is no burden.
const (
	lanes    = 8
	topClass = 127
	ones     = 0x0101010101010101
	tops     = ones << 7
)

// classes are size classes, a byte for each slot.
type classes []uint64

func (c classes) at(slot uint32) uint64 { return c[slot/lanes] >> (slot % lanes * 8) & 0xff }
func (c classes) clear(slot uint32)     { c[slot/lanes] &^= 0xff << (slot % lanes * 8) }

func (c classes) set(slot, size uint32) {
	word, shift := &c[slot/lanes], slot%lanes*8
	*word = *word&^(0xff<<shift) | uint64(min(size, topClass))<<shift
}

// fits returns the top bit of each byte of a word that is not less than the
// class of which pattern has one in each byte.
func fits(word, pattern uint64) uint64 { return ((word | tops) - pattern) & tops }

// taken returns 1 in each byte that is not zero.
func taken(word uint64) uint64 { return (word + ^uint64(tops)) & tops >> 7 }

// total returns the sum of the bytes of a word.
func total(word uint64) uint32 {
	const even = 0x00ff00ff00ff00ff
	return uint32((word&even + word>>8&even) * 0x0001000100010001 >> 48)
}

func newList() list {
	var l list
	l.make(leastSlots)
	l.top = l.end()
	l.floor = l.end() - leastSlots
	return l
}

// make makes an empty log with a number of slots that is a multiple of lanes.
// The first word is never used, so that slot 0 is no chunk's; that behind the
// last ends searches.
func (l *list) make(slots uint32) {
	l.class = make(classes, slots/lanes+2)
	l.class[slots/lanes+1] = ^uint64(tops)
	l.entry = make([]entry, slots+2*lanes)
}

// end returns the slot behind the last.
func (l *list) end() uint32 { return uint32(len(l.class)-1) * lanes }

func (l *list) long() bool { return len(l.groups) > 0 }

// relay lays the chunks out anew so that twice as many have room.
func (l *list) relay(chunks []chunk) {
	first, words := l.top/lanes, l.end()/lanes
	old := *l
	length := uint32(0)
	for _, word := range old.class[first:words] {
		length += total(taken(word))
	}
	slots := uint32(leastSlots)
	for slots < 2*length {
		slots *= 2
	}
	if l.end() < slots+lanes {
		l.make(slots)
	}
	l.limit = 0
	to := l.end()
	l.floor = to - slots
	for w := words; w > first; {
		w--
		rest := taken(old.class[w])
		old.class[w] = 0 // before any comes there, as it may be the same log
		for rest != 0 {
			lane := (uint32(bits.Len64(rest)) - 1) / 8
			rest &^= 1 << (lane * 8)
			to--
			e := old.entry[w*lanes+lane]
			l.entry[to] = e
			l.class.set(to, e.size())
			l.limit = max(l.limit, e.size())
			chunks[e.id()].slot = to
		}
	}
	l.top = to
	l.group(slots)
}

// group makes the groups anew, of a list that has so many slots.
func (l *list) group(slots uint32) {
	if slots <= shortSlots {
		l.groups = l.groups[:0]
		return
	}
	if count := int(l.end()/groupSlots) + 1; cap(l.groups) >= count {
		l.groups = l.groups[:count]
		clear(l.groups)
	} else {
		l.groups = make([]group, count)
	}
	l.limit = 0
	for s := l.top; s < l.end(); s++ {
		g := &l.groups[s/groupSlots]
		g.largest = max(g.largest, l.entry[s].size())
		g.count++
	}
}

// rise notes that a chunk of more blocks than limit, which is any in a long list,
// was put at a slot. came is 1 if none was there before, else 0, and went is 1
// if one went away from the slot gone.
func (l *list) rise(slot, size, came, gone, went uint32) {
	if !l.long() {
		l.limit = size
		return
	}
	l.groups[gone/groupSlots].count -= went
	g := &l.groups[slot/groupSlots]
	g.count += came
	g.largest = max(g.largest, size)
}

// shrink gives the chunk at a slot fewer blocks.
func (l *list) shrink(slot, size uint32) {
	l.class.set(slot, size)
	l.entry[slot] = makeEntry(l.entry[slot].id(), size)
}

// remove takes the chunk at a slot off the list.
func (l *list) remove(slot uint32) {
	l.class.clear(slot)
	if slot == l.top {
		l.top++
	}
	if l.long() {
		l.groups[slot/groupSlots].count--
	}
}

// first returns the slot of the first chunk of at least want blocks, zero if
// there is none, and how many chunks a walk looks at to find it.
func (l *list) first(want uint32) (slot, steps uint32) {
	for w := l.top / lanes; w < l.end()/lanes; {
		bound, stop := &l.limit, l.end()/lanes
		if l.long() {
			g := w / groupWords
			bound, stop = &l.groups[g].largest, min((g+1)*groupWords, stop)
			if *bound < want {
				steps += l.groups[g].count
				w = stop
				continue
			}
		}
		slot, passed := l.firstIn(w, stop, want)
		steps += passed
		if slot != 0 {
			return slot, steps
		}
		*bound = want - 1
		w = stop
	}
	return 0, steps
}

// firstIn is first in the words [w, stop), 255 at most.
func (l *list) firstIn(w, stop, want uint32) (slot, steps uint32) {
	pattern := uint64(min(want, topClass)) * ones
	passed := uint64(0)
	for ; w < stop; w++ {
		word := l.class[w]
		for hits := fits(word, pattern); hits != 0; hits &= hits - 1 {
			slot = w*lanes + uint32(bits.TrailingZeros64(hits))/8
			if l.entry[slot].size() >= want {
				return slot, total(passed + taken(word)&(hits^(hits-1)))
			}
		}
		passed += taken(word)
	}
	return 0, total(passed)
}

// largest returns the blocks of the largest chunk, zero if there is none.
func (l *list) largest() uint32 {
	for {
		bound, first, stop := l.greatest()
		if *bound == 0 || l.class.at(l.big) != 0 && l.entry[l.big].size() == *bound {
			return *bound
		}
		l.big = l.largestIn(first, stop)
		*bound = l.entry[l.big].size()
	}
}

// greatest returns the bound of all sizes, and of which words it is one.
func (l *list) greatest() (bound *uint32, first, stop uint32) {
	if !l.long() {
		return &l.limit, l.top / lanes, l.end() / lanes
	}
	at := 0
	for i := range l.groups {
		if l.groups[i].largest > l.groups[at].largest {
			at = i
		}
	}
	first = uint32(at) * groupWords
	return &l.groups[at].largest, first, min(first+groupWords, l.end()/lanes)
}

// largestIn returns the slot of the largest chunk in the words [first, stop),
// zero if there is none.
func (l *list) largestIn(first, stop uint32) (slot uint32) {
	classes := uint64(0)
	for _, word := range l.class[first:stop] {
		classes = larger(classes, word)
	}
	classes = larger(classes, classes>>32)
	classes = larger(classes, classes>>16)
	class := larger(classes, classes>>8) & 0xff
	if class == 0 {
		return 0
	}
	size := uint32(0)
	for w := first; w < stop; w++ {
		for hits := fits(l.class[w], class*ones); hits != 0; hits &= hits - 1 {
			s := w*lanes + uint32(bits.TrailingZeros64(hits))/8
			if e := l.entry[s]; e.size() > size {
				slot, size = s, e.size()
			}
			if class < topClass {
				return slot // they are all the same
			}
		}
	}
	return slot
}

// larger returns the larger of each two bytes, which are less than 128.
func larger(a, b uint64) uint64 {
	less := fits(a, b) // where a is not less
	less -= less >> 7
	return a&less | b&^less
}
