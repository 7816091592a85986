package avrlibc_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/avrlibc"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// chunk is an entry of the free list: its start and its payload's bytes.
type chunk struct{ at, payload uint64 }

// naive is the heap as its description has it, with the list walked.
type naive struct {
	end, brk uint64
	list     []chunk
	used     map[uint64]uint64 // payload's bytes by its address
	steps    uint64
}

func (o *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	if size > 65535 {
		return heapmodel.Null
	}
	n := max(size, 2)
	best := -1
	for i, c := range o.list {
		o.steps++
		if c.payload == n {
			o.list = slices.Delete(o.list, i, i+1)
			return o.use(c.at, n)
		}
		if c.payload > n && (best < 0 || c.payload < o.list[best].payload) {
			best = i
		}
	}
	if best >= 0 {
		c := o.list[best]
		if c.payload-n < 4 {
			o.list = slices.Delete(o.list, best, best+1)
			return o.use(c.at, c.payload)
		}
		o.list[best].payload = c.payload - n - 2
		return o.use(c.at+c.payload-n, n)
	}
	if o.end-o.brk < n+2 {
		return heapmodel.Null
	}
	o.brk += n + 2
	return o.use(o.brk-n-2, n)
}

func (o *naive) use(at, payload uint64) heapmodel.Addr {
	o.used[at+2] = payload
	return heapmodel.Addr(at + 2)
}

func (o *naive) Free(addr heapmodel.Addr) {
	c := chunk{uint64(addr) - 2, o.used[uint64(addr)]}
	delete(o.used, uint64(addr))
	o.release(c)
}

func (o *naive) release(c chunk) {
	at := 0
	if c.at+2+c.payload == o.brk {
		o.brk = c.at
		for range o.list {
			o.steps++
		}
		if n := len(o.list); n > 0 && o.list[n-1].at+2+o.list[n-1].payload == o.brk {
			o.steps++
			o.brk = o.list[n-1].at
			o.list = o.list[:n-1]
		}
		return
	}
	for at < len(o.list) && o.list[at].at < c.at {
		o.steps++
		at++
	}
	o.list = slices.Insert(o.list, at, c)
	o.join(at)
	if at > 0 {
		o.join(at - 1)
	}
}

// join joins an entry with the next if they touch.
func (o *naive) join(at int) {
	if at+1 >= len(o.list) || o.list[at].at+2+o.list[at].payload != o.list[at+1].at {
		return
	}
	o.steps++
	o.list[at].payload += o.list[at+1].payload + 2
	o.list = slices.Delete(o.list, at+1, at+2)
}

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	u := uint64(addr)
	switch {
	case addr == heapmodel.Null:
		return o.Alloc(size, 0)
	case size == 0:
		o.Free(addr)
		return heapmodel.Null
	case size > 65535:
		return heapmodel.Null
	}
	n, z := max(size, 2), o.used[u]
	if n <= z {
		if n+4 <= z {
			o.used[u] = n
			o.release(chunk{u + n, z - n - 2})
		}
		return addr
	}
	inc, big := n-z, uint64(0)
	for i, c := range o.list {
		o.steps++
		if c.at == u+z && c.payload+2 >= inc {
			if c.payload+2-inc > 4 {
				o.list[i] = chunk{u + n, c.payload - inc}
				o.used[u] = n
			} else {
				o.list = slices.Delete(o.list, i, i+1)
				o.used[u] = z + c.payload + 2
			}
			return addr
		}
		big = max(big, c.payload)
	}
	if u+z == o.brk && n > big {
		if u+n < o.end {
			o.brk = u + n
			o.used[u] = n
			return addr
		}
		return heapmodel.Null
	}
	moved := o.Alloc(size, 0)
	if moved != heapmodel.Null {
		o.Free(addr)
	}
	return moved
}

func (o *naive) Arena() *oracle.Arena {
	a := &oracle.Arena{Steps: o.steps}
	for u, payload := range o.used {
		a.Blocks = append(a.Blocks, oracle.Block{Start: u - 2, Size: payload + 2})
	}
	for _, c := range o.list {
		a.Blocks = append(a.Blocks, oracle.Block{Start: c.at, Size: c.payload + 2, Free: true})
	}
	if o.brk < o.end {
		a.Blocks = append(a.Blocks, oracle.Block{Start: o.brk, Size: o.end - o.brk, Free: true})
	}
	slices.SortFunc(a.Blocks, func(a, b oracle.Block) int { return cmp.Compare(a.Start, b.Start) })
	return a
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec     string
		capacity uint64
	}{
		{"avr-libc:capacity=2001", 2001},
		{"avr-libc:capacity=7680", 7680},
		{"avr-libc:capacity=40001", 40001},
		{"avr-libc:capacity=65535", 65535},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, avrlibc.Model, c.spec, func() oracle.Heap {
				return &naive{end: c.capacity, used: map[uint64]uint64{}}
			})
		})
	}
}
