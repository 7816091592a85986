// Package catalog is the table of all heap models.
package catalog

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/avrlibc"
	"github.com/fragprof/fragprof/heapmodel/buddy"
	"github.com/fragprof/fragprof/heapmodel/bump"
	"github.com/fragprof/fragprof/heapmodel/dlmalloc"
	"github.com/fragprof/fragprof/heapmodel/espheapcaps"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/freertos"
	"github.com/fragprof/fragprof/heapmodel/halffit"
	"github.com/fragprof/fragprof/heapmodel/ideal"
	"github.com/fragprof/fragprof/heapmodel/kr"
	"github.com/fragprof/fragprof/heapmodel/lwip"
	"github.com/fragprof/fragprof/heapmodel/multi"
	"github.com/fragprof/fragprof/heapmodel/newlibnano"
	"github.com/fragprof/fragprof/heapmodel/nuttx"
	"github.com/fragprof/fragprof/heapmodel/o1heap"
	"github.com/fragprof/fragprof/heapmodel/picolibc"
	"github.com/fragprof/fragprof/heapmodel/pools"
	"github.com/fragprof/fragprof/heapmodel/rlsf"
	"github.com/fragprof/fragprof/heapmodel/rtthread"
	"github.com/fragprof/fragprof/heapmodel/rustbuddy"
	"github.com/fragprof/fragprof/heapmodel/rustlinkedlist"
	"github.com/fragprof/fragprof/heapmodel/segfit"
	"github.com/fragprof/fragprof/heapmodel/segstorage"
	"github.com/fragprof/fragprof/heapmodel/sequential"
	"github.com/fragprof/fragprof/heapmodel/talc"
	"github.com/fragprof/fragprof/heapmodel/threadx"
	"github.com/fragprof/fragprof/heapmodel/tlsf"
	"github.com/fragprof/fragprof/heapmodel/ummmalloc"
	"github.com/fragprof/fragprof/heapmodel/zephyr"
)

// Models lists every model, in the order help shows them.
var Models = []*heapmodel.Model{
	ideal.Model,
	sequential.Model,
	segfit.Model,
	halffit.Model,
	buddy.Binary,
	buddy.Fibonacci,
	buddy.Weighted,
	buddy.Double,
	segstorage.Model,
	bump.Model,
	bump.Region,
	freertos.Heap4,
	freertos.Heap5,
	freertos.Heap2,
	freertos.Heap1,
	tlsf.Model,
	esptlsf.Model,
	rlsf.Model,
	o1heap.Model,
	zephyr.Model,
	threadx.Model,
	lwip.Model,
	nuttx.Model,
	rtthread.Model,
	newlibnano.Model,
	picolibc.Model,
	ummmalloc.Model,
	avrlibc.Model,
	kr.Model,
	rustlinkedlist.Model,
	rustbuddy.Model,
	talc.Model,
	dlmalloc.Model,
	espheapcaps.Model,
	multi.Model,
	pools.Model,
}
