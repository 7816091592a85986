package trace

// Summary is what a trace holds, counted once over all its events. Bytes are
// what the trace's sizes count (Header.Sizes).
type Summary struct {
	Events   uint64
	Allocs   uint64
	Frees    uint64
	Reallocs uint64
	Objects  uint64 // objects that ever lived; equals Allocs
	Slots    uint32 // highest slot + 1: the peak of live objects
	Threads  uint32 // highest thread + 1
	SiteIDs  uint32 // highest site + 1, the unknown site included

	Aligned   uint64 // allocs with an alignment
	ZeroSize  uint64 // allocs of size 0
	Largest   uint64 // bytes of the largest single request
	MaxAlign  uint32 // largest alignment asked for
	AllocSum  uint64 // bytes allocated: sizes of allocs and reallocs added up
	FirstTime int64  // ns
	LastTime  int64  // ns

	PeakLiveBytes   uint64 // most live bytes after any event
	PeakLiveEvent   uint64 // the first event after which they are reached
	PeakLiveObjects uint64 // most live objects after any event
	EndLiveBytes    uint64 // live bytes after the last event
	NeverFreed      uint64 // objects alive after the last event
}

// Counter makes a Summary from the blocks of a trace, in order. The zero
// Counter is ready. It needs 8 bytes for each slot.
type Counter struct {
	sum   Summary
	live  uint64
	count uint64
	sizes []uint64 // by slot; bytes of the live object
}

// Block counts the events of one block. It trusts the block: an event that
// breaks the rules of a Validator gives wrong counts, never a panic.
func (c *Counter) Block(b *Block) {
	s := &c.sum
	if b.Len() == 0 {
		return
	}
	if s.Events == 0 {
		s.FirstTime = b.Time[0]
	}
	s.LastTime = b.Time[b.Len()-1]
	sizes, live, count := c.sizes, c.live, c.count
	slots, size, aligns := b.Slot[:len(b.Op)], b.Size[:len(b.Op)], b.Align[:len(b.Op)]
	for i, op := range b.Op {
		slot := int(slots[i])
		if slot >= len(sizes) {
			sizes = growTo(sizes, slot+1)
		}
		bytes := size[i]
		switch op {
		case OpAlloc:
			s.Allocs++
			live += bytes
			count++
			sizes[slot] = bytes
			s.AllocSum += bytes
			if bytes == 0 {
				s.ZeroSize++
			}
			if a := aligns[i]; a != 0 {
				s.Aligned++
				s.MaxAlign = max(s.MaxAlign, a)
			}
			s.PeakLiveObjects = max(s.PeakLiveObjects, count)
		case OpFree:
			s.Frees++
			live -= sizes[slot]
			count--
			sizes[slot] = 0
		case OpRealloc:
			s.Reallocs++
			live += bytes - sizes[slot]
			sizes[slot] = bytes
			s.AllocSum += bytes
		}
		s.Largest = max(s.Largest, bytes)
		if live > s.PeakLiveBytes {
			s.PeakLiveBytes, s.PeakLiveEvent = live, b.First+uint64(i)
		}
	}
	for _, thread := range b.Thread {
		s.Threads = max(s.Threads, thread+1)
	}
	for _, site := range b.Site {
		s.SiteIDs = max(s.SiteIDs, uint32(site)+1)
	}
	s.Events += uint64(b.Len())
	c.sizes, c.live, c.count = sizes, live, count
}

// Summary returns the counts so far. O(1).
func (c *Counter) Summary() Summary {
	s := c.sum
	s.Objects = s.Allocs
	s.Slots = uint32(len(c.sizes))
	s.EndLiveBytes, s.NeverFreed = c.live, c.count
	return s
}

// growTo returns s lengthened to n elements, the new ones zero, with room to
// spare so that a rising series of calls copies each element O(1) times.
func growTo[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	t := make([]T, n, max(n+n/4, 64))
	copy(t, s)
	return t
}
