package replay_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/ideal"
	"github.com/fragprof/fragprof/replay"
)

// knowing is the ideal heap with an ear for what it gets to know.
type knowing struct {
	heapmodel.Heap
	lives []heapmodel.Lifetime
	told  []uint64 // Hint.Life of each call of Hint
}

func (k *knowing) Hints() heapmodel.HintKinds { return heapmodel.HintLife }
func (k *knowing) Bind([]string) error        { return nil }
func (k *knowing) Hint(h heapmodel.Hint)      { k.told = append(k.told, h.Life) }

func (k *knowing) Plan(lives []heapmodel.Lifetime) error {
	k.lives = append(k.lives, lives...)
	return nil
}

// TestForesight compares what heaps are told with lifetimes worked out by hand.
func TestForesight(t *testing.T) {
	const forever = heapmodel.Forever
	for _, c := range []struct {
		name  string
		trace string
		lives []heapmodel.Lifetime
		told  []uint64
	}{
		{"one object", "a 0 7\nf 0\n", []heapmodel.Lifetime{{Size: 7, Death: 1}}, []uint64{0}},
		{
			// The clock of bytes: 10, 30, free of 0, 60, 65, free of 1.
			"realloc ends a placement and no life", "a 0 10\na 1 20 64\nf 0\nr 1 30\na 2 5\nf 1\n",
			[]heapmodel.Lifetime{
				{Size: 10, Birth: 0, Death: 2},
				{Size: 20, Birth: 1, Death: 2, Align: 64},
				{Size: 30, Birth: 2, Death: 4, Align: 64},
				{Size: 5, Birth: 3, Death: forever},
			},
			[]uint64{20, 35, 35, forever},
		},
		{
			// The third object has the slot of the first; what ends between two
			// placements ends at the same time.
			"a slot again", "a 0 1\na 1 2\nf 0\nf 1\na 2 4\na 3 8\nf 3\n",
			[]heapmodel.Lifetime{
				{Size: 1, Birth: 0, Death: 2}, {Size: 2, Birth: 1, Death: 2}, {Size: 4, Birth: 2, Death: forever}, {Size: 8, Birth: 3, Death: 4},
			},
			[]uint64{2, 0, forever, 0},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			heap := &knowing{}
			m := *ideal.Model
			m.New = func(cfg heapmodel.Config) (h heapmodel.Heap, err error) {
				heap.Heap, err = ideal.Model.New(cfg)
				return heap, err
			}
			s, err := heapmodel.ParseSpec([]*heapmodel.Model{&m}, "ideal")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := replay.Run(context.Background(), load(t, c.trace), []*heapmodel.Spec{s}, replay.Options{}); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(heap.lives, c.lives) {
				t.Errorf("planned for\n%+v, want\n%+v", heap.lives, c.lives)
			}
			if !reflect.DeepEqual(heap.told, c.told) {
				t.Errorf("told lives %d, want %d", heap.told, c.told)
			}
		})
	}
}
