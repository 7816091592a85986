package modeltest

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
)

// toy is a first-fit heap over a plain list of blocks, with a header of 8
// bytes, granules of 8, and a fault on demand. It is what the judge and the
// suite are tried on.
type toy struct {
	blocks []heapmodel.Block
	use    heapmodel.Usage
	next   heapmodel.Ref
	fault  string
	calls  int
	waste  []byte
}

const toyLeast = 32

func toyModel(fault string) *heapmodel.Model {
	return &heapmodel.Model{
		Name: "toy", Family: "reference", Title: "first fit", Doc: "A test.", Source: "none",
		Caps: heapmodel.CapAlign,
		Params: []heapmodel.Param{
			{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes"},
		},
		New: func(c heapmodel.Config) (heapmodel.Heap, error) { return newToy(c.Bytes("capacity"), fault) },
	}
}

func toySpec(fault string) *heapmodel.Spec {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{toyModel(fault)}, "toy:capacity=8KiB")
	if err != nil {
		panic(err)
	}
	return s
}

func newToy(capacity uint64, fault string) (*toy, error) {
	least := uint64(toyLeast)
	if capacity < least {
		if fault == "wrong least capacity" {
			least++
		}
		return nil, fmt.Errorf("capacity %d: want at least %d bytes", capacity, least)
	}
	h := &toy{fault: fault}
	h.use.Arena = capacity
	h.use.Overhead = capacity%8 + 8
	h.blocks = []heapmodel.Block{{Addr: 8, Payload: 8, Size: capacity/8*8 - 8, Ref: heapmodel.NullRef}}
	h.count()
	return h, nil
}

func (h *toy) Need(size uint64, align uint32) uint64 {
	if h.fault == "need below size" {
		return size / 2
	}
	if h.fault == "need too large" {
		return size + 1<<20
	}
	return toyNeed(size, align)
}

func toyNeed(size uint64, align uint32) uint64 {
	return (size+7)&^7 + 8 + uint64(max(align, 8)-8)
}

func (h *toy) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	h.calls++
	if h.fault == "allocates memory" {
		h.waste = make([]byte, 100)
	}
	if h.fault == "panic" && h.calls > 5 {
		panic("toy breaks")
	}
	if h.fault == "not deterministic" && h.calls > 100 {
		size += 8 * uint64(toyRuns)
	}
	if size == 0 {
		return heapmodel.NullRef, true
	}
	need := toyNeed(size, align)
	i := slices.IndexFunc(h.blocks, func(b heapmodel.Block) bool { return !b.Used && b.Size >= need })
	if i < 0 {
		if h.fault == "failure changes counters" {
			h.use.HighWater++
		}
		return heapmodel.NullRef, false
	}
	b := &h.blocks[i]
	h.next++
	b.Used, b.Ref = true, h.next
	payload := uint64(b.Addr) + 8
	if unit := uint64(align); unit > 8 && h.fault != "ignores align" {
		payload = (payload + unit - 1) &^ (unit - 1)
	}
	b.Payload = heapmodel.Addr(payload)
	if rest := b.Size - need; rest > 0 {
		b.Size = need
		end := b.Addr + heapmodel.Addr(need)
		h.blocks = slices.Insert(h.blocks, i+1, heapmodel.Block{Addr: end, Payload: end, Size: rest, Ref: heapmodel.NullRef})
		b = &h.blocks[i]
	}
	ref := b.Ref
	if h.fault == "ref twice" && ref > 4 && h.find(ref-1) >= 0 {
		return ref - 1, true
	}
	h.damage(i)
	h.count()
	return ref, true
}

// damage damages the heap after an allocation of block i, as the fault says.
func (h *toy) damage(i int) {
	b := &h.blocks[i]
	second := h.calls > 1
	switch h.fault {
	case "overlap":
		if second && i > 0 && b.Size > 24 {
			b.Payload -= 8 + 8
		}
	case "beyond the block":
		if i+1 < len(h.blocks) && h.calls > 3 {
			b.Size -= 8
			h.blocks[i+1].Addr -= 8
			h.blocks[i+1].Size += 8
			h.blocks[i+1].Payload = h.blocks[i+1].Addr
		}
	case "misaligned":
		b.Payload += 4
	case "moves another":
		if i > 0 && h.blocks[i-1].Used && h.blocks[i-1].Size > 16 {
			h.blocks[i-1].Payload += 8
		}
	case "null address":
		b.Payload = heapmodel.Null
	case "free ref":
		h.blocks[len(h.blocks)-1].Ref = 7
	case "forgets":
		if h.next == 5 {
			b.Ref += 1000
		}
	}
}

// count makes the counters anew, with what the fault gets wrong.
func (h *toy) count() {
	u := &h.use
	u.Allocated, u.Free, u.UsedBlocks, u.FreeBlocks = 0, 0, 0, 0
	for _, b := range h.blocks {
		if b.Used {
			u.Allocated += b.Size
			u.UsedBlocks++
			u.HighWater = max(u.HighWater, uint64(b.Addr)+b.Size)
		} else {
			u.Free += b.Size
			u.FreeBlocks++
		}
	}
	if h.calls < 4 {
		return
	}
	switch h.fault {
	case "allocated off":
		u.Allocated += 8
		u.Free -= 8
	case "sum off":
		u.Overhead++
	case "used blocks off":
		u.UsedBlocks++
	case "free blocks off":
		u.FreeBlocks++
	case "mark falls":
		u.HighWater -= 8
	case "mark low":
		u.HighWater = 16
	}
}

func (h *toy) find(r heapmodel.Ref) int {
	return slices.IndexFunc(h.blocks, func(b heapmodel.Block) bool { return b.Used && b.Ref == r })
}

func (h *toy) Free(r heapmodel.Ref) {
	h.calls++
	if r == heapmodel.NullRef {
		return
	}
	i := h.find(r)
	if i < 0 {
		if h.fault == "frees the dead" {
			return
		}
		panic("toy: not live")
	}
	if h.fault == "leaks" && h.calls%7 == 0 {
		return
	}
	b := &h.blocks[i]
	b.Used, b.Ref, b.Payload = false, heapmodel.NullRef, b.Addr
	if i+1 < len(h.blocks) && !h.blocks[i+1].Used {
		b.Size += h.blocks[i+1].Size
		h.blocks = slices.Delete(h.blocks, i+1, i+2)
	}
	if i > 0 && !h.blocks[i-1].Used {
		h.blocks[i-1].Size += h.blocks[i].Size
		h.blocks = slices.Delete(h.blocks, i, i+1)
	}
	h.count()
}

func (h *toy) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	s, ok := heapmodel.Move(h, r, size, align)
	if !ok && h.fault == "failed realloc moves" {
		return heapmodel.NullRef, false
	}
	if !ok && h.fault == "failed realloc frees" {
		h.Free(r)
		return r, false
	}
	return s, ok
}

func (h *toy) Addr(r heapmodel.Ref) heapmodel.Addr {
	if i := h.find(r); i >= 0 {
		return h.blocks[i].Payload
	}
	return heapmodel.Null
}

func (h *toy) Align() uint32           { return 8 }
func (h *toy) Usage() *heapmodel.Usage { return &h.use }

func (h *toy) LargestFree() (largest uint64) {
	for _, b := range h.blocks {
		if !b.Used {
			largest = max(largest, b.Size)
		}
	}
	if h.fault == "largest off" && largest > 0 {
		largest--
	}
	return largest
}

func (h *toy) Blocks() iter.Seq[heapmodel.Block] {
	walk := slices.Clone(h.blocks)
	switch {
	case h.fault == "order" && len(walk) > 1:
		walk[0], walk[1] = walk[1], walk[0]
	case h.fault == "blocks overlap" && len(walk) > 1:
		walk[0].Size += 8
	case h.fault == "leaves one out" && len(walk) > 4:
		walk[2].Used, walk[2].Ref = true, heapmodel.NullRef
		h.use.UsedBlocks, h.use.FreeBlocks = 0, 0
		for _, b := range walk {
			if b.Used {
				h.use.UsedBlocks++
			} else {
				h.use.FreeBlocks++
			}
		}
	}
	return slices.Values(walk)
}

func (h *toy) Check() error {
	if h.fault == "check" && h.calls > 10 {
		return errors.New("toy says so")
	}
	return nil
}

// toyRuns changes between the runs of a toy that is not deterministic.
var toyRuns int
