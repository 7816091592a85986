package gen

import (
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// BenchmarkRead generates each workload, block by block.
func BenchmarkRead(b *testing.B) {
	for _, w := range Workloads {
		b.Run(w.Name, func(b *testing.B) {
			b.ReportAllocs()
			events := uint64(0)
			for b.Loop() {
				r, err := parse(b, w.Name+",events=300k").Open()
				if err != nil {
					b.Fatal(err)
				}
				block := new(trace.Block)
				for r.Next(block) == nil {
				}
				events += r.Header().Summary.Events
				r.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}
