package replay_test

import (
	"context"
	"testing"

	"github.com/fragprof/fragprof/replay"
)

// BenchmarkRun measures the engine with all it records, in ns an event and
// heap: the heap's own work and what measuring it costs.
func BenchmarkRun(b *testing.B) {
	src := traceOf(b, 500_000)
	events := src.Header().Summary.Events
	for _, spec := range []string{"ideal", "sequential:quantum=4KiB", "freertos-heap4:capacity=1MiB,ptr=32", "tlsf:capacity=1MiB,ptr=32"} {
		b.Run(spec, func(b *testing.B) {
			specs := parse(b, spec)
			for b.Loop() {
				if _, err := replay.Run(context.Background(), src, specs, replay.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
		})
	}
}
