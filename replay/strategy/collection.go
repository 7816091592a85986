package strategy

import (
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// collection is a list or a deque: nodes of one size, and of a deque the map of
// pointers to them.
type collection struct {
	node  uint64 // bytes of a node or chunk
	per   uint64 // elements of it
	deque bool

	nodes    []trace.Slot
	elements uint64
	room     uint64 // pointers in the map
	first    uint64 // index of the first used one
	table    trace.Slot
}

// wanted returns the nodes of so many elements. A deque of libstdc++ has room
// for one more than it holds.
func (c *collection) wanted(elements uint64) uint64 {
	if c.deque {
		return elements/c.per + 1
	}
	return elements
}

// dequeRoom is the pointers of the map of a new deque.
const dequeRoom = 8

// writing is an event at which a collection changes.
type writing struct {
	w   *edit.Writer
	at  trace.Event
	l   *Ledger
	ptr uint64
}

func (x *writing) alloc(bytes uint64) trace.Slot {
	x.at.Size = bytes
	x.l.AddAdded()
	return x.w.Alloc(&x.at)
}

// begin makes the map of a deque, in whose middle it begins.
func (c *collection) begin(x *writing) {
	if c.deque {
		c.room, c.first = dequeRoom, (dequeRoom-1)/2
		c.table = x.alloc(c.room * x.ptr)
	}
	c.set(x, 0)
}

// set adds or removes nodes at the end, for so many elements.
func (c *collection) set(x *writing, elements uint64) {
	c.elements = elements
	want := c.wanted(elements)
	for uint64(len(c.nodes)) < want {
		c.reach(x)
		c.nodes = append(c.nodes, x.alloc(c.node))
	}
	for uint64(len(c.nodes)) > want {
		k := len(c.nodes) - 1
		x.w.Free(c.nodes[k], &x.at)
		c.nodes = c.nodes[:k]
	}
}

// reach makes room in the map for another chunk, as libstdc++ does when it adds
// at the end: if less than half is used the chunks are moved to the middle,
// else the map grows.
func (c *collection) reach(x *writing) {
	used := uint64(len(c.nodes))
	if !c.deque || used == 0 || c.first+used < c.room {
		return
	}
	if c.room <= 2*(used+1) {
		larger := c.room + c.room + 2
		table := x.alloc(larger * x.ptr)
		x.w.Free(c.table, &x.at)
		c.table, c.room = table, larger
	}
	x.l.AddCopies(used * x.ptr)
	c.first = (c.room - (used + 1)) / 2
}

// end frees everything.
func (c *collection) end(x *writing) {
	for _, n := range c.nodes {
		x.w.Free(n, &x.at)
	}
	if c.deque {
		x.w.Free(c.table, &x.at)
	}
	c.nodes = c.nodes[:0]
}

// collector is the editor of container with kind list and deque.
type collector struct {
	s      *collect
	g      growers
	l      *Ledger
	slots  edit.Slots
	of     []collected // by index of growers.live
	agenda agenda
	events uint64 // taken
}

// collected is a container as the changed program has it.
type collected struct {
	collection
	number uint32 // of the grower
	live   bool
	elem   uint64
	fit    *fit
	site   trace.SiteID
	thread uint32
	align  uint32
	grown  uint64 // event of the last growth
	plans  uint32 // made for it: entries of the agenda of others but the last are void

	// Elements are added evenly from event start to until, from elements begun
	// to target.
	start, until, begun, target uint64
}

func (v *collector) Event(e *trace.Event, w *edit.Writer) {
	v.catchUp(e, w)
	s, i := v.g.event(e)
	event := v.events
	v.events++
	if s == apart {
		v.slots.Copy(e, w)
		return
	}
	for int(i) >= len(v.of) {
		v.of = append(v.of, collected{})
	}
	c, g := &v.of[i], &v.g.live[i]
	if s == begins {
		elem := v.s.elemOf(v.g.sequels, g)
		empty := v.s.collectionOf(elem)
		empty.nodes = c.nodes[:0]
		*c = collected{collection: empty, number: g.number, live: true, elem: elem, fit: v.s.fits.of(e.Site), site: e.Site, thread: e.Thread, align: e.Align, grown: event}
	}
	x := v.writing(c, e, w)
	switch s {
	case begins:
		v.l.AddRemoved()
		c.begin(x)
		v.grow(c, g, i, x, event)
	case pairs:
		v.l.AddRemoved()
		v.l.AddCopiesAvoided(g.was)
		v.grow(c, g, i, x, event)
	case resizes:
		if g.size > g.was {
			v.grow(c, g, i, x, event)
		} else if g.size < g.was {
			c.plans++
			c.set(x, min(c.elements, counted(c.fit, g.size, c.elem)))
		}
	case ends:
		c.end(x)
		c.live = false
	}
}

func (v *collector) End(*edit.Writer) {}

func (v *collector) writing(c *collected, e *trace.Event, w *edit.Writer) *writing {
	return &writing{w: w, l: v.l, ptr: v.s.ptr, at: trace.Event{Time: e.Time, Thread: c.thread, Site: c.site, Align: c.align}}
}

// grow adds what made the container grow, and plans what it fills up with.
func (v *collector) grow(c *collected, g *grower, i int32, x *writing, event uint64) {
	from := g.was
	if g.first {
		from = 0
	}
	least := c.fit.least(from, g.size, c.elem)
	c.set(x, max(counted(c.fit, least, c.elem), c.elements))
	c.start, c.begun = event, c.elements
	if g.last() {
		// At the pace of the step before, of which there may be none.
		c.until = event + (event - c.grown)
		c.target = max(counted(c.fit, v.s.final(least, g.size), c.elem), c.elements)
		if g.follows != notFollowed {
			c.until = min(c.until, g.until)
		}
	} else {
		c.until = g.until
		c.target = max(counted(c.fit, g.size, c.elem), c.elements)
	}
	c.grown = event
	c.plans++
	if c.until <= event {
		c.set(x, c.target)
		return
	}
	v.plan(c, i)
}

// plan enters when the next node of the container is due.
func (v *collector) plan(c *collected, i int32) {
	if c.elements >= c.target {
		return
	}
	// The element that needs the next node, and when it is there.
	next := min(c.target, c.elements+1)
	if c.deque {
		next = min(c.target, uint64(len(c.nodes))*c.per)
	}
	span, adds := c.until-c.start, c.target-c.begun
	due := c.start + uint64(float64(span)*float64(next-c.begun)/float64(adds))
	v.agenda.push(entry{max(due, v.events), i, c.number, c.plans, next})
}

// catchUp adds the elements that are due.
func (v *collector) catchUp(e *trace.Event, w *edit.Writer) {
	for len(v.agenda) > 0 && v.agenda[0].event <= v.events {
		t := v.agenda.pop()
		c := &v.of[t.index]
		if !c.live || c.number != t.number || c.plans != t.plan {
			continue
		}
		c.set(v.writing(c, e, w), t.elements)
		v.plan(c, t.index)
	}
}

// entry is a container that will have so many elements before an event.
type entry struct {
	event    uint64
	index    int32
	number   uint32 // of the container
	plan     uint32
	elements uint64
}

// agenda is a heap of entries, the earliest first; of the same event that of the
// oldest container.
type agenda []entry

func (a agenda) before(i, k int) bool {
	if a[i].event != a[k].event {
		return a[i].event < a[k].event
	}
	return a[i].number < a[k].number
}

func (a *agenda) push(t entry) {
	h := append(*a, t)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.before(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*a = h
}

func (a *agenda) pop() entry {
	h := *a
	top := h[0]
	k := len(h) - 1
	h[0] = h[k]
	h = h[:k]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < k && h.before(down, least) {
				least = down
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*a = h
	return top
}
