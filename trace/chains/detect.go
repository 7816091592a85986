package chains

import (
	"errors"
	"fmt"
	"io"

	"github.com/fragprof/fragprof/trace"
)

// The rules of a pair, alloc B then free A by the same thread:
const (
	// recent is how many of the latest allocs of a thread are looked at.
	recent = 8
	// window is how many events of the thread may lie between the alloc and the
	// free: elements that are copied may allocate, and so may their destructors.
	window = 16
	// B is larger than A, and at most most times as large and some bytes.
	most = 4
	some = 64
)

// Detect reads the trace once and returns its chains. A source without sites
// is searched by size and time alone, which finds more that is none.
func Detect(src trace.Source) (t *Table, err error) {
	if n := src.Header().Summary.Allocs; n > MaxObjects {
		return nil, fmt.Errorf("growth chains are found in traces of up to %d objects; this one has %d", MaxObjects, n)
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d := detector{t: &Table{}}
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return d.t, nil
		} else if err != nil {
			return nil, err
		}
		for i := range b.Op {
			d.event(b.At(i))
		}
	}
}

type detector struct {
	t       *Table
	live    []object // by slot
	threads []history
}

type object struct {
	number uint32
	site   trace.SiteID
	size   uint64
}

// history is the latest allocs of a thread, the newest last.
type history struct {
	events uint64
	allocs [recent]candidate
}

type candidate struct {
	event  uint64 // of the thread
	size   uint64
	number uint32
	slot   trace.Slot
	site   trace.SiteID
	used   bool
}

func (d *detector) event(e trace.Event) {
	for int(e.Thread) >= len(d.threads) {
		d.threads = append(d.threads, history{})
	}
	h := &d.threads[e.Thread]
	h.events++
	switch e.Op {
	case trace.OpAlloc:
		number := uint32(len(d.t.Prev))
		d.t.Prev, d.t.Next = append(d.t.Prev, None), append(d.t.Next, None)
		for int(e.Slot) >= len(d.live) {
			d.live = append(d.live, object{})
		}
		d.live[e.Slot] = object{number, e.Site, e.Size}
		copy(h.allocs[:], h.allocs[1:])
		h.allocs[recent-1] = candidate{event: h.events, size: e.Size, number: number, slot: e.Slot, site: e.Site, used: true}
	case trace.OpRealloc:
		d.live[e.Slot].size = e.Size
	case trace.OpFree:
		d.free(h, d.live[e.Slot])
		d.live[e.Slot].number = None
	}
}

// free looks for the object that took over from a, which dies.
func (d *detector) free(h *history, a object) {
	for i := recent - 1; i >= 0; i-- {
		c := &h.allocs[i]
		if !c.used || h.events-c.event > window {
			return
		}
		if c.number != a.number && c.number > a.number && d.live[c.slot].number == c.number &&
			c.site == a.site && c.size > a.size && c.size <= most*a.size+some && d.t.Prev[c.number] == None {
			d.t.Prev[c.number], d.t.Next[a.number] = a.number, c.number
			d.t.Copied += a.size
			return
		}
	}
}
