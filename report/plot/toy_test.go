package plot

import (
	"iter"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
)

// toyHeap is first fit without headers, to the byte, for replays in tests. With
// grow it adds that many bytes at its end when nothing fits.
type toyHeap struct {
	blocks []heapmodel.Block
	refs   uint32
	grow   uint64
	usage  heapmodel.Usage
}

var toyModel = &heapmodel.Model{
	Name: "toy", Caps: heapmodel.CapGrow,
	Params: []heapmodel.Param{{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64"}, {Key: "quantum", Kind: heapmodel.ParamBytes}},
	New: func(c heapmodel.Config) (heapmodel.Heap, error) {
		h := &toyHeap{grow: c.Bytes("quantum")}
		h.blocks = []heapmodel.Block{{Size: c.Bytes("capacity"), Ref: heapmodel.NullRef}}
		h.count()
		return h, nil
	},
}

// idealModel is a heap without an arena.
var idealModel = &heapmodel.Model{
	Name: "ideal/ref", Caps: heapmodel.CapNoLayout | heapmodel.CapGrow | heapmodel.CapAlign,
	New: func(heapmodel.Config) (heapmodel.Heap, error) { return &idealHeap{}, nil },
}

func (h *toyHeap) count() {
	u := heapmodel.Usage{HighWater: h.usage.HighWater, Grown: h.usage.Grown}
	for _, b := range h.blocks {
		u.Arena += b.Size
		if b.Used {
			u.Allocated += b.Size
			u.UsedBlocks++
			u.HighWater = max(u.HighWater, uint64(b.Addr)+b.Size)
		} else {
			u.Free += b.Size
			u.FreeBlocks++
		}
	}
	h.usage = u
}

func (h *toyHeap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	defer h.count()
	need := h.Need(size, 0)
	fits := func(b heapmodel.Block) bool { return !b.Used && b.Size >= need }
	i := slices.IndexFunc(h.blocks, fits)
	if i < 0 && h.grow > 0 {
		more := (need + h.grow - 1) / h.grow * h.grow
		h.usage.Grown = heapmodel.Growth{Need: need, Free: h.usage.Free, LargestFree: h.LargestFree()}
		last := &h.blocks[len(h.blocks)-1]
		if last.Used {
			h.blocks = append(h.blocks, heapmodel.Block{Addr: last.Addr + heapmodel.Addr(last.Size), Size: more, Ref: heapmodel.NullRef})
		} else {
			last.Size += more
		}
		i = slices.IndexFunc(h.blocks, fits)
	}
	if i < 0 {
		return 0, false
	}
	b := &h.blocks[i]
	b.Used, b.Ref, b.Payload = true, heapmodel.Ref(h.refs), b.Addr
	h.refs++
	r := b.Ref
	if rest := b.Size - need; rest > 0 {
		b.Size = need
		at := b.Addr + heapmodel.Addr(need)
		h.blocks = slices.Insert(h.blocks, i+1, heapmodel.Block{Addr: at, Size: rest, Payload: at, Ref: heapmodel.NullRef})
	}
	return r, true
}

func (h *toyHeap) find(r heapmodel.Ref) int {
	return slices.IndexFunc(h.blocks, func(b heapmodel.Block) bool { return b.Used && b.Ref == r })
}

func (h *toyHeap) Free(r heapmodel.Ref) {
	defer h.count()
	i := h.find(r)
	h.blocks[i].Used, h.blocks[i].Ref = false, heapmodel.NullRef
	for j := min(i+1, len(h.blocks)-1); j > 0 && j >= i; j-- {
		if !h.blocks[j].Used && !h.blocks[j-1].Used {
			h.blocks[j-1].Size += h.blocks[j].Size
			h.blocks = slices.Delete(h.blocks, j, j+1)
		}
	}
}

func (h *toyHeap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

func (h *toyHeap) LargestFree() uint64 {
	most := uint64(0)
	for _, b := range h.blocks {
		if !b.Used {
			most = max(most, b.Size)
		}
	}
	return most
}

func (h *toyHeap) Addr(r heapmodel.Ref) heapmodel.Addr { return h.blocks[h.find(r)].Addr }
func (h *toyHeap) Align() uint32                       { return 1 }
func (h *toyHeap) Need(size uint64, _ uint32) uint64   { return max(size, 1) }
func (h *toyHeap) Usage() *heapmodel.Usage             { return &h.usage }
func (h *toyHeap) Blocks() iter.Seq[heapmodel.Block]   { return slices.Values(h.blocks) }
func (h *toyHeap) Check() error                        { return nil }

type idealHeap struct {
	usage heapmodel.Usage
	sizes []uint64
}

func (h *idealHeap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	h.sizes = append(h.sizes, size)
	h.usage.Arena += size
	h.usage.Allocated += size
	h.usage.HighWater = max(h.usage.HighWater, h.usage.Arena)
	return heapmodel.Ref(len(h.sizes) - 1), true
}

func (h *idealHeap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

func (h *idealHeap) Free(r heapmodel.Ref) {
	h.usage.Arena -= h.sizes[r]
	h.usage.Allocated -= h.sizes[r]
}

func (h *idealHeap) Addr(r heapmodel.Ref) heapmodel.Addr { return heapmodel.Addr(r) }
func (h *idealHeap) Align() uint32                       { return 1 }
func (h *idealHeap) Need(size uint64, _ uint32) uint64   { return size }
func (h *idealHeap) Usage() *heapmodel.Usage             { return &h.usage }
func (h *idealHeap) LargestFree() uint64                 { return 0 }
func (h *idealHeap) Blocks() iter.Seq[heapmodel.Block]   { return slices.Values([]heapmodel.Block(nil)) }
func (h *idealHeap) Check() error                        { return nil }
