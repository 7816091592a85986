package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// ScopeArena is the strategy scope-arena.
var ScopeArena = &Strategy{
	Name:  "scope-arena",
	Title: "objects that die together live in an arena that is freed at once",
	Doc: "Objects that are freed one after the other by their thread, in a run of frees with hardly anything in between, are " +
		"taken for those of one scope: a request, a document, a frame. With by=site a call site moves if nearly all its objects " +
		"die so, and sites that mostly die in the same runs share arenas, one at a time in each thread. An arena begins with " +
		"the first object of its sites and takes no further one after the first that is freed, for then its scope ends; it " +
		"is freed when all in it are dead. With by=object an oracle gives each run an arena of its own: the upper bound. " +
		"An arena takes chunks from the heap, one when it has no room left, and places one object behind the other; one " +
		"that is larger than a chunk gets its own. A realloc is served in place at the end of a chunk, else the object is copied, and its old room is lost until " +
		"the arena goes. The price is slack: room in chunks that is not used yet, padding, and what is dead in an arena that still lives. " +
		"Assumes that the program can tell where the scope begins: two that are built at the same time by the same thread and sites share an arena, which lives as long as the longer.",
	Source: "arenas per request or phase; Hanson, Fast Allocation and Deallocation of Memory Based on Object Lifetimes, 1990; asked for in ArduinoJson #1074, #2011",
	Kind:   Rewrites,
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "site", Enum: []string{"site", "object"}, Doc: "what moves: call sites, or every object that an oracle sees die with others"},
		{Key: "objects", Kind: heapmodel.ParamInt, Default: "8", Doc: "fewest objects that make a scope"},
		{Key: "window", Kind: heapmodel.ParamInt, Default: "4", Doc: "events of the thread other than frees that may lie within a run of frees; of long runs, one more for every 16 frees"},
		{Key: "chunk", Kind: heapmodel.ParamBytes, Default: "1KiB", Doc: "bytes that an arena takes from the heap at a time"},
		{Key: "share", Kind: heapmodel.ParamInt, Default: "95", Doc: "by=site: percent of a site's objects that must die with a scope"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "only these call sites, joined by |: names, patterns with * and ?, or #N"},
	},
	New: func(c heapmodel.Config) (Change, error) {
		s := &scopeArena{
			bySite: c.Text("by") == "site", least: c.Int("objects"), window: c.Int("window"),
			chunk: c.Bytes("chunk"), share: c.Int("share"), sites: c.Text("sites"),
		}
		switch {
		case s.least < 2:
			return nil, fmt.Errorf("objects=%d: want 2 or more", s.least)
		case s.window < 0:
			return nil, fmt.Errorf("window=%d: must not be negative", s.window)
		case s.chunk < minChunk || s.chunk > maxChunk:
			return nil, fmt.Errorf("chunk=%d: want %d to %d bytes", s.chunk, minChunk, maxChunk)
		case s.share < 1 || s.share > 100:
			return nil, fmt.Errorf("share=%d: want 1 to 100", s.share)
		}
		return s, nil
	},
}

// The least and the largest chunk. Bytes.
const (
	minChunk = 32
	maxChunk = 1 << 30
)

type scopeArena struct {
	bySite bool
	least  int // objects
	window int // events
	chunk  uint64
	share  int // percent
	sites  string

	chosen  []bool   // by site: those of the parameter; nil for all
	cluster []uint32 // by site, of by=site: its cluster, or none
	count   uint32   // clusters
	unit    uint64   // bytes that objects are aligned to
	notes   []string
}

// Learn decides which sites move.
func (s *scopeArena) Learn(src trace.Source, _ *Env) error {
	h := src.Header()
	var err error
	if s.chosen, err = sitesOf(s.sites, h); err != nil {
		return err
	}
	s.unit = max(8, uint64(h.PtrBits)/4)
	if !h.HasThread {
		s.notes = append(s.notes, "the trace does not name threads: all is taken for one thread's")
	}
	if s.bySite && !h.HasSite {
		s.notes = append(s.notes, "the trace has no call sites: each run of frees has an arena of its own, as by an oracle")
		s.bySite = false
	}
	r, err := s.runsOf(src)
	if err != nil {
		return err
	}
	if s.bySite {
		s.cluster, s.count = s.clusters(r, max(len(h.Sites), 1))
		sites, objects := 0, 0
		for _, c := range s.cluster {
			if c != none {
				sites++
			}
		}
		for _, site := range r.site {
			if s.cluster[site] != none {
				objects++
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("%d call sites in %d groups that die together move, with %d of %d objects", sites, s.count, objects, len(r.site)))
		return nil
	}
	objects, runs := 0, map[uint32]bool{}
	for n, run := range r.of {
		if s.scoped(r, n) {
			objects++
			runs[run] = true
		}
	}
	s.notes = append(s.notes, fmt.Sprintf("%d of %d objects die in %d runs of %d or more", objects, len(r.site), len(runs), s.least))
	return nil
}

// Notes says what moves and what was guessed.
func (s *scopeArena) Notes() []string { return s.notes }

// scoped reports whether object n dies with enough others.
func (s *scopeArena) scoped(r *runs, n int) bool {
	return r.of[n] != none && r.size[r.of[n]] >= uint32(s.least) && isChosen(s.chosen, r.site[n])
}

// For returns the editors. An oracle looks what dies together in this ordering.
func (s *scopeArena) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	var r *runs
	if !s.bySite {
		var err error
		if r, err = s.runsOf(src); err != nil {
			return nil, err
		}
	}
	return func(l *Ledger) edit.Editor {
		v := &arenaEditor{s: s, runs: r, l: l}
		if r != nil {
			v.open = [][]int32{make([]int32, len(r.size))}
		}
		return v
	}, nil
}

// arenaEditor moves objects to arenas.
type arenaEditor struct {
	s      *scopeArena
	runs   *runs // of an oracle
	l      *Ledger
	slots  edit.Slots
	in     []inArena // by slot of the original
	arenas []arena
	spare  []int32
	// open has the arena that takes objects, plus one, by thread and cluster; of
	// an oracle, by run.
	open   [][]int32
	number int // of the next object
}

// inArena is where an object is, if it is in an arena.
type inArena struct {
	in    bool
	arena int32
	chunk int32 // of the arena
	align uint32
	at    uint64 // offset in the chunk
	size  uint64 // bytes
}

// arena is memory of a scope.
type arena struct {
	chunks []chunk
	live   int    // objects
	last   int32  // chunk that objects are placed in, plus one
	place  *int32 // its entry of open, while it is open
}

// chunk is an object of the changed program.
type chunk struct {
	slot trace.Slot
	size uint64 // bytes
	used uint64
}

func (v *arenaEditor) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(v.in) {
		v.in = append(v.in, inArena{})
	}
	o := &v.in[e.Slot]
	switch {
	case e.Op == trace.OpAlloc:
		place := v.placeOf(e, v.number)
		v.number++
		if place == nil {
			v.slots.Copy(e, w)
			return
		}
		v.slots.Set(e.Slot, edit.None)
		*o = inArena{in: true, arena: v.arenaAt(place), align: e.Align}
		v.put(o, e, w)
		v.arenas[o.arena].live++
		v.l.AddRemoved()
	case e.Op == trace.OpRealloc && o.in:
		v.realloc(o, e, w)
	case e.Op == trace.OpFree && o.in:
		v.free(o, e, w)
	default:
		v.slots.Copy(e, w)
	}
}

func (v *arenaEditor) End(*edit.Writer) {}

// placeOf returns which entry of open the object belongs to, or nil.
func (v *arenaEditor) placeOf(e *trace.Event, n int) *int32 {
	if v.runs != nil {
		if !v.s.scoped(v.runs, n) {
			return nil
		}
		return &v.open[0][v.runs.of[n]]
	}
	if int(e.Site) >= len(v.s.cluster) || v.s.cluster[e.Site] == none {
		return nil
	}
	for int(e.Thread) >= len(v.open) {
		v.open = append(v.open, make([]int32, v.s.count))
	}
	return &v.open[e.Thread][v.s.cluster[e.Site]]
}

// arenaAt returns the arena that is open there, or opens one.
func (v *arenaEditor) arenaAt(place *int32) int32 {
	if *place != 0 {
		return *place - 1
	}
	if k := len(v.spare); k > 0 {
		*place = v.spare[k-1] + 1
		v.spare = v.spare[:k-1]
	} else {
		v.arenas = append(v.arenas, arena{})
		*place = int32(len(v.arenas))
	}
	v.arenas[*place-1].place = place
	return *place - 1
}

// put places an object of e's size in its arena: in the last chunk if it fits.
func (v *arenaEditor) put(o *inArena, e *trace.Event, w *edit.Writer) {
	a := &v.arenas[o.arena]
	unit := v.s.unit
	aligned := uint64(o.align) > unit // more than chunks are
	o.size = e.Size
	if a.last > 0 && !aligned {
		c := &a.chunks[a.last-1]
		if at := (c.used + unit - 1) / unit * unit; at <= c.size && e.Size <= c.size-at {
			o.chunk, o.at, c.used = a.last-1, at, at+max(e.Size, 1)
			c.used = min(c.used, c.size)
			v.l.AddSlack(-int64(e.Size))
			return
		}
	}
	alloc := *e
	alloc.Align = 0
	if aligned {
		alloc.Align = o.align
	}
	own := e.Size > v.s.chunk || aligned
	if !own {
		alloc.Size = v.s.chunk
	}
	a.chunks = append(a.chunks, chunk{slot: w.Alloc(&alloc), size: alloc.Size, used: e.Size})
	o.chunk, o.at = int32(len(a.chunks)-1), 0
	if !own {
		a.last = int32(len(a.chunks))
	}
	v.l.AddAdded()
	v.l.AddSlack(int64(alloc.Size) - int64(e.Size))
}

// realloc gives an object of an arena another size.
func (v *arenaEditor) realloc(o *inArena, e *trace.Event, w *edit.Writer) {
	c := &v.arenas[o.arena].chunks[o.chunk]
	end := o.at + o.size
	switch {
	case e.Size <= o.size, c.used <= end && e.Size <= c.size-o.at:
		if c.used <= end {
			c.used = o.at + e.Size
		}
		v.l.AddSlack(int64(o.size) - int64(e.Size))
		o.size = e.Size
	default:
		// What it leaves behind is dead.
		left := o.size
		v.put(o, e, w)
		v.l.AddSlack(int64(left))
		v.l.AddCopies(left)
	}
}

// free ends the life of an object, and of its arena if it was the last. Of its
// scope it is the end either way.
func (v *arenaEditor) free(o *inArena, e *trace.Event, w *edit.Writer) {
	a := &v.arenas[o.arena]
	o.in = false
	a.live--
	if a.place != nil && (v.runs == nil || a.live == 0) {
		*a.place, a.place = 0, nil
	}
	slack := int64(o.size)
	if a.live > 0 {
		v.l.AddSlack(slack)
		return
	}
	for _, c := range a.chunks {
		slack -= int64(c.size)
		w.Free(c.slot, e)
	}
	v.l.AddSlack(slack)
	*a = arena{chunks: a.chunks[:0]}
	v.spare = append(v.spare, o.arena)
}
