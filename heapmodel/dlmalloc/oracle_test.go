package dlmalloc_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/dlmalloc"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// oracles names heaps and how to make the naive ones.
var oracles = []struct {
	spec  string
	naive func() heapmodel.Heap
}{
	{"dlmalloc:capacity=40001,ptr=32", func() heapmodel.Heap { return newMspace(40001, 4) }},
	{"dlmalloc:capacity=50000,ptr=64", func() heapmodel.Heap { return newMspace(50000, 8) }},
	{"dlmalloc:capacity=3000,ptr=32", func() heapmodel.Heap { return newMspace(3000, 4) }},
	{"dlmalloc:grow=16MiB,ptr=32", func() heapmodel.Heap { return newGlobal(16<<20, 4) }},
	{"dlmalloc:grow=65536,ptr=64", func() heapmodel.Heap { return newGlobal(1<<16, 8) }},
}

func TestOracleTraces(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.TracesSteps(t, dlmalloc.Model, o.spec, o.naive)
		})
	}
}

func TestOracleRandom(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.RandomSteps(t, dlmalloc.Model, o.spec, o.naive, oracle.MixedSizes())
		})
	}
}
