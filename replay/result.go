package replay

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Result is what one heap did with one trace. Counts of bytes are what the
// heap holds; live bytes are requested sizes of the objects that it placed.
// It is plain data: ratios are computed where they are reported.
type Result struct {
	Spec  *heapmodel.Spec
	Trace *trace.Header

	Events    uint64 // replayed
	Allocs    uint64 // that succeeded
	Frees     uint64 // of objects that were placed
	Reallocs  uint64 // that succeeded
	InPlace   uint64 // of those, at an unchanged address
	Copied    uint64 // bytes that the others copied: the smaller of the old and the new size
	Skipped   uint64 // frees of objects whose allocation had failed
	Padded    uint64 // aligned allocations emulated by asking for more bytes
	LiveBytes uint64 // after the last event
	LiveCount uint64 // objects, after the last event

	Growing     bool   // the heap can obtain memory; its footprint is its arena's peak
	Layout      bool   // the heap has an arena; false for the ideal
	LargestNeed uint64 // bytes of block for the trace's largest request

	PeakLive        uint64 // bytes
	PeakLiveEvent   uint64
	FootprintAtPeak uint64 // footprint at PeakLiveEvent
	PeakObjects     uint64
	Footprint       uint64 // its maximum over time, which for a growing heap is the arena at its peak
	FootprintEvent  uint64 // the first event at which it is reached
	LiveAtFootprint uint64 // live bytes at FootprintEvent
	PeakArena       uint64
	PeakAllocated   uint64  // most bytes of used blocks at a sample, the peak or a failure
	AllocatedBytes  uint64  // requests placed, added up: the clock of Johnstone & Wilson
	ExcessSum       float64 // sum over placed requests of size*(footprint/live - 1)

	MinLargestFree      uint64 // smallest over the samples
	MinLargestFreeEvent uint64
	// MeanLargestFree and MeanFree are over the time of the trace, exact, if
	// Options.Means asked for them. Bytes.
	MeanLargestFree, MeanFree float64

	Usage heapmodel.Usage  // after the last event
	Stats []heapmodel.Stat // what the original would report then

	// AllocSteps and FreeSteps count the steps of searching that the original
	// would take for each alloc or realloc, failed ones included, and for each
	// free: see heapmodel.Usage.Steps.
	AllocSteps trace.Histogram
	FreeSteps  trace.Histogram

	Failures     uint64
	ByVerdict    [Verdicts]uint64
	BySize       []SizeCount // failed requests by size, most frequent first
	Failed       []Failure   // in order; at most MaxKeptFailures
	FailedAllocs uint64      // failures of alloc; the others are of realloc

	Growths []Growth // changes of the arena after the start, trims included; at most MaxGrowths
	Grown   uint64   // number of growths
	Trimmed uint64   // number of trims

	Peak         *Survey // after the trace's PeakLiveEvent; nil if not reached
	FirstFailure *Survey // before the first failure; nil if none
	End          *Survey

	Series []Sample
	Map    *Map
	Steps  []Step

	Stopped bool // ended by the first failure, as Options.OnFailure asked
	Err     error
}

// MaxGrowths is the number of growth events kept one by one; all are counted.
const MaxGrowths = 10_000

// Sample is the state of a heap after an event, and the extremes since the
// sample before.
type Sample struct {
	Event       uint64
	Time        int64  // ns
	Clock       uint64 // bytes allocated so far
	Live        uint64 // bytes
	LiveMin     uint64
	LiveMax     uint64
	Footprint   uint64 // of a growing heap now, of a fixed heap so far
	Allocated   uint64
	Free        uint64
	FreeBlocks  uint64
	LargestFree uint64
	Failures    uint64 // so far
}

// Growth is a change of the arena.
type Growth struct {
	Event       uint64
	Time        int64
	Clock       uint64
	From, To    uint64 // bytes of arena
	Need        uint64 // bytes of block that made the heap grow; zero for a trim
	Free        uint64 // bytes free just before
	LargestFree uint64
}

// Why says in a word why the arena changed.
func (g *Growth) Why() string {
	switch {
	case g.To < g.From:
		return "trim"
	case g.Free < g.Need:
		return Full.String()
	case g.LargestFree < g.Need:
		return Fragmented.String()
	}
	return Policy.String()
}

// SizeCount is a size in bytes and how many there are of it.
type SizeCount struct {
	Size  uint64
	Count uint64
}

// Survey is what a walk over all blocks found after an event.
type Survey struct {
	Event       uint64
	Time        int64
	Live        uint64
	Usage       heapmodel.Usage
	Free        uint64 // bytes in free blocks
	LargestFree uint64
	FreeBlocks  uint64
	FreeSizes   []SizeCount       // sizes of the free blocks, ascending
	Blocks      []heapmodel.Block // all blocks in address order; nil above MaxSurveyBlocks
}

// MaxSurveyBlocks is the number of blocks up to which a Survey keeps them.
const MaxSurveyBlocks = 1 << 18

// NoLabel is the label of a used block without an object: a heap that takes no
// single objects back has such blocks.
const NoLabel = ^uint32(0)

// Step is a picture of a small heap after an event.
type Step struct {
	Event  trace.Event
	Label  uint32   // number of the event's object, or of its site if the trace has sites
	Failed *Failure // the failure of this event, or nil
	Blocks []heapmodel.Block
	Labels []uint32 // for each used block in order, its Label; NoLabel if no object is in it
	End    uint64   // end of the highest block
}
