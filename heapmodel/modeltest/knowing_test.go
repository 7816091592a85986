package modeltest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// knowing is a toy that looks at hints and has a plan, and writes down both.
type knowing struct {
	*toy
	sites []string
	hints []heapmodel.Hint
	lives []heapmodel.Lifetime
}

func (k *knowing) Hints() heapmodel.HintKinds { return heapmodel.HintSite | heapmodel.HintLife }
func (k *knowing) Hint(h heapmodel.Hint)      { k.hints = append(k.hints, h) }

func (k *knowing) Bind(sites []string) error {
	k.sites = sites
	return nil
}

func (k *knowing) Plan(lives []heapmodel.Lifetime) error {
	if len(lives) == 0 {
		return errors.New("nothing to plan")
	}
	k.lives = slices.Clone(lives)
	return nil
}

func newKnowing(t *testing.T) *knowing {
	t.Helper()
	h, err := newToy(4096, "")
	if err != nil {
		t.Fatal(err)
	}
	return &knowing{toy: h}
}

func TestHeapsGetToKnow(t *testing.T) {
	tr, err := ParseOps("known", strings.NewReader("a 0 10\na 1 100 16\nr 0 20\nf 1\na 2 5\nf 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	k := newKnowing(t)
	p, err := newPlayer(NewShadow(k, Rules{}), tr)
	if err != nil {
		t.Fatal(err)
	}
	p.answers(tr)
	if !slices.Equal(k.sites, Sites()) {
		t.Errorf("bound to %q", k.sites)
	}
	var lives []uint64
	for _, h := range k.hints {
		lives = append(lives, h.Life)
		if int(h.Site) >= len(Sites()) || h.Thread >= Threads {
			t.Errorf("hint %+v", h)
		}
	}
	if want := []uint64{125, 20, 125, heapmodel.Forever}; !slices.Equal(lives, want) {
		t.Errorf("lives %d, want %d", lives, want)
	}
	want := []heapmodel.Lifetime{
		{Size: 10, Birth: 0, Death: 2},
		{Size: 100, Birth: 1, Death: 3, Align: 16},
		{Size: 20, Birth: 2, Death: 4},
		{Size: 5, Birth: 3, Death: heapmodel.Forever},
	}
	if !slices.Equal(k.lives, want) {
		t.Errorf("plan %+v, want %+v", k.lives, want)
	}
	again := newKnowing(t)
	Answers(again, tr)
	if !slices.Equal(again.hints, k.hints) {
		t.Errorf("hints %+v the second time, %+v the first", again.hints, k.hints)
	}
}

func TestPlanOfATraceReplayedTwice(t *testing.T) {
	tr, err := ParseOps("twice", strings.NewReader("a 0 10\na 1 20\nf 1\nf 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	k := newKnowing(t)
	if _, err := newPlayerOf(k, tr, 2); err != nil {
		t.Fatal(err)
	}
	want := []heapmodel.Lifetime{
		{Size: 10, Birth: 0, Death: 2},
		{Size: 20, Birth: 1, Death: 2},
		{Size: 10, Birth: 2, Death: 4},
		{Size: 20, Birth: 3, Death: 4},
	}
	if !slices.Equal(k.lives, want) {
		t.Errorf("plan %+v, want %+v", k.lives, want)
	}
	if _, err := newPlayer(k, &Trace{}); err == nil || !strings.Contains(err.Error(), "nothing to plan") {
		t.Errorf("error %v, want that of Plan", err)
	}
}

// boxModel is a model whose heap is the first one inside.
func boxModel() *heapmodel.Model {
	return &heapmodel.Model{
		Name: "box", Family: "reference", Title: "a heap inside another", Doc: "A test.", Source: "none",
		Caps: heapmodel.CapAlign,
		Params: []heapmodel.Param{
			{Key: "heaps", Kind: heapmodel.ParamSpecs, Doc: "specs"},
			{Key: "loud", Kind: heapmodel.ParamBool, Default: "false", Doc: "nothing"},
		},
		New: func(c heapmodel.Config) (heapmodel.Heap, error) {
			if len(c.Specs("heaps")) != 1 {
				return nil, errors.New("want one heap")
			}
			return c.Specs("heaps")[0].New()
		},
	}
}

func TestInsideSpecs(t *testing.T) {
	small := toyModel("")
	small.Name = "small"
	specs, must, err := Inside{toyModel(""), small}.Specs(boxModel())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"box:heaps=[toy:capacity=8KiB]",
		"box:heaps=[small:capacity=8KiB]",
		"box:heaps=[toy:capacity=8KiB]+[small:capacity=8KiB]",
		"box:heaps=[toy:capacity=8KiB],loud=true",
		"box:heaps=[toy:capacity=8KiB],loud=false",
	}
	if must != 1 || !slices.Equal(specs, want) {
		t.Errorf("%d of %q, want 1 of %q", must, specs, want)
	}
}

func TestConformanceOfAToyInside(t *testing.T) {
	Inside{toyModel("")}.Run(t, boxModel(), "box:heaps=[toy:capacity=4KiB]")
}

func TestRulesOfHeapsInside(t *testing.T) {
	late := toyModel("")
	late.Name = "threadx-byte-pool"
	for text, want := range map[string]Rules{
		"box:heaps=[toy]+[toy]":               {},
		"box:heaps=[toy]+[threadx-byte-pool]": {FailureMerges: true},
	} {
		s, err := Inside{toyModel(""), late}.parse(boxModel(), text)
		if err != nil {
			t.Fatal(err)
		}
		if got := rulesFor(s); got != want {
			t.Errorf("%s: rules %+v, want %+v", text, got, want)
		}
	}
}

func TestRoomForHeapsInside(t *testing.T) {
	s, err := Inside{toyModel("")}.parse(boxModel(), "box:heaps=[toy:capacity=4KiB],loud=true")
	if err != nil {
		t.Fatal(err)
	}
	sized, err := withRoom(s, steadyLoop(1000, 10))
	if err != nil {
		t.Fatal(err)
	}
	if want := "box:heaps=[toy:capacity=1MiB],loud=true"; sized.String() != want {
		t.Errorf("got %s, want %s", sized, want)
	}
}
