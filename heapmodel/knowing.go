package heapmodel

// Some heaps know more than sizes. A program with several heaps chooses among
// them by who asks, and the reference points of the literature know the future.
// The interfaces here give a heap that asks for it what the trace knows; a heap
// still never sees a trace. Whoever drives a heap (replay, modeltest) serves
// both before the calls they are about.

// Forever is the Life of an object that is never freed.
const Forever = ^uint64(0)

// Hint is what is known of the object that the next Alloc or Realloc is for.
type Hint struct {
	Site   uint32 // call site of the event, an index into the names given to Bind; 0 is unknown
	Thread uint32 // number of the event's thread in order of appearance
	// Life is how long the object lives from its allocation to its free, in
	// bytes the program requests on the way (reallocs count with their new
	// size, the object's own request does not); Forever if it is never freed.
	// A realloc's hint has the object's whole life too.
	Life uint64
}

// HintKinds is a set of fields of Hint.
type HintKinds uint8

// The fields of Hint.
const (
	HintSite HintKinds = 1 << iota
	HintThread
	HintLife // costs a pass over the trace and 8 bytes an allocation
)

// Hinted is implemented by heaps that look at more than size and alignment.
// Without a call of Hint such a heap takes the zero Hint with Life Forever.
type Hinted interface {
	Heap
	// Hints returns which fields the heap looks at; zero: Hint is never called.
	Hints() HintKinds
	// Bind gives the heap the names of call sites before its first Alloc. An
	// error names a site the heap was made for and the trace does not have.
	Bind(sites []string) error
	// Hint says what is known of the object of the next Alloc or Realloc.
	Hint(Hint)
}

// Lifetime is one placement of a trace: from an alloc or realloc to the free or
// next realloc of the same object. Times count placements from zero.
type Lifetime struct {
	Size  uint64 // bytes requested
	Birth uint64 // number of placements before this one
	Death uint64 // number of placements made before it ends, so that [Birth, Death) do not overlap if the objects do not; Forever if it does not end
	Align uint32 // as given to Alloc; that of the object for a realloc
}

// Planned is implemented by heaps that place objects with knowledge of all
// lifetimes.
type Planned interface {
	Heap
	// Plan gives the heap the lifetimes of all placements of a trace, in order,
	// before its first Alloc: the k-th call of Alloc or Realloc, failed ones
	// included, is for lives[k]. The heap does not keep the slice. An error
	// says why these lifetimes cannot be planned.
	Plan(lives []Lifetime) error
}

// Apart is implemented by heaps whose arena has gaps that spec parameters do not tell.
type Apart interface {
	Heap
	// Regions returns the address ranges that the heap may own, in ascending
	// order; the gaps between them are nobody's. Fixed after New.
	Regions() []Region
}
