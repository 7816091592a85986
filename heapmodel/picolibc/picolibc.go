// Package picolibc models malloc of picolibc, a descendant of newlib's nano
// malloc that was rewritten.
//
// Chunks fill the memory below a break that only rises. Each begins with a word
// that has its size, and the first starts so far from the start of the arena
// that payloads are aligned to two words:
//
//	     |size payload ........|size payload ........|    break
//	0    ^ two words less one
//
// Free chunks are in one list by address, searched from its start; a freed chunk
// merges at once with free neighbours. If none is large enough the break rises
// by exactly the chunk, even if the last chunk is free and would nearly do.
//
// With small buckets (MALLOC_SMALL_BUCKET), chunks of some sizes are on lists of
// their own when they are free, last in first out, and never merge again.
//
// The list is not walked here: package fit finds the chunk and its rank.
//
// Source: picolibc, libc/stdlib, commit 630c45e1 (2026-08-06). BSD licence (ARM
// Ltd).
//
// Differs from upstream: nothing known. Two merges in malloc and realloc that
// upstream has code for never happen in this version, nor here. A request that
// no address space of the pointer width has room for fails.
package picolibc

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the model of picolibc's malloc.
var Model = &heapmodel.Model{
	Name:   "picolibc",
	Family: "embedded",
	Title:  "picolibc malloc: address-ordered first fit at a rising break, small buckets if wanted",
	Doc: "Chunks have a header of a word and are multiples of two words, as is the alignment. The lowest free chunk that is " +
		"large enough is split whenever something remains, and the request gets the low end. If there is none the break rises by " +
		"exactly the chunk; it never falls. The very first chunk needs a second, small request to the break for its alignment, and " +
		"where that is refused the memory of the first is lost. A freed chunk merges at once with free neighbours. realloc shrinks in " +
		"place, grows in place only at the break, and else allocates, copies and frees. memalign takes a chunk with room to " +
		"spare and frees what is in front and behind. malloc(0) gives the least chunk, realloc to 0 frees.\n\n" +
		"With bucket=128, chunks of 16, 32, 64 and 128 bytes and one alignment more are bucket-sized: small requests are " +
		"rounded up to them and served from the bucket's free chunks, last in first out, or from the break; free ones never merge, and " +
		"a free chunk on the list that comes to such a size moves to the bucket. realloc neither splits a bucket-sized chunk nor " +
		"grows it. " +
		"A step is a free chunk that the search of malloc looks at, a look into a bucket, a free chunk of the list passed on the way " +
		"to the place of one that is freed, or a merge of two chunks.\n\n" +
		"Not modelled: locks, and other users of the break between two calls.",
	Source: "picolibc libc/stdlib, 630c45e1 (2026-08-06)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "grow", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes up to which the break may rise"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits: the size of a word"},
		{Key: "bucket", Kind: heapmodel.ParamInt, Default: "0", Doc: "MALLOC_SMALL_BUCKET: bytes of the largest bucket, rounded up to a power of two; 0: none"},
	},
	New: newHeap,
}

// The smallest bucket and the largest that may be asked for, in bytes and
// without what is added to both.
const (
	leastBucketLog2 = 4
	mostBucket      = 1 << 20
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{shift: 3, limit: c.Bytes("grow"), head: blocks.None, end: blocks.None}
	most := uint64(1) << 32
	if c.Text("ptr") == "64" {
		h.shift = 4
		most = (1<<32 - 2) << h.shift
	}
	h.lead = 1 << h.shift >> 1
	if least := h.lead + 1<<h.shift; h.limit < least {
		return nil, fmt.Errorf("grow=%s: needs at least %d bytes", c.Text("grow"), least)
	}
	if h.limit > most {
		return nil, fmt.Errorf("grow=%s: the most is %d bytes", c.Text("grow"), most)
	}
	if b := c.Int("bucket"); b != 0 {
		if b < 1<<leastBucketLog2 || b > mostBucket {
			return nil, fmt.Errorf("bucket=%d: want 0, or %d to %d bytes", b, 1<<leastBucketLog2, mostBucket)
		}
		log2 := bits.Len(uint(b) - 1)
		h.bucketMost = 1<<log2 + 1<<h.shift
		h.buckets = make([]blocks.ID, log2-leastBucketLog2+1)
		for i := range h.buckets {
			h.buckets[i] = blocks.None
		}
		// What is in buckets never merges, so that chunks become more and more
		// for a long time: a small heap has records for all of them at once.
		h.t.Nodes = make([]blocks.SlimNode, 0, min(h.limit>>(h.shift+1), 4096))
	}
	h.free = fit.New(&h.t, fit.ByKey)
	return h, nil
}
