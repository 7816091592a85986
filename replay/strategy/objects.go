package strategy

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

// MaxObjects is the number of objects up to which a trace can be learned.
const MaxObjects = chains.MaxObjects

// forever is the death of an object that is never freed.
const forever = ^uint64(0)

// objects is what a whole trace tells of each of its objects, by the number of
// its alloc from zero. About 60 bytes an object.
type objects struct {
	site    []trace.SiteID
	thread  []uint32
	first   []uint64 // bytes at the alloc
	largest []uint64 // most bytes, reallocs included
	last    []uint64 // bytes in the end
	steps   []uint32 // reallocs to a larger size
	birth   []uint64 // event
	death   []uint64 // event of the free; forever if there is none
	chain   *chains.Table
}

// Known returns the trace as one whose objects are learned once, for all sets
// that are applied to it. It may be shared by goroutines.
func Known(src trace.Source) trace.Source { return &known{Source: src} }

type known struct {
	trace.Source
	once    sync.Once
	objects *objects
	err     error
}

// learnObjects returns what the trace tells of its objects up to the given
// event, which callers only read.
func learnObjects(src trace.Source, until uint64) (*objects, error) {
	k, ok := src.(*known)
	if !ok || until != forever {
		return readObjects(src, until)
	}
	k.once.Do(func() { k.objects, k.err = readObjects(k.Source, until) })
	return k.objects, k.err
}

func readObjects(src trace.Source, until uint64) (o *objects, err error) {
	if n := src.Header().Summary.Allocs; n > MaxObjects {
		return nil, fmt.Errorf("a strategy that knows objects needs a trace of at most %d of them; this one has %d", MaxObjects, n)
	}
	o = &objects{}
	if o.chain, err = chains.Detect(src); err != nil {
		return nil, err
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var number []uint32 // by slot
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return o, nil
		} else if err != nil {
			return nil, err
		}
		for i := range b.Op {
			if b.First+uint64(i) >= until {
				return o, nil
			}
			number = o.event(b.At(i), b.First+uint64(i), number)
		}
	}
}

// eachEvent reads the trace and calls each with every event, which it may not
// keep.
func eachEvent(src trace.Source, each func(*trace.Event)) (err error) {
	r, err := src.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		for i := range b.Op {
			e := b.At(i)
			each(&e)
		}
	}
}

func (o *objects) event(e trace.Event, at uint64, number []uint32) []uint32 {
	for int(e.Slot) >= len(number) {
		number = append(number, 0)
	}
	switch n := number[e.Slot]; e.Op {
	case trace.OpAlloc:
		number[e.Slot] = uint32(len(o.site))
		o.site, o.thread = append(o.site, e.Site), append(o.thread, e.Thread)
		o.first, o.largest, o.last = append(o.first, e.Size), append(o.largest, e.Size), append(o.last, e.Size)
		o.steps = append(o.steps, 0)
		o.birth, o.death = append(o.birth, at), append(o.death, forever)
	case trace.OpRealloc:
		if e.Size > o.last[n] {
			o.steps[n]++
		}
		o.largest[n], o.last[n] = max(o.largest[n], e.Size), e.Size
	case trace.OpFree:
		o.death[n] = at
	}
	return number
}

// len returns the number of objects.
func (o *objects) len() int { return len(o.site) }

// known reports whether object n was learned: those after a prefix were not.
func (o *objects) known(n uint32) bool { return n != chains.None && int(n) < len(o.site) }

// isHead reports whether object n begins a container: it took over from none.
func (o *objects) isHead(n uint32) bool { return o.chain.Prev[n] == chains.None }

// final returns the most bytes of the container that begins with object n, and
// how often it grew, by realloc or by a pair.
func (o *objects) final(n uint32) (bytes uint64, growths int) {
	for ; o.known(n); n = o.chain.Next[n] {
		bytes = max(bytes, o.largest[n])
		growths += int(o.steps[n])
		if o.known(o.chain.Next[n]) {
			growths++
		}
	}
	return bytes, growths
}

// percentile returns the smallest of the sizes that at least p percent of them
// do not exceed. It sorts them.
func percentile(sizes []uint64, p float64) uint64 {
	slices.Sort(sizes)
	rank := int(p / 100 * float64(len(sizes)))
	if float64(rank) < p/100*float64(len(sizes)) {
		rank++
	}
	return sizes[max(rank, 1)-1]
}

// sitesOf returns which sites the text names, by SiteID: names, #N, or patterns
// with * and ?, joined by |. Empty text is nil, every site.
func sitesOf(text string, h *trace.Header) ([]bool, error) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if text == "" {
		return nil, nil
	}
	chosen := make([]bool, max(len(h.Sites), 1))
	for pattern := range strings.SplitSeq(text, "|") {
		found := false
		if number, ok := strings.CutPrefix(pattern, "#"); ok {
			n, err := strconv.Atoi(number)
			if found = err == nil && n >= 0 && n < len(chosen); found {
				chosen[n] = true
			}
		}
		for i, name := range h.Sites {
			match, err := path.Match(pattern, name)
			if pattern == name || err == nil && match && name != "" {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no call site of the trace matches %q", pattern)
		}
	}
	return chosen, nil
}

// isChosen reports whether a site is among those of sitesOf.
func isChosen(chosen []bool, site trace.SiteID) bool {
	return chosen == nil || int(site) < len(chosen) && chosen[site]
}
