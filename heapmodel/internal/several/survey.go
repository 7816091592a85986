package several

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// Regions implements heapmodel.Apart.
func (s *Heaps) Regions() (out []heapmodel.Region) {
	for _, i := range s.order {
		p := &s.parts[i]
		for _, r := range p.Regions {
			out = append(out, heapmodel.Region{Addr: heapmodel.Addr(p.Base) + r.Addr, Size: r.Size})
		}
	}
	return out
}

// Blocks implements heapmodel.Heap.
func (s *Heaps) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for _, i := range s.order {
			p := &s.parts[i]
			wall := true
			for b := range p.Heap.Blocks() {
				b.Wall = b.Wall || wall
				wall = false
				b.Addr += heapmodel.Addr(p.Base)
				b.Payload = p.place(b.Ref, b.Payload)
				if b.Ref != heapmodel.NullRef {
					b.Ref = s.ref(i, b.Ref)
				}
				if !yield(b) {
					return
				}
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (s *Heaps) Check() error {
	var sum heapmodel.Usage
	var foot, end uint64
	for _, i := range s.order {
		p := &s.parts[i]
		if err := p.Heap.Check(); err != nil {
			return fmt.Errorf("heap %d: %w", i, err)
		}
		if *p.use != p.was {
			return fmt.Errorf("heap %d: the counters are %+v, the latest seen %+v", i, *p.use, p.was)
		}
		if first := p.Base + uint64(p.Regions[0].Addr); first < end {
			return fmt.Errorf("heap %d begins at %d, below the end of another, %d", i, first, end)
		}
		last := p.Regions[len(p.Regions)-1]
		end = p.Base + uint64(last.Addr) + last.Size
		if err := s.checkBlocks(i); err != nil {
			return err
		}
		sum.Arena += p.use.Arena
		sum.Allocated += p.use.Allocated
		sum.Free += p.use.Free
		sum.Overhead += p.use.Overhead
		sum.UsedBlocks += p.use.UsedBlocks
		sum.FreeBlocks += p.use.FreeBlocks
		sum.Steps += p.use.Steps
		foot += p.Foot.Bytes()
		if p.use.HighWater > 0 {
			sum.HighWater = max(sum.HighWater, p.Base+p.use.HighWater)
		}
	}
	sum.Grown = s.Use.Grown
	if sum != s.Use || foot != s.foot {
		return fmt.Errorf("counters %+v and footprint %d, those of the heaps come to %+v and %d", s.Use, s.foot, sum, foot)
	}
	return nil
}

// checkBlocks returns an error if a block of a part lies outside its regions,
// or a padded object outside its block.
func (s *Heaps) checkBlocks(i int) error {
	p := &s.parts[i]
	at := 0
	for b := range p.Heap.Blocks() {
		end := uint64(b.Addr) + b.Size
		for at < len(p.Regions) && uint64(p.Regions[at].Addr)+p.Regions[at].Size < end {
			at++
		}
		if at == len(p.Regions) || b.Addr < p.Regions[at].Addr {
			return fmt.Errorf("heap %d: block [%d, %d) is outside its regions", i, b.Addr, end)
		}
		if payload := uint64(p.place(b.Ref, b.Payload)); b.Used && payload > p.Base+end {
			return fmt.Errorf("heap %d: the object at %d is outside its block [%d, %d)", i, payload, p.Base+uint64(b.Addr), p.Base+end)
		}
	}
	return nil
}

// Span returns the bytes of address space that a part takes, and the alignment
// its Base needs: that of its addresses, and up to most what makes an alignment
// of its whole length possible.
func Span(h heapmodel.Heap, regions []heapmodel.Region, most uint64) (bytes, align uint64) {
	last := regions[len(regions)-1]
	bytes = uint64(last.Addr) + last.Size
	align = most
	if bytes < most {
		align = 1 << bits.Len64(bytes-min(bytes, 1))
	}
	return bytes, max(align, uint64(h.Align()))
}
