package gen

import (
	"errors"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/growth"
)

// Chain is what a workload knows about one of its growing containers: the
// truth against which a finder of such containers can be measured.
type Chain struct {
	Rule   string // name in growth.Rules
	Elem   uint64 // bytes of an element
	Site   trace.SiteID
	Thread uint32 // of the container's first event
	// Realloc says that the container kept one object and reallocated it; else
	// each buffer was an object of its own, freed after the next was made.
	Realloc bool
	// Buffers are the indices of the events that gave the container a buffer,
	// in order: allocs, or an alloc and its reallocs. A container that never
	// grew has one.
	Buffers []uint64
	// Freed are the indices of the frees of the buffers, in the same order: of
	// all but the last in a container that copies, and of the last if the
	// container died before the trace ended. A chain of reallocs has one or
	// none.
	Freed []uint64
}

// truth collects chains.
type truth struct{ chains []*Chain }

// ErrNoChains is returned for a workload that has no growing containers.
var ErrNoChains = errors.New("the workload has no growing containers")

// Chains generates the trace and returns every container of it that asked the
// heap for a buffer, in the order of their first events. It needs memory for
// all of them.
func (s *Source) Chains() ([]*Chain, error) {
	t := &truth{}
	r := s.open(t)
	defer r.Close()
	b := new(trace.Block)
	for r.Next(b) == nil {
	}
	if len(t.chains) == 0 {
		return nil, ErrNoChains
	}
	return t.chains, nil
}

// container is a vector or string that the program fills.
type container struct {
	rule     *growth.Rule
	realloc  bool // grows by realloc, whatever the original does
	elem     uint64
	site     trace.SiteID
	thread   int
	capacity uint64 // elements
	buffer   object // if held
	held     bool
	old      object // buffer that was copied and is not freed yet
	pending  bool
	chain    *Chain // if the truth is asked for and the heap was
}

// grow makes room for need elements. A container that copies leaves its old
// buffer for finish to free: between them other threads may act.
func (c *container) grow(e *emitter, need uint64) {
	capacity := c.rule.Next(c.capacity, need, c.elem)
	if capacity == c.capacity {
		return
	}
	c.capacity = capacity
	if size := c.rule.Bytes(capacity, c.elem); size > 0 {
		c.give(e, size)
	}
}

// reserve makes room for exactly length elements in an empty container.
func (c *container) reserve(e *emitter, length uint64) {
	size := c.rule.Exact(length, c.elem)
	if size == 0 {
		return
	}
	if c.capacity = length; c.rule.Text {
		c.capacity = c.rule.Next(c.rule.Inline(), length, c.elem)
	}
	c.give(e, size)
}

// give gives the container a buffer of size bytes.
func (c *container) give(e *emitter, size uint64) {
	if !e.more() {
		return
	}
	e.thread = c.thread
	event := e.events
	switch {
	case c.realloc && c.held:
		e.realloc(c.site, &c.buffer, size)
	case c.held:
		c.old, c.pending = c.buffer, true
		c.buffer = e.alloc(c.site, size)
	default:
		c.buffer, c.held = e.alloc(c.site, size), true
	}
	if e.truth == nil {
		return
	}
	if c.chain == nil {
		c.chain = &Chain{Rule: c.rule.Name, Elem: c.elem, Site: c.site, Thread: e.threads[c.thread] - 1, Realloc: c.realloc}
		e.truth.chains = append(e.truth.chains, c.chain)
	}
	c.chain.Buffers = append(c.chain.Buffers, event)
}

// finish frees the buffer that growing left behind.
func (c *container) finish(e *emitter) {
	if c.pending {
		c.drop(e, c.old)
		c.pending = false
	}
}

// free ends the container.
func (c *container) free(e *emitter) {
	c.finish(e)
	if c.held {
		c.drop(e, c.buffer)
		c.held = false
	}
	c.capacity, c.chain = 0, nil
}

func (c *container) drop(e *emitter, o object) {
	if !e.more() {
		return
	}
	e.thread = c.thread
	if c.chain != nil {
		c.chain.Freed = append(c.chain.Freed, e.events)
	}
	e.free(o)
}

// ruleNames returns the names of all growth rules.
func ruleNames() []string {
	names := make([]string, len(growth.Rules))
	for i, r := range growth.Rules {
		names[i] = r.Name
	}
	return names
}
