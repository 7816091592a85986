package strategy

import (
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// lifespans is what a whole trace tells of the lives of its objects, by the number
// of the alloc from zero. 16 bytes an object.
type lifespans struct {
	site   []trace.SiteID
	thread []uint32
	life   []uint64 // as heapmodel.Hint.Life: bytes requested until the free; Forever if there is none
}

// learnLifespans reads the trace.
func learnLifespans(src trace.Source) (*lifespans, error) {
	if n := src.Header().Summary.Allocs; n > MaxObjects {
		return nil, fmt.Errorf("a strategy that knows lives needs a trace of at most %d objects; this one has %d", MaxObjects, n)
	}
	v := &lifespans{}
	type open struct {
		number uint32
		born   uint64
	}
	var live []open // by slot
	clock := uint64(0)
	err := eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(live) {
			live = append(live, open{})
		}
		clock += e.Size
		switch o := &live[e.Slot]; e.Op {
		case trace.OpAlloc:
			*o = open{uint32(len(v.life)), clock}
			v.site, v.thread = append(v.site, e.Site), append(v.thread, e.Thread)
			v.life = append(v.life, heapmodel.Forever)
		case trace.OpFree:
			v.life[o.number] = clock - o.born
		}
	})
	return v, err
}

// medians returns the median life of the objects of each site, by SiteID, and
// whether the site has any.
func (v *lifespans) medians(sites int) (median []uint64, any []bool) {
	bySite := make([][]uint64, sites)
	for n, site := range v.site {
		if int(site) < sites {
			bySite[site] = append(bySite[site], v.life[n])
		}
	}
	median, any = make([]uint64, sites), make([]bool, sites)
	for site, of := range bySite {
		if len(of) > 0 {
			slices.Sort(of)
			median[site], any[site] = of[(len(of)-1)/2], true
		}
	}
	return median, any
}

// siteList writes the sites for which is holds as #N joined by a bar.
func siteList(is []bool) string {
	text := ""
	for site, in := range is {
		if in {
			text += fmt.Sprintf("|#%d", site)
		}
	}
	return text[min(1, len(text)):]
}
