package replay

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// survey walks all blocks of the heap.
func (p *player) survey(event uint64, time int64, live uint64) *Survey {
	s := &Survey{
		Event: event, Time: time, Live: live, Usage: *p.use,
		Free: p.use.Free, LargestFree: p.h.LargestFree(), FreeBlocks: p.use.FreeBlocks,
	}
	if !p.layout {
		return s
	}
	keep := p.use.UsedBlocks+p.use.FreeBlocks <= MaxSurveyBlocks
	var sizes []uint64
	for b := range p.h.Blocks() {
		if keep {
			s.Blocks = append(s.Blocks, b)
		}
		if !b.Used {
			sizes = append(sizes, b.Size)
		}
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		if n := len(s.FreeSizes); n > 0 && s.FreeSizes[n-1].Size == size {
			s.FreeSizes[n-1].Count++
		} else {
			s.FreeSizes = append(s.FreeSizes, SizeCount{Size: size, Count: 1})
		}
	}
	return s
}

// stepper keeps what the pictures of single steps need: the number of the
// object, or of its site, in each used block.
type stepper struct {
	bySite  bool
	objects uint32
	bySlot  []uint32
	byRef   []uint32
}

// step records a picture of the heap after event i of the block.
func (p *player) step(b *trace.Block, i int) {
	st := p.steps
	slot := int(b.Slot[i])
	for slot >= len(st.bySlot) {
		st.bySlot = append(st.bySlot, 0)
	}
	if b.Op[i] == trace.OpAlloc {
		st.bySlot[slot] = st.objects
		if st.bySite && b.Site[i] != 0 {
			st.bySlot[slot] = uint32(b.Site[i]) - 1
		}
		st.objects++
	}
	label := st.bySlot[slot]
	if r := p.refs[slot]; r < dead {
		for int(r) >= len(st.byRef) {
			st.byRef = append(st.byRef, 0)
		}
		st.byRef[r] = label
	}
	s := Step{Event: b.At(i), Label: label}
	if n := len(p.res.Failed); n > 0 && p.res.Failed[n-1].Event == b.First+uint64(i) {
		s.Failed = &p.res.Failed[n-1]
	}
	for blk := range p.h.Blocks() {
		s.Blocks = append(s.Blocks, blk)
		if blk.Used && uint64(blk.Ref) < uint64(len(st.byRef)) {
			s.Labels = append(s.Labels, st.byRef[blk.Ref])
		} else if blk.Used {
			s.Labels = append(s.Labels, NoLabel) // a dead object that its heap does not take back
		}
		s.End = max(s.End, uint64(blk.Addr)+blk.Size)
	}
	p.res.Steps = append(p.res.Steps, s)
}

// Map is the heap over time: for each of its columns, how much of each row of
// addresses was in use. Rows are RowBytes long, row 0 at address 0, up to the
// highest block ever used.
type Map struct {
	RowBytes uint64
	Rows     int
	Cols     []MapCol
}

// MapCol is the heap after one event. Used, Age and SizeLog2 have Rows
// elements.
type MapCol struct {
	Event    uint64
	Time     int64
	Used     []float32 // bytes of the row in used blocks
	Age      []float32 // mean age in events of those bytes
	SizeLog2 []float32 // mean log2 of the block size of those bytes
	Arena    uint64    // end of the highest block
}

// mapper collects a Map. The height of a row doubles as the heap grows.
type mapper struct {
	m      Map
	cols   uint64 // columns wanted
	events uint64 // of the whole trace
	top    uint64 // end of the highest used block so far
	bySlot []uint64
	byRef  []uint64 // event at which the object was allocated
}

func newMapper(o *Options, events uint64) *mapper {
	rows := o.MapRows
	if rows <= 0 {
		rows = 256
	}
	return &mapper{m: Map{RowBytes: 1, Rows: rows}, cols: min(uint64(o.MapCols), max(1, events)), events: max(1, events)}
}

// due returns the number of events after which the next column is taken, once
// played events have been replayed.
func (m *mapper) due(played uint64) uint64 {
	col := uint64(len(m.m.Cols))
	if col >= m.cols {
		return ^uint64(0)
	}
	return max(played+1, m.events*(col+1)/m.cols)
}

// born notes when the object now at r came to live.
func (m *mapper) born(slot int, r heapmodel.Ref, op trace.Op, event uint64) {
	if r == heapmodel.NullRef {
		return
	}
	for slot >= len(m.bySlot) {
		m.bySlot = append(m.bySlot, 0)
	}
	if op == trace.OpAlloc {
		m.bySlot[slot] = event
	}
	for int(r) >= len(m.byRef) {
		m.byRef = append(m.byRef, 0)
	}
	m.byRef[r] = m.bySlot[slot]
}

// column adds the heap as it is now.
func (m *mapper) column(h heapmodel.Heap, played uint64, time int64) {
	rows := m.m.Rows
	c := MapCol{
		Event: played - 1, Time: time,
		Used: make([]float32, rows), Age: make([]float32, rows), SizeLog2: make([]float32, rows),
	}
	for b := range h.Blocks() {
		end := uint64(b.Addr) + b.Size
		c.Arena = max(c.Arena, end)
		if !b.Used || b.Size == 0 {
			continue
		}
		// Free memory above all blocks ever used takes no rows.
		for end > m.m.RowBytes*uint64(rows) {
			m.double(&c)
		}
		m.top = max(m.top, end)
		age := float32(0)
		if int(b.Ref) < len(m.byRef) {
			age = float32(played - m.byRef[b.Ref])
		}
		c.add(bits.TrailingZeros64(m.m.RowBytes), uint64(b.Addr), end, age, log2(b.Size))
	}
	m.m.Cols = append(m.m.Cols, c)
}

// add puts the bytes [from, to) into their rows, whose height is a power of two.
func (c *MapCol) add(rowLog2 int, from, to uint64, age, sizeLog2 float32) {
	for row := from >> rowLog2; from < to; row++ {
		end := min(to, (row+1)<<rowLog2)
		part := float32(end - from)
		c.Used[row] += part
		c.Age[row] += part * age
		c.SizeLog2[row] += part * sizeLog2
		from = end
	}
}

// double makes rows twice as high, in all columns and the one being filled.
func (m *mapper) double(current *MapCol) {
	m.m.RowBytes *= 2
	for i := range m.m.Cols {
		m.m.Cols[i].halve()
	}
	current.halve()
}

func (c *MapCol) halve() {
	for _, col := range [][]float32{c.Used, c.Age, c.SizeLog2} {
		half := len(col) / 2
		for i := range half {
			col[i] = col[2*i] + col[2*i+1]
		}
		if len(col)%2 == 1 {
			col[half] = col[len(col)-1]
			half++
		}
		clear(col[half:])
	}
}

// result returns the map, sums made means, rows above the highest block ever
// used cut off.
func (m *mapper) result() *Map {
	m.m.Rows = min(m.m.Rows, int((max(m.top, 1)+m.m.RowBytes-1)/m.m.RowBytes))
	for i := range m.m.Cols {
		c := &m.m.Cols[i]
		c.Used, c.Age, c.SizeLog2 = c.Used[:m.m.Rows], c.Age[:m.m.Rows], c.SizeLog2[:m.m.Rows]
		for row, used := range c.Used {
			if used > 0 {
				c.Age[row] /= used
				c.SizeLog2[row] /= used
			}
		}
	}
	return &m.m
}

// log2 returns the logarithm of a size with a quarter's precision, which is
// what a colour can show.
func log2(size uint64) float32 {
	whole := bits.Len64(size) - 1
	frac := float32(size)/float32(uint64(1)<<whole) - 1
	return float32(whole) + frac
}

// bySize is the order of failures in reports: most frequent first.
func sortBySize(s []SizeCount) {
	slices.SortFunc(s, func(a, b SizeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Size, b.Size))
	})
}
