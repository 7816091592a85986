package chains

import (
	"fmt"
	"testing"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/gen"
)

// BenchmarkDetect searches traces that are held in memory. A read of the same
// blocks that does next to nothing is measured beside it.
func BenchmarkDetect(b *testing.B) {
	for _, text := range []string{
		"containers", "containers,style=copy,queues=20,nested=0.1", "containers,live=10k,decoys=0.9,max=64KiB", "phases", "iid", "freenet",
	} {
		s, err := gen.Parse(text + ",events=4M")
		if err != nil {
			b.Fatal(err)
		}
		src := s.Load(1<<31, nil, nil)
		for _, sites := range []bool{true, false} {
			if !sites {
				src = stripped(b, src, true, false)
			}
			b.Run(fmt.Sprintf("%s/sites=%v", text, sites), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Detect(src); err != nil {
						b.Fatal(err)
					}
				}
				events := float64(src.Header().Summary.Events) * float64(b.N)
				b.ReportMetric(events/b.Elapsed().Seconds()/1e6, "Mevents/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkCount counts the same events, as every reader of a trace does.
func BenchmarkCount(b *testing.B) {
	s, err := gen.Parse("containers,events=4M")
	if err != nil {
		b.Fatal(err)
	}
	src := s.Load(1<<31, nil, nil)
	for b.Loop() {
		var c trace.Counter
		r, _ := src.Open()
		var block trace.Block
		for r.Next(&block) == nil {
			c.Block(&block)
		}
	}
	b.ReportMetric(4e6*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}
