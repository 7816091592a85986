package rustbuddy_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/rustbuddy"
)

// naive is the heap as its description has it: slices for stacks, newest last,
// and every search really made.
type naive struct {
	word   uint64
	stacks [32][]uint64
	used   map[uint64]uint64 // class by address
	steps  uint64
}

func newNaive(capacity, word uint64) *naive {
	o := &naive{word: word, used: map[uint64]uint64{}}
	end := capacity / word * word
	for at := uint64(0); end-at >= word; {
		class := 31
		for at%(1<<class) != 0 || 1<<class > end-at {
			class--
		}
		o.stacks[class] = append(o.stacks[class], at)
		at += 1 << class
	}
	return o
}

func (o *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	wanted := 0
	for wanted < 63 && 1<<wanted < max(size, uint64(align), o.word) {
		wanted++
	}
	for class := wanted; class < 32; class++ {
		o.steps++
		n := len(o.stacks[class])
		if n == 0 {
			continue
		}
		at := o.stacks[class][n-1]
		o.stacks[class] = o.stacks[class][:n-1]
		for class > wanted {
			class--
			o.stacks[class] = append(o.stacks[class], at+1<<class)
		}
		o.used[at] = uint64(wanted)
		return heapmodel.Addr(at)
	}
	return heapmodel.Null
}

func (o *naive) Free(addr heapmodel.Addr) {
	at := uint64(addr)
	class := o.used[at]
	delete(o.used, at)
	for class < 31 {
		found := -1
		for i := len(o.stacks[class]) - 1; i >= 0 && found < 0; i-- {
			o.steps++
			if o.stacks[class][i] == at^1<<class {
				found = i
			}
		}
		if found < 0 {
			break
		}
		o.steps++
		o.stacks[class] = slices.Delete(o.stacks[class], found, found+1)
		at &^= 1 << class
		class++
	}
	o.stacks[class] = append(o.stacks[class], at)
}

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	moved := o.Alloc(size, align)
	if moved != heapmodel.Null {
		o.Free(addr)
	}
	return moved
}

func (o *naive) Arena() *oracle.Arena {
	a := &oracle.Arena{Steps: o.steps}
	for at, class := range o.used {
		a.Blocks = append(a.Blocks, oracle.Block{Start: at, Size: 1 << class})
	}
	for class, s := range o.stacks {
		for _, at := range s {
			a.Blocks = append(a.Blocks, oracle.Block{Start: at, Size: 1 << class, Free: true})
		}
	}
	slices.SortFunc(a.Blocks, func(a, b oracle.Block) int { return cmp.Compare(a.Start, b.Start) })
	return a
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec           string
		capacity, word uint64
	}{
		{"rust-buddy:capacity=40001", 40001, 4},
		{"rust-buddy:capacity=64KiB", 65536, 4},
		{"rust-buddy:capacity=12345,ptr=64", 12345, 8},
		{"rust-buddy:capacity=1MiB,ptr=64", 1 << 20, 8},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, rustbuddy.Model, c.spec, func() oracle.Heap { return newNaive(c.capacity, c.word) })
		})
	}
}
