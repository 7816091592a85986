package buddy

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// pair runs the model and the plain heap side by side.
type pair struct {
	h     *heap
	p     *plain
	objs  []object
	spec  *heapmodel.Spec
	quiet bool // compare no more than addresses
}

type object struct {
	ref   heapmodel.Ref
	addr  uint64
	align uint32
}

func newPair(s *heapmodel.Spec) (*pair, error) {
	h, err := s.New()
	if err != nil {
		return nil, err
	}
	m := h.(*heap)
	return &pair{h: m, p: newPlain(s.Model.Name, m.config, m.use.Arena), spec: s}, nil
}

// op runs one operation on both and compares what they say. kind is a, r or f;
// object counts the live ones.
func (x *pair) op(o operation) error {
	switch o.kind {
	case 'a':
		r, ok := x.h.Alloc(o.size, o.align)
		addr, want := x.p.alloc(o.size, o.align)
		if ok != want {
			return fmt.Errorf("model %v, plain heap %v\n%s", ok, want, x)
		}
		if ok {
			x.objs = append(x.objs, object{r, addr, o.align})
		}
	case 'r':
		obj := &x.objs[o.object]
		r, ok := x.h.Realloc(obj.ref, o.size, obj.align)
		addr, want := x.p.realloc(obj.addr, o.size, obj.align)
		if ok != want {
			return fmt.Errorf("model %v, plain heap %v\n%s", ok, want, x)
		}
		if ok {
			obj.ref, obj.addr = r, addr
		}
	case 'f':
		x.h.Free(x.objs[o.object].ref)
		x.p.free(x.objs[o.object].addr)
		x.objs = slices.Delete(x.objs, o.object, o.object+1)
	}
	if x.quiet {
		return nil
	}
	return x.compare()
}

func (x *pair) compare() error {
	for i, o := range x.objs {
		if got := uint64(x.h.Addr(o.ref)); got != o.addr {
			return fmt.Errorf("object %d is at %d, in the plain heap at %d\n%s", i, got, o.addr, x)
		}
	}
	want := heapmodel.Usage{
		Arena: x.p.brk, HighWater: x.p.high, Overhead: x.p.brk - x.p.end<<x.p.shift,
		UsedBlocks: uint64(len(x.p.used)), Steps: x.p.steps, Grown: x.h.use.Grown,
	}
	for _, size := range x.p.used {
		want.Allocated += size << x.p.shift
	}
	blocks := maps.Clone(x.p.used)
	for size, l := range x.p.list {
		want.Free += size * uint64(len(l)) << x.p.shift
		want.FreeBlocks += uint64(len(l))
		for _, start := range l {
			blocks[start] = size
		}
	}
	if got := *x.h.Usage(); got != want {
		return fmt.Errorf("usage %+v, of the plain heap %+v\n%s", got, want, x)
	}
	for b := range x.h.Blocks() {
		start := (uint64(b.Addr) - x.p.pad) >> x.p.shift
		if _, used := x.p.used[start]; blocks[start]<<x.p.shift != b.Size || used != b.Used {
			return fmt.Errorf("block at %d has %d bytes, used %v\n%s", b.Addr, b.Size, b.Used, x)
		}
		delete(blocks, start)
	}
	if len(blocks) > 0 {
		return fmt.Errorf("%d blocks are missing\n%s", len(blocks), x)
	}
	return x.h.Check()
}

func (x *pair) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nplain heap: used %v, free %v\nmodel:     ", x.spec, x.p.used, x.p.list)
	for k := range x.h.Blocks() {
		fmt.Fprintf(&b, " [%d+%d used=%v]", k.Addr, k.Size, k.Used)
	}
	return b.String()
}

// TestOracle compares the model with the plain heap over random parameters and
// operations: addresses, blocks, counters and steps after every one.
func TestOracle(t *testing.T) {
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { checkOracle(t, m.Name) })
		})
	}
}

func checkOracle(t *rapid.T, name string) {
	pick := func(key string, values ...string) string {
		return key + "=" + rapid.SampledFrom(values).Draw(t, key)
	}
	parts := []string{
		pick("order", "lifo", "fifo", "address"), pick("align", "1", "2", "8"), pick("header", "0", "1", "4", "8"),
		pick("min", "0", "3", "16"), pick("realloc", "move", "inplace"),
	}
	if name == "double-buddy" {
		parts = append(parts, pick("spill", "true", "false"))
	}
	if rapid.Bool().Draw(t, "grows") {
		parts = append(parts, pick("quantum", "1", "7", "64", "100"), pick("grow", "300", "1000", "4KiB"))
		if rapid.Bool().Draw(t, "starts with memory") {
			parts = append(parts, pick("capacity", "64", "100", "200"))
		}
	} else {
		parts = append(parts, pick("capacity", "64", "129", "500", "1000", "2040"))
	}
	s, err := heapmodel.ParseSpec(models, name+":"+strings.Join(parts, ","))
	if err != nil {
		t.Fatal(err)
	}
	x, err := newPair(s)
	if err != nil {
		t.Skip(err)
	}
	if err := x.compare(); err != nil {
		t.Fatal(err)
	}
	count := rapid.IntRange(1, 120).Draw(t, "operations")
	for i := range count {
		o := operation{kind: rapid.SampledFrom([]byte("aaaffr")).Draw(t, "kind")}
		if len(x.objs) == 0 {
			o.kind = 'a'
		} else if o.kind != 'a' {
			o.object = rapid.IntRange(0, len(x.objs)-1).Draw(t, "object")
		}
		o.size = rapid.SampledFrom([]uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 40, 64, 100, 250}).Draw(t, "size")
		if o.kind == 'a' && rapid.IntRange(0, 5).Draw(t, "aligned") == 0 {
			o.align = rapid.SampledFrom([]uint32{1, 4, 32, 128}).Draw(t, "align")
		}
		if err := x.op(o); err != nil {
			t.Fatalf("operation %d, %v: %v", i, o, err)
		}
	}
}

type operation struct {
	kind   byte
	object int
	size   uint64
	align  uint32
}

func (o operation) String() string {
	return fmt.Sprintf("%c object %d, %d bytes aligned to %d", o.kind, o.object, o.size, o.align)
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of a dozen units, fixed and growing.
func TestTinyHeaps(t *testing.T) {
	depth := 5
	if *long {
		depth = 6
	}
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			for _, order := range []string{"lifo", "fifo", "address"} {
				arenas := []string{"capacity=13", "capacity=5,quantum=4,grow=26", "quantum=3,grow=16", "capacity=16,align=2,realloc=inplace"}
				if order == "fifo" {
					arenas = arenas[:1]
				}
				for _, arena := range arenas {
					if !strings.Contains(arena, "align") {
						arena += ",align=1"
					}
					spec := fmt.Sprintf("%s:header=0,order=%s,%s", m.Name, order, arena)
					if err := everySequence(parse(t, models, spec), depth, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// everySequence tries every way to go on from the operations so far, the last
// of which is compared.
func everySequence(spec *heapmodel.Spec, depth int, sofar []operation) error {
	x, err := newPair(spec)
	if err != nil {
		return err
	}
	for i, o := range sofar {
		x.quiet = i < len(sofar)-1
		if err := x.op(o); err != nil {
			return fmt.Errorf("%v: %w", sofar, err)
		}
	}
	if len(sofar) == depth {
		return nil
	}
	next := []operation{{kind: 'a', size: 1}, {kind: 'a', size: 2}, {kind: 'a', size: 3}, {kind: 'a', size: 5}}
	for i := range x.objs {
		next = append(next, operation{kind: 'f', object: i})
		if len(sofar) == depth-1 {
			next = append(next, operation{kind: 'r', object: i, size: 3})
		}
	}
	for _, o := range next {
		if err := everySequence(spec, depth, append(sofar[:len(sofar):len(sofar)], o)); err != nil {
			return err
		}
	}
	return nil
}
