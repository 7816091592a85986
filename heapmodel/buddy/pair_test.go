package buddy

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// pairsOf returns a function that makes pairs of the model of that name.
func pairsOf(name, args string) (func() (*oracle.Pair, error), error) {
	return oracle.Pairs(models, name+":"+args, func(h heapmodel.Heap) oracle.Plain { return newPlain(name, h.(*heap)) })
}

// TestOracle compares the model with the plain heap over random parameters and
// operations: addresses, blocks, counters and steps after every one.
func TestOracle(t *testing.T) {
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { checkOracle(t, m.Name) })
		})
	}
}

func checkOracle(t *rapid.T, name string) {
	pick := func(key string, values ...string) string {
		return key + "=" + rapid.SampledFrom(values).Draw(t, key)
	}
	parts := []string{
		pick("order", "lifo", "fifo", "address"), pick("align", "1", "2", "8"), pick("header", "0", "1", "4", "8"),
		pick("min", "0", "3", "16"), pick("realloc", "move", "inplace"),
	}
	if name == "double-buddy" {
		parts = append(parts, pick("spill", "true", "false"))
	}
	if rapid.Bool().Draw(t, "grows") {
		parts = append(parts, pick("quantum", "1", "7", "64", "100"), pick("grow", "300", "1000", "4KiB"))
		if rapid.Bool().Draw(t, "starts with memory") {
			parts = append(parts, pick("capacity", "64", "100", "200"))
		}
	} else {
		parts = append(parts, pick("capacity", "64", "129", "500", "1000", "2040"))
	}
	pairs, err := pairsOf(name, strings.Join(parts, ","))
	if err != nil {
		t.Fatal(err)
	}
	x, err := pairs()
	if err != nil {
		t.Skip(err)
	}
	if err := x.Compare(); err != nil {
		t.Fatal(err)
	}
	sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 40, 64, 100, 250}
	oracle.Random(t, x, sizes, []uint32{1, 4, 32, 128}, 120)
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of a dozen units, fixed and growing.
func TestTinyHeaps(t *testing.T) {
	depth := 5
	if *long {
		depth = 6
	}
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			for _, order := range []string{"lifo", "fifo", "address"} {
				arenas := []string{"capacity=13", "capacity=5,quantum=4,grow=26", "quantum=3,grow=16", "capacity=16,align=2,realloc=inplace"}
				if order == "fifo" {
					arenas = arenas[:1]
				}
				for _, arena := range arenas {
					if !strings.Contains(arena, "align") {
						arena += ",align=1"
					}
					pairs, err := pairsOf(m.Name, fmt.Sprintf("header=0,order=%s,%s", order, arena))
					if err != nil {
						t.Fatal(err)
					}
					oracle.Exhaust(t, pairs,
						oracle.Tree{Sizes: []uint64{1, 2, 3, 5}, Depth: depth},
						oracle.Tree{Sizes: []uint64{1, 3}, Reallocs: true, Depth: depth - 1})
				}
			}
		})
	}
}
