package compacting

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"compacting:capacity=64KiB",
		"compacting:capacity=8KiB,c=1",
		"compacting:capacity=8KiB,c=2,ptr=64",
		"compacting:capacity=8KiB,c=0,header=0,align=1",
		"compacting:quantum=1KiB,c=3",
		"compacting:quantum=100,grow=32KiB,c=1,header=3,align=2",
	)
}

func FuzzOps(f *testing.F) { modeltest.Fuzz(f, Model) }

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, Model, "compacting:capacity=64KiB", "compacting:capacity=64KiB,c=0")
}
