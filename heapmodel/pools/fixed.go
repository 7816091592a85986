package pools

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
)

// fixed is the pools without an overflow heap. A Ref is the number of a block
// in its pool, above mostPoolsLog2 bits that are the number of the pool.
type fixed struct {
	arena.Config
	next   bool    // fallback=next
	pools  []pool  // in the order given, which is that of addresses
	bySize []uint8 // pools by ascending size of their blocks

	use   heapmodel.Usage
	large uint64 // requests that no pool holds
}

// pool is one array of blocks.
type pool struct {
	start  uint64 // address of the first block, its header included
	stride uint64 // bytes of a block, header included
	usable uint64 // bytes of the payload
	align  uint32 // alignment of all payloads
	count  uint32

	// links has an element for each block that was ever used, which are the
	// lowest: inUse, or the next of the stack of freed ones.
	links  []uint32
	head   uint32 // of the stack
	used   uint32
	misses uint64 // requests that this pool is for and that found it empty
	others uint64 // requests of smaller pools that it served
}

// Values of pool.links that are no block.
const (
	inUse uint32 = 1<<32 - 1
	none  uint32 = 1<<32 - 2
)

// holds reports whether a block can be given to a request.
func (p *pool) holds(size uint64, align uint32) bool { return size <= p.usable && align <= p.align }

func (p *pool) full() bool { return p.used == p.count }

// Alloc implements heapmodel.Heap.
func (f *fixed) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	first := true
	for _, i := range f.bySize {
		f.use.Steps++
		p := &f.pools[i]
		if !p.holds(size, align) {
			continue
		}
		if !p.full() {
			if !first {
				p.others++
			}
			return f.take(i), true
		}
		if first {
			p.misses++
		}
		first = false
		if !f.next {
			break
		}
	}
	if first {
		f.large++
	}
	return heapmodel.NullRef, false
}

// take takes the top block of a pool that is not full.
func (f *fixed) take(i uint8) heapmodel.Ref {
	p := &f.pools[i]
	block := p.head
	if block != none {
		p.head = p.links[block]
		p.links[block] = inUse
	} else {
		block = uint32(len(p.links))
		p.links = append(p.links, inUse)
	}
	p.used++
	u := &f.use
	u.UsedBlocks++
	u.FreeBlocks--
	u.Allocated += p.stride
	u.Free -= p.stride
	u.HighWater = max(u.HighWater, p.start+uint64(block+1)*p.stride)
	return heapmodel.Ref(block<<mostPoolsLog2 | uint32(i))
}

// live returns the pool and the block of a live object, and panics if there is
// none.
func (f *fixed) live(r heapmodel.Ref) (p *pool, block uint32) {
	i := uint32(r) & (1<<mostPoolsLog2 - 1)
	block = uint32(r) >> mostPoolsLog2
	if i >= uint32(len(f.pools)) || block >= uint32(len(f.pools[i].links)) || f.pools[i].links[block] != inUse {
		panic("pools: the Ref is not that of a live object")
	}
	return &f.pools[i], block
}

// Free implements heapmodel.Heap.
func (f *fixed) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	p, block := f.live(r)
	p.links[block] = p.head
	p.head = block
	p.used--
	u := &f.use
	u.UsedBlocks--
	u.FreeBlocks++
	u.Allocated -= p.stride
	u.Free += p.stride
}

// Realloc implements heapmodel.Heap.
func (f *fixed) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return f.Alloc(size, align)
	}
	if p, _ := f.live(r); size <= p.usable {
		return r, true
	}
	return heapmodel.Move(f, r, size, align)
}

// Addr implements heapmodel.Heap.
func (f *fixed) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	p := &f.pools[r&(1<<mostPoolsLog2-1)]
	return heapmodel.Addr(p.start + uint64(r>>mostPoolsLog2)*p.stride + f.Header)
}

// Align implements heapmodel.Heap.
func (f *fixed) Align() uint32 { return uint32(f.Grain) }

// Need implements heapmodel.Heap: a block of the smallest pool that holds the
// request. If none does, no block is large or aligned enough.
func (f *fixed) Need(size uint64, align uint32) uint64 {
	if p := f.smallest(size, align); p != nil {
		return p.stride
	}
	return f.Up(min(size, heapmodel.MaxSize)+f.Header) + uint64(align)
}

// smallest returns the pool that a request is for, nil if there is none.
func (f *fixed) smallest(size uint64, align uint32) *pool {
	for _, i := range f.bySize {
		if p := &f.pools[i]; p.holds(size, align) {
			return p
		}
	}
	return nil
}

// Usage implements heapmodel.Heap.
func (f *fixed) Usage() *heapmodel.Usage { return &f.use }

// LargestFree implements heapmodel.Heap. O(pools).
func (f *fixed) LargestFree() uint64 {
	for k := len(f.bySize) - 1; k >= 0; k-- {
		if p := &f.pools[f.bySize[k]]; !p.full() {
			return p.stride
		}
	}
	return 0
}

// Footprint implements heapmodel.Composed: what lies in front of and between the
// pools, and the blocks of each that were ever used.
func (f *fixed) Footprint() uint64 {
	bytes := f.use.Overhead
	for i := range f.pools {
		bytes += f.pools[i].stride * uint64(len(f.pools[i].links))
	}
	return bytes
}

// Regions implements heapmodel.Apart: all pools are one region.
func (f *fixed) Regions() []heapmodel.Region { return []heapmodel.Region{{Size: f.use.Arena}} }

// Blocks implements heapmodel.Heap.
func (f *fixed) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for i := range f.pools {
			p := &f.pools[i]
			for block := range p.count {
				at := heapmodel.Addr(p.start + uint64(block)*p.stride)
				b := heapmodel.Block{Addr: at, Size: p.stride, Payload: at, Wall: block == 0, Ref: heapmodel.NullRef}
				if block < uint32(len(p.links)) && p.links[block] == inUse {
					b.Used, b.Ref = true, heapmodel.Ref(block<<mostPoolsLog2|uint32(i))
					b.Payload += heapmodel.Addr(f.Header)
				}
				if !yield(b) {
					return
				}
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (f *fixed) Check() error {
	var sum heapmodel.Usage
	for i := range f.pools {
		p := &f.pools[i]
		used, stacked := uint32(0), uint32(0)
		for _, link := range p.links {
			if link == inUse {
				used++
			}
		}
		for block := p.head; block != none; block = p.links[block] {
			if stacked++; block >= uint32(len(p.links)) || p.links[block] == inUse || stacked > uint32(len(p.links)) {
				return fmt.Errorf("the stack of pool %d has block %d, which is not free, or twice", i, block)
			}
		}
		if used != p.used || used+stacked != uint32(len(p.links)) || uint32(len(p.links)) > p.count {
			return fmt.Errorf("pool %d has %d used blocks and %d freed of %d, and says %d of %d", i, used, stacked, len(p.links), p.used, p.count)
		}
		sum.UsedBlocks += uint64(used)
		sum.FreeBlocks += uint64(p.count - used)
		sum.Allocated += uint64(used) * p.stride
		sum.Free += uint64(p.count-used) * p.stride
	}
	u := f.use
	switch {
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the pools %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes: %d allocated, %d free, %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}
