package golden

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// FormatBlock writes a block as "[3188, 3204) 16 used, payload 3192" or
// "[3204, 65532) 62328 free".
func FormatBlock(b heapmodel.Block) string {
	text := fmt.Sprintf("[%d, %d) %d", b.Addr, uint64(b.Addr)+b.Size, b.Size)
	if !b.Used {
		return text + " free"
	}
	return fmt.Sprintf("%s used, payload %d", text, b.Payload)
}

// margin is how many blocks a Window shows on either side of an address, and
// fewBlocks how many a heap may have to be shown whole.
const (
	margin    = 3
	fewBlocks = 4 * margin
)

// Window formats the blocks of a heap, in ascending order, that hold or border
// the addresses, a line each, with "..." where some are left out. A heap of a
// few blocks is shown whole. O(blocks), in the memory of what it shows.
func Window(blocks iter.Seq[heapmodel.Block], near ...heapmodel.Addr) string {
	near = slices.Clone(near)
	slices.Sort(near)
	w := window{}
	for b := range blocks {
		for len(near) > 0 && b.Addr >= near[0] {
			near = near[1:]
			w.open()
		}
		w.add(b)
	}
	if len(near) > 0 {
		w.open()
	}
	return w.String()
}

type window struct {
	all    []heapmodel.Block // the first fewBlocks
	blocks int               // seen
	shown  strings.Builder
	passed []heapmodel.Block // the latest not shown, margin at most
	hidden bool              // some before passed are not shown
	more   int               // blocks still to be shown
}

// open shows the blocks just passed and those that come next.
func (w *window) open() {
	if w.hidden {
		w.shown.WriteString("  ...\n")
		w.hidden = false
	}
	for _, b := range w.passed {
		w.show(b)
	}
	w.passed, w.more = w.passed[:0], margin
}

func (w *window) show(b heapmodel.Block) { w.shown.WriteString("  " + FormatBlock(b) + "\n") }

func (w *window) add(b heapmodel.Block) {
	w.blocks++
	if len(w.all) < fewBlocks {
		w.all = append(w.all, b)
	}
	switch {
	case w.more > 0:
		w.more--
		w.show(b)
	case len(w.passed) == margin:
		copy(w.passed, w.passed[1:])
		w.passed[margin-1] = b
		w.hidden = true
	default:
		w.passed = append(w.passed, b)
	}
}

// String returns the lines.
func (w *window) String() string {
	if w.blocks <= fewBlocks {
		w.shown.Reset()
		for _, b := range w.all {
			w.show(b)
		}
	} else if w.hidden || len(w.passed) > 0 {
		w.shown.WriteString("  ...\n")
	}
	return w.shown.String()
}
