package sequential

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model, conformanceSpecs...)
}

var conformanceSpecs = []string{
	"sequential:capacity=64KiB",
	"sequential:capacity=64KiB,fit=best,ptr=64",
	"sequential:capacity=8KiB,fit=next,order=lifo",
	"sequential:capacity=8KiB,fit=worst,order=fifo,split=high",
	"sequential:capacity=8KiB,coalesce=deferred,every=10,realloc=inplace",
	"sequential:capacity=8KiB,coalesce=never,header=0,align=1,threshold=16",
	"sequential:quantum=4KiB,fit=best,order=lifo,guard=4,footer=4",
	"sequential:quantum=1KiB,growth=chunks,grow=64KiB,fit=next",
	"sequential:quantum=100,header=3,align=2,fit=first,order=fifo,coalesce=deferred",
}
