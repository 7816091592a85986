package multi_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/multi"
	"pgregory.net/rapid"
)

// inside is what stands inside in these tests.
var inside = modeltest.Inside(catalog.Models)

// specs use every parameter, and heaps of every kind: with and without an
// aligned entry point, growing, in pieces, with an alignment that is odd.
var specs = []string{
	"multi:heaps=[tlsf:capacity=8KiB]",
	"multi:cuts=32+200,heaps=[freertos-heap4:capacity=4KiB]+[tlsf:capacity=8KiB]+[sequential:capacity=16KiB]",
	"multi:cuts=32+200,heaps=[freertos-heap4:capacity=4KiB]+[tlsf:capacity=8KiB]+[sequential:capacity=16KiB],overflow=none",
	"multi:cuts=32+200,heaps=[freertos-heap4:capacity=4KiB]+[tlsf:capacity=8KiB]+[sequential:capacity=16KiB],overflow=last",
	"multi:cuts=100,heaps=[sequential:quantum=1KiB,coalesce=deferred]+[sequential:grow=64KiB,fit=best]",
	"multi:cuts=100,heaps=[tlsf:capacity=8KiB,quantum=4KiB,grow=64KiB]+[threadx-byte-pool:capacity=5000],overflow=last",
	"multi:cuts=0+64,heaps=[sequential:capacity=100,header=0,align=1]+[sequential:capacity=10KiB,align=512]+[dlmalloc:grow=256KiB]",
	"multi:cuts=100,heaps=[freertos-heap5:regions=4KiB@0+8KiB@16KiB]+[tlsf:regions=4KiB@0+8KiB@16KiB,quantum=4KiB]",
	"multi:by=thread,cuts=0/2+1,heaps=[rtthread-smem:capacity=8KiB]+[kr:grow=32KiB]+[o1heap:capacity=8KiB]",
	"multi:by=thread,cuts=1,heaps=[talc:capacity=8KiB]+[zephyr-sys-heap:capacity=8KiB],overflow=none",
	"multi:by=site,cuts=net/*|#5;main.c:??,heaps=[lwip-mem:capacity=6KiB]+[umm-malloc:capacity=8KiB]+[esp-tlsf:capacity=12KiB]",
	"multi:by=life,cuts=500+20KiB,heaps=[nuttx-mm:capacity=6KiB]+[picolibc:grow=16KiB]+[rust-linked-list:capacity=12KiB]",
	"multi:by=thread,heaps=[freertos-heap2:capacity=3KiB]+[rlsf:capacity=8KiB]+[rust-buddy:capacity=8KiB]",
	"multi:cuts=64,heaps=[multi:by=thread,cuts=0,heaps=[tlsf:capacity=4KiB]+[kr:grow=8KiB]]+[multi:cuts=500,heaps=[newlib-nano:grow=8KiB]+[tlsf:capacity=8KiB]]",
}

func TestConformance(t *testing.T) { inside.Run(t, multi.Model, specs...) }

func FuzzOps(f *testing.F) { inside.Fuzz(f, multi.Model, specs...) }

func BenchmarkHeap(b *testing.B) {
	inside.Bench(b, multi.Model,
		"multi:heaps=[tlsf:capacity=64KiB]",
		"multi:cuts=64,heaps=[tlsf:capacity=64KiB]+[tlsf:capacity=64KiB]",
		"multi:by=thread,cuts=0/1,heaps=[tlsf:capacity=64KiB]+[tlsf:capacity=64KiB]")
}

func parse(t rapid.TB, text string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec(append(slices.Clone(catalog.Models), multi.Model), text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newHeap(t rapid.TB, text string) heapmodel.Heap {
	t.Helper()
	h, err := parse(t, text).New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestErrors(t *testing.T) {
	two := "heaps=[tlsf:capacity=8KiB]+[tlsf:capacity=8KiB]"
	for spec, want := range map[string]string{
		"multi":                                                   "want one at least",
		"multi:cuts=64+65," + two:                                 "2 for 2 heaps: want one fewer",
		"multi:cuts=64K," + two:                                   "write KiB",
		"multi:by=thread,cuts=x," + two:                           `thread "x"`,
		"multi:by=thread,cuts=0/0," + two:                         "thread 0 is in two sets",
		"multi:by=thread,cuts=70000," + two:                       "up to 65535",
		"multi:by=site,cuts=#x," + two:                            "number of a call site",
		"multi:by=site,cuts=a|," + two:                            "empty name",
		"multi:heaps=[ideal]+[tlsf]":                              "heap 0: ideal has no arena",
		"multi:heaps=[tlsf]+[tlsf:capacity=10]":                   "heap 1: model tlsf:capacity=10",
		"multi:heaps=[sequential]":                                "needs a capacity",
		"multi:cuts=9+9,heaps=[tlsf]+[tlsf]+[tlsf]":               "9 is not above",
		"multi:heaps=" + strings.Repeat("[tlsf]+", 16) + "[tlsf]": "17 heaps: want 1 to 16",
		"multi:cuts=9,heaps=[sequential:grow=2TiB,align=1MiB]+[sequential:grow=4194303TiB,align=1GiB]": "above 2^62",
	} {
		_, err := parse(t, spec).New()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// TestExample holds that the spec in Doc is one.
func TestExample(t *testing.T) {
	_, rest, _ := strings.Cut(multi.Model.Doc, "multi:by=size")
	spec, _, _ := strings.Cut(rest, " ")
	if h := newHeap(t, "multi:by=size"+spec); h.Usage().Arena != 88<<10 {
		t.Errorf("the heaps of the example have %d bytes", h.Usage().Arena)
	}
}
