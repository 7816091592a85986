package study

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/fragprof/fragprof/trace"
)

// Load is a sequence of allocations and frees. Objects are numbered in the
// order of their allocation.
type Load struct {
	Name  string
	About string   // what was recorded
	Sizes []uint64 // by object, in bytes
	// Ops has an entry an operation: an object's number for its allocation, the
	// complement of it (^k) for its free.
	Ops []int32
}

// MaxObjects is the most objects a Load holds, at 16 bytes each and no more.
const MaxObjects = 1 << 26

// Record reads a trace. Each realloc becomes an allocation and then a free of
// what was there before, or with freeFirst that free and then the allocation, as
// if the bytes needed no copying.
func Record(name string, src trace.Source, freeFirst bool) (l *Load, err error) {
	sum := &src.Header().Summary
	if count := sum.Allocs + sum.Reallocs; count > MaxObjects {
		return nil, fmt.Errorf("%s: %d allocs and reallocs are too many: at most %d", name, count, MaxObjects)
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	l = &Load{
		Name:  name,
		Sizes: make([]uint64, 0, sum.Allocs+sum.Reallocs),
		Ops:   make([]int32, 0, sum.Events+sum.Reallocs),
	}
	objects := make([]int32, sum.Slots) // by slot
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return l, nil
		} else if err != nil {
			return nil, err
		}
		for i, op := range b.Op {
			object := &objects[b.Slot[i]]
			old := *object
			if op == trace.OpRealloc && freeFirst {
				l.Ops = append(l.Ops, ^old)
			}
			if op != trace.OpFree {
				*object = l.alloc(b.Size[i])
			}
			if op == trace.OpFree || op == trace.OpRealloc && !freeFirst {
				l.Ops = append(l.Ops, ^old)
			}
		}
	}
}

func (l *Load) alloc(size uint64) (object int32) {
	object = int32(len(l.Sizes))
	l.Sizes = append(l.Sizes, size)
	l.Ops = append(l.Ops, object)
	return object
}

// source returns the load as a trace of requests.
func (l *Load) source(request func(size uint64) uint64) trace.Source {
	var blocks []*trace.Block
	var slots trace.SlotPool
	slotOf := make([]trace.Slot, len(l.Sizes))
	var b *trace.Block
	for i, op := range l.Ops {
		if i%trace.BlockEvents == 0 {
			b = new(trace.Block)
			b.Reset(uint64(i))
			b.Grow(min(trace.BlockEvents, len(l.Ops)-i))
			blocks = append(blocks, b)
		}
		if op < 0 {
			slots.Give(slotOf[^op])
			b.Append(trace.Event{Op: trace.OpFree, Slot: slotOf[^op]})
			continue
		}
		slotOf[op] = slots.Take()
		b.Append(trace.Event{Op: trace.OpAlloc, Slot: slotOf[op], Size: request(l.Sizes[op])})
	}
	return trace.NewMemory(&trace.Header{Program: l.Name}, blocks)
}

// live returns the most live bytes, sizes as counted, and those just after an
// event.
func (l *Load) live(event uint64, count func(size uint64) uint64) (peak, at uint64) {
	now := uint64(0)
	for i, op := range l.Ops {
		if op < 0 {
			now -= count(l.Sizes[^op])
		} else {
			now += count(l.Sizes[op])
		}
		peak = max(peak, now)
		if uint64(i) == event {
			at = now
		}
	}
	return peak, at
}

// never is the death of an object that is not freed.
const never = math.MaxInt32

// deaths returns for each object the number of allocations made before its
// free, its own included; never if it is not freed.
func (l *Load) deaths() []int32 {
	out := make([]int32, len(l.Sizes))
	for i := range out {
		out[i] = never
	}
	allocs := int32(0)
	for _, op := range l.Ops {
		if op < 0 {
			out[^op] = allocs
		} else {
			allocs++
		}
	}
	return out
}

// Together returns, of all pairs of objects allocated one right after the other
// and both freed, the share whose frees have at most so many allocations between
// them.
func (l *Load) Together(within int) float64 {
	deaths := l.deaths()
	pairs, near := 0, 0
	for i := 1; i < len(deaths); i++ {
		a, b := deaths[i-1], deaths[i]
		if a == never || b == never {
			continue
		}
		pairs++
		if max(a, b)-min(a, b) <= int32(within) {
			near++
		}
	}
	return float64(near) / float64(max(pairs, 1))
}

// Shuffle returns a load of the same sizes and the same lifetimes, in random
// order and dealt to objects independently of each other. A lifetime is the
// number of allocations between an object's own and its free; those that reach
// beyond the last allocation do not end.
func (l *Load) Shuffle(seed uint64) *Load {
	rng := rand.New(rand.NewPCG(seed, 1))
	sizes := make([]uint64, len(l.Sizes))
	copy(sizes, l.Sizes)
	rng.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	lives := l.deaths()
	for i := range lives {
		if lives[i] != never {
			lives[i] -= int32(i) + 1
		}
	}
	rng.Shuffle(len(lives), func(i, j int) { lives[i], lives[j] = lives[j], lives[i] })
	return compose(l.Name, sizes, lives)
}

// Exponential returns a load of so many objects whose sizes, from 1 byte up,
// and lifetimes, in allocations, are drawn from exponential distributions with
// the given means.
func Exponential(objects int, meanSize, meanLife float64, seed uint64) *Load {
	rng := rand.New(rand.NewPCG(seed, 2))
	sizes := make([]uint64, objects)
	lives := make([]int32, objects)
	for i := range sizes {
		sizes[i] = 1 + uint64(rng.ExpFloat64()*(meanSize-1))
		lives[i] = int32(min(rng.ExpFloat64()*meanLife, never-1))
	}
	return compose(fmt.Sprintf("seed %d", seed), sizes, lives)
}

// compose makes a load of objects that are allocated one after the other and
// freed so many allocations later; of those that are due at the same time, the
// oldest first.
func compose(name string, sizes []uint64, lives []int32) *Load {
	l := &Load{Name: name, Sizes: sizes, Ops: make([]int32, 0, 2*len(sizes))}
	// Lists of the objects that die after each allocation, newest first.
	last := make([]int32, len(sizes))
	next := make([]int32, len(sizes))
	for i := range last {
		last[i] = -1
	}
	var due []int32
	for i := range sizes {
		if at := int64(i) + int64(lives[i]); at < int64(len(sizes)) {
			next[i], last[at] = last[at], int32(i)
		}
		l.Ops = append(l.Ops, int32(i))
		due = due[:0]
		for o := last[i]; o >= 0; o = next[o] {
			due = append(due, o)
		}
		for k := len(due) - 1; k >= 0; k-- {
			l.Ops = append(l.Ops, ^due[k])
		}
	}
	return l
}
