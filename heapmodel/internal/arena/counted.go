package arena

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// Counted compares the counters of a heap with the blocks that a walk found,
// added up, and with the end of its arena.
func Counted(u, walk *heapmodel.Usage, brk uint64) error {
	switch {
	case walk.UsedBlocks != u.UsedBlocks || walk.FreeBlocks != u.FreeBlocks || walk.Allocated != u.Allocated || walk.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, walk.UsedBlocks, walk.Allocated, walk.FreeBlocks, walk.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead || u.Arena != brk:
		return fmt.Errorf("arena of %d bytes, break at %d: %d allocated, %d free, %d overhead", u.Arena, brk, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}
