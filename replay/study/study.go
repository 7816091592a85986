// Package study repeats the fragmentation study of Johnstone and Wilson (The
// Memory Fragmentation Problem: Solved?, ISMM 1998) on other traces: sixteen
// placement policies without headers and alignment, on heaps that grow by pages,
// ranked by the memory each needs above the peak of live bytes. It tells how
// well a ranking agrees with the published one, and makes the random traces
// that show what is lost with the behaviour of programs.
//
// A trace is brought to allocations and frees first: a realloc is an allocation
// of the new size and then a free of the old object, so that all policies place
// the same requests and both objects are live in between, as they are in a
// program that copies. Alignments are dropped.
package study

import (
	"context"
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
)

// Policy is a row of the study.
type Policy struct {
	Name  string
	Title string // as Johnstone and Wilson call it
	Spec  string
	// Chunk is zero if the heap has neither headers nor alignment. Else its
	// chunks are multiples of so many bytes, LeastChunk at least, and it serves
	// requests of Header bytes less than a chunk without any waste.
	Chunk, LeastChunk, Header uint64
	Published                 Published
}

// The parameters without which a heap of pages has no overhead.
const (
	page4 = ",header=0,align=1,quantum=4KiB"
	page8 = ",header=0,align=1,quantum=8KiB"
)

// Policies are the rows of Table 4, in its order.
var Policies = []Policy{
	{Name: "BF AO 8K", Title: "best fit AO 8K", Spec: "sequential:fit=best,order=address" + page8, Published: Published{0.83, 0.99, 0.98}},
	{Name: "BF AO", Title: "best fit AO", Spec: "sequential:fit=best,order=address" + page4, Published: Published{2.28, 3.32, 3.73}},
	{Name: "BF LIFO", Title: "best fit LIFO", Spec: "sequential:fit=best,order=lifo" + page4, Published: Published{2.30, 3.31, 3.76}},
	{Name: "BF FIFO", Title: "best fit FIFO", Spec: "sequential:fit=best,order=fifo" + page4, Published: Published{2.23, 3.31, 3.93}},
	{Name: "FF AO 8K", Title: "first fit AO 8K", Spec: "sequential:fit=first,order=address" + page8, Published: Published{0.78, 0.90, 0.91}},
	{Name: "FF AO", Title: "first fit AO", Spec: "sequential:fit=first,order=address" + page4, Published: Published{2.30, 3.31, 6.63}},
	{Name: "FF LIFO", Title: "first fit LIFO", Spec: "sequential:fit=first,order=lifo" + page4, Published: Published{36.3, 61.2, 50.7}},
	{Name: "FF FIFO", Title: "first fit FIFO", Spec: "sequential:fit=first,order=fifo" + page4, Published: Published{3.14, 3.81, 4.97}},
	{Name: "NF AO", Title: "next fit AO", Spec: "sequential:fit=next,order=address" + page4, Published: Published{8.04, 9.64, 13.7}},
	{Name: "NF LIFO", Title: "next fit LIFO", Spec: "sequential:fit=next,order=lifo" + page4, Published: Published{38.4, 67.3, 52.9}},
	{Name: "NF FIFO", Title: "next fit FIFO", Spec: "sequential:fit=next,order=fifo" + page4, Published: Published{18.4, 28.1, 20.9}},
	{Name: "Lea", Title: "Lea 2.6.1", Spec: "dlmalloc:grow=1GiB,ptr=32", Chunk: 8, LeastChunk: 16, Header: 4, Published: Published{2.28, 3.32, 3.80}},
	{Name: "binary buddy", Title: "binary buddy", Spec: "binary-buddy:min=1" + page4, Published: Published{53.4, 23.6, 59.8}},
	{Name: "double buddy", Title: "double buddy", Spec: "double-buddy:min=1" + page4, Published: Published{34.3, 17.7, 36.2}},
	{Name: "seg 2^N", Title: "simple seg 2^N", Spec: "simple-segregated:classes=pow2,page=4KiB" + page4, Published: Published{73.6, 42.7, 1818}},
	{Name: "seg 2^N, 3*2^N", Title: "simple seg 2^N & 3*2^N", Spec: "simple-segregated:classes=pow2x3,page=4KiB" + page4, Published: Published{61.5, 45.7, 1468}},
}

// round returns the size whose request the policy serves without overhead, and
// the request.
func (p *Policy) round(size uint64) (nominal, request uint64) {
	if p.Chunk == 0 {
		return size, size
	}
	nominal = max((size+p.Chunk-1)/p.Chunk*p.Chunk, p.LeastChunk)
	return nominal, nominal - p.Header
}

// Outcome is what one policy needed for one load, in bytes.
type Outcome struct {
	PeakHeap   uint64 // obtained, at most
	PeakLive   uint64 // live, at most, at any time
	LiveAtPeak uint64 // live when the heap first reached PeakHeap
	// Last is the growth to PeakHeap: what was needed and what was free just
	// before.
	Last heapmodel.Growth
	// GrownLarge is the part of PeakHeap that was obtained for requests of
	// LargeRequest and more.
	GrownLarge uint64
	// Holes are the free blocks, at the peak of live bytes, of more than a
	// hundredth of PeakLive.
	Holes []Hole
}

// LargeRequest is half a page.
const LargeRequest = 2048

// Hole is a large free block and what lies between it and the one below it, if
// there is one.
type Hole struct {
	Size   uint64
	Blocks int    // in use
	Used   uint64 // bytes of these
}

// Measure3 and Measure4 are Johnstone and Wilson's measures, as fractions: the
// excess of the heap at its peak over the live bytes of that moment, and over
// the peak of live bytes.
func (o Outcome) Measure3() float64 { return float64(o.PeakHeap)/float64(o.LiveAtPeak) - 1 }

// Measure4 is described at Measure3.
func (o Outcome) Measure4() float64 { return float64(o.PeakHeap)/float64(o.PeakLive) - 1 }

// Run replays a load through every policy. The specs are read against the
// models of a catalog.
func Run(ctx context.Context, l *Load, models []*heapmodel.Model) ([]Outcome, error) {
	out := make([]Outcome, len(Policies))
	// Policies that place the same requests share a pass.
	for i := range Policies {
		if i != slices.IndexFunc(Policies, Policies[i].sameRequests) {
			continue
		}
		var members []int
		var specs []*heapmodel.Spec
		for j := range Policies {
			if !Policies[i].sameRequests(Policies[j]) {
				continue
			}
			s, err := heapmodel.ParseSpec(models, Policies[j].Spec)
			if err != nil {
				return nil, err
			}
			members, specs = append(members, j), append(specs, s)
		}
		src := l.source(func(size uint64) uint64 { _, request := Policies[i].round(size); return request })
		results, err := replay.Run(ctx, src, specs, replay.Options{Samples: 1})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		for k, j := range members {
			if out[j], err = outcome(l, &Policies[j], results[k]); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", l.Name, Policies[j].Spec, err)
			}
		}
	}
	return out, nil
}

// sameRequests reports whether two policies are asked for the same.
func (p Policy) sameRequests(q Policy) bool {
	return p.Chunk == q.Chunk && p.LeastChunk == q.LeastChunk && p.Header == q.Header
}

func outcome(l *Load, p *Policy, r *replay.Result) (o Outcome, err error) {
	switch {
	case r.Err != nil:
		return o, r.Err
	case r.Failures > 0:
		return o, fmt.Errorf("%d allocations failed in a heap that may grow", r.Failures)
	}
	if r.Grown > uint64(len(r.Growths)) {
		return o, fmt.Errorf("the heap grew %d times, of which %d are known", r.Grown, len(r.Growths))
	}
	o.PeakHeap = r.Footprint
	for _, g := range r.Growths {
		o.Last = heapmodel.Growth{Need: g.Need, Free: g.Free, LargestFree: g.LargestFree}
		if g.Need >= LargeRequest {
			o.GrownLarge += g.To - g.From
		}
	}
	o.PeakLive, o.LiveAtPeak = l.live(r.FootprintEvent, func(size uint64) uint64 { nominal, _ := p.round(size); return nominal })
	o.Holes = holes(r.Peak, o.PeakLive/100)
	return o, nil
}

// holes returns the free blocks above a size.
func holes(s *replay.Survey, above uint64) (out []Hole) {
	if s == nil {
		return nil
	}
	var between Hole
	for _, b := range s.Blocks {
		switch {
		case b.Used:
			between.Blocks++
			between.Used += b.Size
		case b.Size > above:
			between.Size = b.Size
			if len(out) == 0 {
				between.Blocks, between.Used = 0, 0
			}
			out = append(out, between)
			between = Hole{}
		}
	}
	return out
}
