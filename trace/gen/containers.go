package gen

import (
	"fmt"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/growth"
)

var containers = &Workload{
	Name:  "containers",
	Title: "growing vectors and strings among unrelated allocations",
	Doc: `Many containers live at once, on several threads, and grow element by element
by the rules of real libraries until each has its length, lives a while, and dies
for another. In between the program allocates and frees objects that have
nothing to do with them: of similar sizes, and some of them (mimics) of exactly
a size and call site of a container, so that sizes and sites alone do not tell
which buffers follow each other. In a container that copies, other threads may
act between the new buffer and the free of the old one. The containers of a kind
share call sites.

What misleads a finder of growing containers can be added: queues pass objects
of random sizes on, first in, first out, at a container's call site, so that a
smaller object often dies right after a larger one was made; nested containers
hold elements with buffers of their own, all of which are copied and freed
between the new buffer and the free of the old one; twins grow together, both
new buffers before both frees.

Which events belong to which container is known: package trace/gen gives the
chains to tests that measure how well a finder of growing containers does.`,
	Source: "package trace/growth for the rules",
	ptr:    64,
	Params: []Param{
		{Key: "rules", Kind: Words, Default: "all", Enum: append([]string{"all"}, ruleNames()...), Doc: "growth rules of the containers"},
		{Key: "style", Kind: Word, Default: "own", Enum: []string{"own", "realloc", "copy", "mixed"}, Doc: "how they grow: as the original, all by realloc, all by copying, or either at random"},
		{Key: "live", Kind: Count, Default: "100", Min: 1, Max: 1 << 20, Doc: "containers alive at once"},
		{Key: "max", Kind: Bytes, Default: "16KiB", Min: 64, Max: maxBytes, Doc: "bytes of the largest content; each doubling of lengths is as frequent as the next"},
		{Key: "threads", Kind: Count, Default: "4", Min: 1, Max: 1024, Doc: "threads"},
		{Key: "sites", Kind: Count, Default: "3", Min: 1, Max: 1000, Doc: "call sites of the containers of one rule"},
		{Key: "append", Kind: Count, Default: "1", Min: 1, Max: 1 << 20, Doc: "elements added at once, at most; 16 times as many characters"},
		{Key: "decoys", Kind: Fraction, Default: "0.5", Doc: "part of the steps that are of unrelated objects"},
		{Key: "mimics", Kind: Fraction, Default: "0.1", Doc: "part of the unrelated objects that have a container's size and call site"},
		{Key: "queues", Kind: Count, Default: "0", Max: 1 << 16, Doc: "queues of objects of random sizes at the containers' call sites; three steps in ten are theirs"},
		{Key: "nested", Kind: Fraction, Default: "0", Doc: "part of the containers that copy whose elements have buffers of their own, copied with them"},
		{Key: "twins", Kind: Fraction, Default: "0", Doc: "part of the containers that copy that grow in pairs"},
	},
	run: runContainers,
}

// elemSizes are the sizes of elements, in bytes.
var elemSizes = []uint64{1, 2, 4, 8, 8, 16, 24, 32, 40, 64}

// stringWords and vectorWords name call sites, so that reports read well.
var (
	stringWords = []string{"path", "line", "topic", "body", "query", "name"}
	vectorWords = []string{"rows", "events", "points", "children", "pending", "samples"}
	decoyWords  = []string{"node.cc:Node::New", "session.cc:open", "cache.cc:insert", "timer.cc:arm", "packet.cc:clone", "index.cc:leaf"}
)

// grower is a container of the workload and what becomes of it.
type grower struct {
	container
	length uint64 // elements now
	want   uint64 // elements in the end
	rest   int    // steps it lives on after that

	twin     *container // grows with it; nil if it is alone
	nested   bool       // its elements have buffers
	elements []object
}

// zoo is the state of the workload.
type zoo struct {
	e       *emitter
	style   string
	max     uint64 // bytes
	threads int
	most    uint64 // elements appended at once
	mimics  float64
	nested  float64
	twins   float64
	rules   []*growth.Rule
	sites   [][]trace.SiteID // by rule
	others  []trace.SiteID
	growers []grower
	decoys  []decoy
	queues  []queue
	elems   trace.SiteID // of the buffers of elements
}

// decoy is an object that belongs to no container.
type decoy struct {
	object
	thread int
}

func runContainers(e *emitter, v values) {
	z := &zoo{
		e: e, style: v.word("style"), max: v.number("max"), threads: v.int("threads"),
		most: v.number("append"), mimics: v.frac("mimics"), nested: v.frac("nested"), twins: v.frac("twins"),
		queues: make([]queue, v.int("queues")),
	}
	for _, name := range v.words("rules") {
		for _, r := range growth.Rules {
			if name == "all" || name == r.Name {
				z.rules = append(z.rules, r)
			}
		}
	}
	for _, r := range z.rules {
		var sites []trace.SiteID
		for i := range v.int("sites") {
			words := vectorWords
			if r.Text {
				words = stringWords
			}
			sites = append(sites, e.site(fmt.Sprintf("%s.cc:%s#%d", words[i%len(words)], r.Name, i)))
		}
		z.sites = append(z.sites, sites)
	}
	for _, name := range decoyWords {
		z.others = append(z.others, e.site(name))
	}
	if z.nested > 0 {
		z.elems = e.site("element.cc:Element::copy")
	}
	for i := range z.queues {
		sites := z.sites[e.rand.IntN(len(z.sites))]
		z.queues[i] = queue{site: sites[e.rand.IntN(len(sites))], thread: e.rand.IntN(z.threads), room: 1 + e.rand.IntN(16)}
	}
	z.growers = make([]grower, v.int("live"))
	for i := range z.growers {
		z.renew(&z.growers[i])
	}
	decoys, live := v.frac("decoys"), v.int("live")
	for e.more() {
		e.wait(int64(e.between(0, 20_000)))
		if len(z.queues) > 0 && e.chance(0.3) {
			z.queues[e.rand.IntN(len(z.queues))].step(e)
			continue
		}
		if e.chance(decoys) {
			z.decoy()
			continue
		}
		g := &z.growers[e.rand.IntN(live)]
		switch {
		case g.length < g.want:
			z.step(g)
		case g.rest > 0:
			g.rest--
		default:
			g.end(e)
			z.renew(g)
		}
	}
}

// renew makes g a new, empty container.
func (z *zoo) renew(g *grower) {
	e := z.e
	i := e.rand.IntN(len(z.rules))
	r := z.rules[i]
	*g = grower{container: container{rule: r, elem: 1, thread: e.rand.IntN(z.threads), capacity: r.Inline()}}
	if !r.Text {
		g.elem = elemSizes[e.rand.IntN(len(elemSizes))]
	}
	g.site = z.sites[i][e.rand.IntN(len(z.sites[i]))]
	switch z.style {
	case "own":
		g.realloc = r.Realloc
	case "realloc":
		g.realloc = true
	case "mixed":
		g.realloc = e.chance(0.5)
	}
	g.want = max(e.spread(1, z.max)/g.elem, 1)
	g.rest = e.rand.IntN(20)
	if g.realloc {
		return
	}
	g.nested = z.nested > 0 && !r.Text && e.chance(z.nested)
	if z.twins > 0 && e.chance(z.twins) {
		twin := g.container
		if !r.Text {
			twin.elem = elemSizes[e.rand.IntN(len(elemSizes))]
		}
		g.twin = &twin
	}
}

// step fills the container up to its next growth, or to its end.
func (z *zoo) step(g *grower) {
	e := z.e
	if g.length < g.capacity { // fill without a request
		g.length = min(g.capacity, g.want)
		g.fill(e, z.elems)
		if g.length == g.want {
			return
		}
	}
	most := z.most
	if g.rule.Text {
		most *= 16
	}
	g.length = min(g.length+e.between(1, most), g.want)
	g.grow(e, g.length)
	if g.twin != nil {
		g.twin.grow(e, g.length)
	}
	g.copyElements(e, z.elems)
	for z.threads > 1 && g.pending && e.more() && e.chance(0.3) {
		z.decoyOn((g.thread + 1 + e.rand.IntN(z.threads-1)) % z.threads)
	}
	g.finish(e)
	if g.twin != nil {
		g.twin.finish(e)
	}
	g.fill(e, z.elems)
}

// decoy does something on any thread.
func (z *zoo) decoy() { z.decoyOn(z.e.rand.IntN(z.threads)) }

// decoyOn allocates or frees an unrelated object.
func (z *zoo) decoyOn(thread int) {
	e := z.e
	if many := len(z.decoys) > 2*len(z.growers); len(z.decoys) > 0 && (many || e.chance(0.45)) {
		var d decoy
		z.decoys, d = remove(z.decoys, e.rand.IntN(len(z.decoys)))
		e.thread = d.thread
		e.free(d.object)
		return
	}
	e.thread = thread
	site, size := z.others[e.rand.IntN(len(z.others))], e.between(8, 512)
	if g := &z.growers[e.rand.IntN(len(z.growers))]; g.held {
		if e.chance(z.mimics) {
			site, size = g.site, g.buffer.size
			if e.chance(0.5) { // the size that would come next
				size = g.rule.Bytes(g.rule.Next(g.capacity, g.capacity+1, g.elem), g.elem)
			}
		} else if e.chance(0.5) {
			size = e.between(g.buffer.size/2, 2*g.buffer.size)
		}
	}
	z.decoys = append(z.decoys, decoy{object: e.alloc(site, size), thread: thread})
}
