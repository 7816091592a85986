package strategy

import (
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

// grower is a container that grows, while it lives: one object that is
// reallocated, objects that take over from each other, or both.
type grower struct {
	number  uint32     // in the order of their first events
	align   uint32     // of its first object
	slot    trace.Slot // of the object it is in
	from    trace.Slot // of the object before that; only after pairs
	size    uint64     // bytes of that object
	was     uint64     // bytes before the last event that changed them
	follows uint64     // bytes it has next, by reallocation or a pair; notFollowed if never others
	until   uint64     // event at which it has those
	holders int32      // objects that it is in: two from alloc to free of a pair
	first   bool       // no event changed its bytes yet
}

// notFollowed stands for the bytes of a container that keeps those it has.
const notFollowed = ^uint64(0)

// stage is what an event is to the growing containers of a trace.
type stage uint8

const (
	apart   stage = iota // it is of no growing container
	begins               // a container gets its first object
	pairs                // a container moves on to another object
	resizes              // a container's object is reallocated
	leaves               // an object that a container moved out of dies
	ends                 // the last object of a container dies
)

// growers follows the growing containers at chosen sites through one reading
// of a trace. 4 bytes an object, beside those of objects.
type growers struct {
	of      *objects
	chosen  []bool   // sites; nil: all
	sequels *sequels // nil: grower.follows is not known
	live    []grower
	home    []int32 // by object: index into live; -1 of others
	at      []int32 // by slot: index into live; -1
	spare   []int32
	count   uint32 // containers begun
	seq     uint64 // events that give a container bytes
}

// event takes the next event of the trace. The index is one into live, valid
// until the next event if the container ends.
func (g *growers) event(e *trace.Event) (stage, int32) {
	for int(e.Slot) >= len(g.at) {
		g.at = append(g.at, -1)
	}
	switch e.Op {
	case trace.OpAlloc:
		s, i := g.alloc(e, uint32(len(g.home)))
		g.at[e.Slot], g.home = i, append(g.home, i)
		return s, i
	case trace.OpRealloc:
		i := g.at[e.Slot]
		if i < 0 {
			return apart, -1
		}
		g.resize(i, e.Size)
		return resizes, i
	}
	i := g.at[e.Slot]
	if i < 0 {
		return apart, -1
	}
	c := &g.live[i]
	if c.holders--; c.holders > 0 {
		return leaves, i
	}
	g.spare = append(g.spare, i)
	return ends, i
}

func (g *growers) alloc(e *trace.Event, n uint32) (stage, int32) {
	if prev := g.of.chain.Prev[n]; prev != chains.None {
		i := g.home[prev]
		if i < 0 {
			return apart, -1
		}
		c := &g.live[i]
		c.from, c.slot = c.slot, e.Slot
		c.holders++
		g.resize(i, e.Size)
		return pairs, i
	}
	if _, growths := g.of.final(n); growths == 0 || !isChosen(g.chosen, e.Site) {
		return apart, -1
	}
	c := grower{number: g.count, align: e.Align, slot: e.Slot, holders: 1, first: true}
	g.count++
	i := int32(len(g.live))
	if k := len(g.spare); k > 0 {
		i = g.spare[k-1]
		g.spare = g.spare[:k-1]
		g.live[i] = c
	} else {
		g.live = append(g.live, c)
	}
	g.resize(i, e.Size)
	g.live[i].first = true
	return begins, i
}

func (g *growers) resize(i int32, bytes uint64) {
	c := &g.live[i]
	c.was, c.size, c.first = c.size, bytes, false
	if g.sequels != nil {
		c.follows, c.until = g.sequels.next[g.seq], g.sequels.when[g.seq]
	}
	g.seq++
}

// last reports whether the container does not grow in its next event.
func (c *grower) last() bool { return c.follows == notFollowed || c.follows <= c.size }

// sequels is what an oracle knows of the growing containers of a trace.
type sequels struct {
	next []uint64 // by growers.seq: bytes the container has next, or notFollowed
	when []uint64 // by growers.seq: event at which it gets those
	elem []uint32 // by grower.number: bytes of an element; zero if unknown
}

// learnSequels reads the trace and learns what each container comes to, and by
// the way its call site grows what its elements are.
func learnSequels(src trace.Source, of *objects, chosen []bool, fits *fits) (*sequels, error) {
	l := &sequels{}
	err := eachHistory(src, of, chosen, func(h *history) {
		for int(h.number) >= len(l.elem) {
			l.elem = append(l.elem, 0)
		}
		for len(l.next) <= int(h.seqs[len(h.seqs)-1]) {
			l.next, l.when = append(l.next, notFollowed), append(l.when, 0)
		}
		for i, seq := range h.seqs[:len(h.seqs)-1] {
			l.next[seq], l.when[seq] = h.sizes[i+1], h.events[i+1]
		}
		l.elem[h.number] = uint32(fits.of(h.site).elemOf(h.sizes))
	})
	return l, err
}

// history is the sizes that a container had, in order.
type history struct {
	site   trace.SiteID
	number uint32
	sizes  []uint64
	seqs   []uint64 // growers.seq of each
	events []uint64 // of each
}

// eachHistory calls each with the history of every growing container, when it
// ends. It may not keep it.
func eachHistory(src trace.Source, of *objects, chosen []bool, each func(*history)) error {
	g := &growers{of: of, chosen: chosen}
	var all []history // by index of growers.live
	event := uint64(0)
	err := eachEvent(src, func(e *trace.Event) {
		seq := g.seq
		s, i := g.event(e)
		switch s {
		case begins:
			for int(i) >= len(all) {
				all = append(all, history{})
			}
			h := &all[i]
			*h = history{
				site: e.Site, number: g.live[i].number,
				sizes: append(h.sizes[:0], e.Size), seqs: append(h.seqs[:0], seq), events: append(h.events[:0], event),
			}
		case pairs, resizes:
			h := &all[i]
			h.sizes, h.seqs, h.events = append(h.sizes, e.Size), append(h.seqs, seq), append(h.events, event)
		case ends:
			each(&all[i])
			all[i].sizes = all[i].sizes[:0]
		}
		event++
	})
	if err != nil {
		return err
	}
	for i := range all {
		if len(all[i].sizes) > 0 { // lives to the end
			each(&all[i])
		}
	}
	return nil
}
