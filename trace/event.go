// Package trace holds what an allocation trace is: events, the blocks of
// columns they travel in, the header that describes them, and the readers and
// validators every source of events shares. It knows no file format (see
// trace/formats and trace/store) and no heap.
//
// A trace is a sequence of events in program order. Each event names its
// object by a slot: a dense index that is handed out lowest-free-first and
// given back when the object dies, so that the per-object state of whoever
// replays a trace is a slice as long as the peak of live objects, even for a
// trace of 10^10 events.
package trace

// Slot is the dense index of a live object: reused after a free, the lowest
// free one first, so slots never exceed the peak of live objects.
type Slot uint32

// SiteID names an allocation call site: an index into Header.Sites. Zero is
// the unknown site.
type SiteID uint32

// Op says what an event does. The zero Op is invalid.
type Op uint8

// The operations a trace can hold.
const (
	OpAlloc   Op = 1 + iota // a new object comes to live in the event's slot
	OpFree                  // the object in the slot dies
	OpRealloc               // the object in the slot gets a new size and stays in its slot
)

// String returns the name of the operation as tables and messages print it.
func (o Op) String() string {
	switch o {
	case OpAlloc:
		return "alloc"
	case OpFree:
		return "free"
	case OpRealloc:
		return "realloc"
	}
	return "invalid"
}

// Event is one operation of a program on its heap. It is the row form of a
// Block's columns, for code that is not hot.
type Event struct {
	Time   int64  // nanoseconds since the first event; zero throughout if the source has no clock
	Size   uint64 // bytes asked for by an alloc or realloc; zero for a free
	Slot   Slot   // the object
	Align  uint32 // bytes, a power of two; zero if the program asked for none (plain malloc)
	Thread uint32 // number of the thread in order of appearance, from zero
	Site   SiteID // call site; zero if unknown
	Op     Op
}

// MaxSize is the largest size of an event in bytes: larger ones are negative
// numbers or nonsense, and sums of a few could overflow.
const MaxSize = 1 << 62

// BlockEvents is the largest number of events a Block holds.
const BlockEvents = 64 << 10

// Block is a run of consecutive events as columns of equal length, at most
// BlockEvents long. Its columns belong to whoever owns the Block value: a
// Reader fills the Block it is given and reuses its columns, so a caller that
// wants to keep a block passes a fresh one next time. Once filled, a block may
// be read by many goroutines.
type Block struct {
	First  uint64 // index of the block's first event in the trace
	Op     []Op
	Slot   []Slot
	Size   []uint64
	Align  []uint32
	Time   []int64
	Thread []uint32
	Site   []SiteID
}

// Len returns the number of events in the block.
func (b *Block) Len() int { return len(b.Op) }

// Reset empties the block, keeps its storage, and sets the index of its first
// event.
func (b *Block) Reset(first uint64) {
	b.First = first
	b.Op, b.Slot, b.Size, b.Align = b.Op[:0], b.Slot[:0], b.Size[:0], b.Align[:0]
	b.Time, b.Thread, b.Site = b.Time[:0], b.Thread[:0], b.Site[:0]
}

// Grow makes room for a full block, so that appends up to BlockEvents allocate
// nothing.
func (b *Block) Grow(events int) {
	if cap(b.Op) >= events {
		return
	}
	n := b.Len()
	b.Op = append(make([]Op, 0, events), b.Op[:n]...)
	b.Slot = append(make([]Slot, 0, events), b.Slot[:n]...)
	b.Size = append(make([]uint64, 0, events), b.Size[:n]...)
	b.Align = append(make([]uint32, 0, events), b.Align[:n]...)
	b.Time = append(make([]int64, 0, events), b.Time[:n]...)
	b.Thread = append(make([]uint32, 0, events), b.Thread[:n]...)
	b.Site = append(make([]SiteID, 0, events), b.Site[:n]...)
}

// Append adds one event at the end of the block.
func (b *Block) Append(e Event) {
	b.Op = append(b.Op, e.Op)
	b.Slot = append(b.Slot, e.Slot)
	b.Size = append(b.Size, e.Size)
	b.Align = append(b.Align, e.Align)
	b.Time = append(b.Time, e.Time)
	b.Thread = append(b.Thread, e.Thread)
	b.Site = append(b.Site, e.Site)
}

// At returns event i of the block as a row.
func (b *Block) At(i int) Event {
	return Event{
		Op: b.Op[i], Slot: b.Slot[i], Size: b.Size[i], Align: b.Align[i],
		Time: b.Time[i], Thread: b.Thread[i], Site: b.Site[i],
	}
}
