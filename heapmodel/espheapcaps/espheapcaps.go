// Package espheapcaps models malloc and realloc of ESP-IDF above its regions of
// memory: the capabilities-based allocator, heap_caps, with a TLSF heap for each
// region (package esptlsf).
//
// A request goes to the first region that has room, in this order: regions of
// dedicated data memory before those that could hold instructions, too; among
// equals as the regions are registered. With external memory (SPIRAM) the size
// decides which kind is preferred:
//
//	size <= threshold   internal regions, then all
//	size >  threshold   external regions, then all
//
// The second round asks the regions of the first once more, in vain, and its
// steps of searching count.
//
// A realloc first does the same with the preferred kind, then with all: if the
// object's region is of that kind it is asked for its own realloc, and if it
// cannot, or is of another kind, the object moves to the first region of that
// kind that has room. So an object that grows over the threshold leaves internal
// memory, and one that shrinks below it comes back.
//
// Source: the ESP-IDF Programming Guide, version 5: Heap Memory Allocation (the
// order of regions, multi_heap), Support for External RAM (the threshold), the
// reference of heap_caps_realloc; and espressif/esp-idf issue 13353, by which a
// request of exactly the threshold counts as small, although the guide says
// otherwise. Written from the documentation, not from the code. What it leaves
// open is decided here: aligned requests are routed like plain ones; a failing
// realloc in a region is followed by the other regions of its kind; regions of
// equal priority are tried in the order of the parameter order.
//
// Differs from upstream: requests for memory with a capability (DMA, internal,
// executable) are not told apart, since traces do not record them; memory that
// is reserved for such requests has to be left out of the regions.
package espheapcaps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// Model is the catalog row of ESP-IDF's heap_caps.
var Model = &heapmodel.Model{
	Name:   "esp-heap-caps",
	Family: "several heaps",
	Title:  "malloc of ESP-IDF over regions of internal and external memory, a TLSF heap each",
	Doc: "Models malloc, realloc and aligned allocation of ESP-IDF 5 over several regions, each an esp-tlsf heap behind its multi_heap record: " +
		"esp-heap-caps:regions=64KiB@0+32KiB@128KiB+2MiB@4MiB,caps=internal/dma/8bit+internal/8bit/exec+spiram. " +
		"A region's capabilities say what it is: internal/8bit is data memory, with exec memory for data or instructions, which is tried after it; internal/exec without 8bit is instruction memory, which malloc never gives out; " +
		"spiram is external memory; dma and 32bit are taken and change nothing. Regions of equal priority are tried by ascending address, or as order says. " +
		"With an external region, requests of up to threshold bytes go to internal regions first and then to any, larger ones to external regions first and then to any; " +
		"a realloc stays in its region if that is of the preferred kind and has room, else the object moves to the preferred kind, else it stays, else it moves to any. " +
		"Without regions the heap has those that the ESP-IDF guide prints for an ESP32, less the instruction memory, with addresses counted from 0x3FFAE000. " +
		"A failed request needs the smallest block that would do in one of the regions that malloc gives out; the largest free block is that of any region. " +
		"A step is one of esp-tlsf; a second round through the regions counts its own. " +
		"Not modelled: requests for a capability, as for DMA or instructions, since traces do not record them; memory reserved for them (leave it out of the regions); heap poisoning; regions added later.",
	Source: "ESP-IDF Programming Guide v5 (Heap Memory Allocation; Support for External RAM); espressif/esp-idf issue 13353; espressif/tlsf, commit ba64d198",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "regions", Kind: heapmodel.ParamRegions, Doc: "regions SIZE@ADDR, multi_heap record and control structure included; unset: those of an ESP32 in the guide"},
		{Key: "caps", Kind: heapmodel.ParamText, Doc: "capabilities of each region, as in internal/dma/8bit+spiram; unset: internal/dma/8bit each"},
		{Key: "order", Kind: heapmodel.ParamText, Doc: "numbers of the regions in the order they are registered, as in 1/0/2; unset: ascending"},
		{Key: "threshold", Kind: heapmodel.ParamBytes, Default: "16384", Doc: "largest request that prefers internal memory (SPIRAM_MALLOC_ALWAYSINTERNAL)"},
	},
	New: newHeap,
}

// Regions of an ESP32, as an application prints them at its start according to
// the guide; see Doc.
var esp32 = struct {
	regions []heapmodel.Region
	caps    string
}{
	[]heapmodel.Region{{Addr: 0x6E0, Size: 0x1920}, {Addr: 0x4EC8, Size: 0x2D138}, {Addr: 0x32440, Size: 0x3AE0}, {Addr: 0x36350, Size: 0x1BCB0}},
	"internal/dma/8bit+internal/dma/8bit+internal/dma/8bit/exec+internal/dma/8bit/exec",
}

// kind is what malloc makes of a region's capabilities.
type kind uint8

const (
	internal kind = 1 << iota
	external
	either = internal | external
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	regions, caps := c.Regions("regions"), c.Text("caps")
	switch {
	case regions == nil && caps != "":
		return nil, errors.New("caps: want the regions, too")
	case regions == nil:
		regions, caps = esp32.regions, esp32.caps
	case caps == "":
		caps = strings.Repeat("+internal/dma/8bit", len(regions))[1:]
	}
	words := strings.Split(caps, "+")
	if len(words) != len(regions) {
		return nil, fmt.Errorf("caps=%s: capabilities of %d regions, there are %d", caps, len(words), len(regions))
	}
	h := &heap{threshold: c.Bytes("threshold")}
	late := make([]bool, len(regions)) // tried after others of their kind
	h.kinds = make([]kind, len(regions))
	parts := make([]several.Part, len(regions))
	for i, r := range regions {
		var err error
		if h.kinds[i], late[i], err = kindOf(words[i]); err != nil {
			return nil, fmt.Errorf("caps=%s: %w", caps, err)
		}
		sub, err := esptlsf.New(esptlsf.Region{Addr: r.Addr, Size: r.Size, Prefix: esptlsf.Record32, PtrBits: 32})
		if err != nil {
			return nil, fmt.Errorf("region %d of %w", i, err)
		}
		h.regions = append(h.regions, sub)
		own := regions[i : i+1]
		parts[i] = several.Part{Heap: sub, Regions: own, Foot: heapmodel.FootprintIn(sub, own), Align: heapmodel.MaxAlign}
	}
	order, err := orderOf(c.Text("order"), len(regions))
	if err != nil {
		return nil, err
	}
	h.rank(order, late)
	if len(h.tries[either]) == 0 {
		return nil, fmt.Errorf("caps=%s: no region is memory for data: want internal/8bit or spiram", caps)
	}
	h.Heaps, err = several.New(parts, nil)
	return h, err
}

// kindOf returns what malloc makes of capabilities joined by a slash: the kind,
// zero if it never gives out such memory, and whether other memory of that kind
// comes first.
func kindOf(caps string) (k kind, late bool, err error) {
	bytes, words, exec := false, false, false // accessed by bytes, by words, or to run it
	for word := range strings.SplitSeq(caps, "/") {
		switch word {
		case "internal":
			k |= internal
		case "spiram":
			k |= external
		case "8bit":
			bytes = true
		case "exec":
			exec = true
		case "32bit":
			words = true
		case "dma":
		default:
			return 0, false, fmt.Errorf("%q: want internal, spiram, 8bit, 32bit, dma or exec with / between them", word)
		}
	}
	switch {
	case k != internal && k != external:
		return 0, false, fmt.Errorf("%q: a region is either internal or spiram", caps)
	case k == internal && !bytes && !words && !exec:
		return 0, false, fmt.Errorf("%q: want internal/8bit for data, internal/exec or internal/32bit for memory that malloc never gives out", caps)
	case k == internal && !bytes:
		return 0, false, nil
	}
	return k, exec, nil
}

// orderOf reads the order in which so many regions are registered.
func orderOf(text string, regions int) ([]int, error) {
	order := make([]int, 0, regions)
	if text == "" {
		for i := range regions {
			order = append(order, i)
		}
		return order, nil
	}
	seen := make([]bool, regions)
	for number := range strings.SplitSeq(text, "/") {
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= regions || seen[i] {
			return nil, fmt.Errorf("order=%s: want each number from 0 to %d once, with / between them", text, regions-1)
		}
		seen[i] = true
		order = append(order, i)
	}
	if len(order) < regions {
		return nil, fmt.Errorf("order=%s: %d of %d regions", text, len(order), regions)
	}
	return order, nil
}
