package offline

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"offline:heuristic=reverse",
		"offline:capacity=16KiB,effort=0",
		"offline:header=8,align=16,heuristic=split",
		"offline:capacity=5000,header=5,align=8,heuristic=birth",
	)
}

func FuzzOps(f *testing.F) { modeltest.Fuzz(f, Model) }

func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, Model, "offline:heuristic=birth") }
