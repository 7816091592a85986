package gen

import "github.com/fragprof/fragprof/trace"

// fill gives the elements that a nested container has got since their buffers.
func (g *grower) fill(e *emitter, site trace.SiteID) {
	for g.nested && uint64(len(g.elements)) < g.length && e.more() {
		e.thread = g.thread
		g.elements = append(g.elements, e.alloc(site, e.between(8, 96)))
	}
}

// copyElements copies the elements of a nested container that grows: all new
// buffers are made before the first old one is freed.
func (g *grower) copyElements(e *emitter, site trace.SiteID) {
	if !g.nested || !g.pending {
		return
	}
	e.thread = g.thread
	fresh := make([]object, 0, len(g.elements))
	for i := 0; i < len(g.elements) && e.more(); i++ {
		fresh = append(fresh, e.alloc(site, g.elements[i].size))
	}
	e.freeAll(g.elements)
	g.elements = fresh
}

// end frees the container, what it holds, and its twin.
func (g *grower) end(e *emitter) {
	e.thread = g.thread
	e.freeAll(g.elements)
	g.elements = nil
	g.free(e)
	if g.twin != nil {
		g.twin.free(e)
	}
}

// queue passes objects on, first in, first out.
type queue struct {
	site    trace.SiteID
	thread  int
	room    int // objects it holds
	objects []object
}

// step puts an object into the queue; out of a full one the oldest goes.
func (q *queue) step(e *emitter) {
	e.thread = q.thread
	q.objects = append(q.objects, e.alloc(q.site, e.between(8, 1024)))
	if len(q.objects) > q.room {
		e.free(q.objects[0])
		q.objects = q.objects[1:]
	}
}
