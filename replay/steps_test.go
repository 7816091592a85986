package replay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
)

// TestDeadBlocksHaveNoLabel holds that a block that a heap keeps after its object
// was freed is drawn as nobody's, not as a living object.
func TestDeadBlocksHaveNoLabel(t *testing.T) {
	src := load(t, "a 0 5\na 1 1\nf 0\na 2 2\n")
	for spec, want := range map[string][]string{
		"bump:capacity=10,align=1":                                    {"[0]", "[0 1]", "[- 1]", "[- 1 2]"},
		"freertos-heap1:capacity=64":                                  {"[0]", "[0 1]", "[- 1]", "[- 1 2]"},
		"region:capacity=10,align=1,chunk=9,control=0":                {"[0]", "[0 1]", "[- 1]", "[- 1 2]"},
		"sequential:capacity=10,header=0,align=1":                     {"[0]", "[0 1]", "[1]", "[2 1]"},
		"multi:heaps=[bump:capacity=10,align=1]+[tlsf:capacity=4KiB]": {"[0]", "[0 1]", "[- 1]", "[- 1 2]"},
	} {
		var got []string
		for _, s := range runComposed(t, src, replay.Options{Steps: true}, spec).Steps {
			var labels []string
			for _, label := range s.Labels {
				if label == replay.NoLabel {
					labels = append(labels, "-")
				} else {
					labels = append(labels, fmt.Sprint(label))
				}
			}
			got = append(got, "["+strings.Join(labels, " ")+"]")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: labels %v, want %v", spec, got, want)
		}
	}
}

// TestFillGivesRoomForTheHeapItself holds that a heap whose control structure
// does not go into the capacity that fits the trace gets a larger one, and that
// the notes say so.
func TestFillGivesRoomForTheHeapItself(t *testing.T) {
	src := load(t, "a 0 30\n")
	h := *src.Header()
	h.PtrBits = 64
	for text, want := range map[string]string{
		"freertos-heap4":                "freertos-heap4:capacity=4KiB,ptr=64",
		"tlsf":                          "tlsf:capacity=8KiB,ptr=64",
		"simple-segregated":             "simple-segregated:capacity=8KiB,ptr=64",
		"simple-segregated:page=1GiB":   "simple-segregated:capacity=4KiB,page=1GiB,ptr=64", // its error is the answer
		"simple-segregated:capacity=10": "simple-segregated:capacity=10,ptr=64",
	} {
		s, err := heapmodel.ParseSpec(composed, text)
		if err != nil {
			t.Fatal(err)
		}
		filled, notes, err := replay.Fill(s, &h)
		if err != nil || filled.String() != want {
			t.Errorf("%s: filled to %s, %v; want %s", text, filled, err, want)
		}
		if told := strings.Contains(strings.Join(notes, "\n"), s.Model.Name+" got 8KiB"); told != strings.Contains(want, "8KiB") {
			t.Errorf("%s: notes %q", text, notes)
		}
	}
}

// TestFillStaysBelowWhatAHeapCanHave: a model that cannot have the capacity of
// the others gets the most that it can, and the notes say so.
func TestFillStaysBelowWhatAHeapCanHave(t *testing.T) {
	src := load(t, "a 0 1000000\n")
	for text, want := range map[string]string{
		"avr-libc":   "avr-libc:capacity=65024",    // its default
		"umm-malloc": "umm-malloc:capacity=128KiB", // 15-bit block numbers
		"tlsf":       "tlsf:capacity=2MiB",         // what the trace asks for
	} {
		s, err := heapmodel.ParseSpec(catalog.Models, text)
		if err != nil {
			t.Fatal(err)
		}
		filled, notes, err := replay.Fill(s, src.Header())
		if err != nil || filled.String() != want {
			t.Errorf("%s: filled to %s, %v; want %s", text, filled, err, want)
		}
		if said := strings.Contains(strings.Join(notes, "\n"), "no such heap"); said != (text != "tlsf") {
			t.Errorf("%s: notes %q", text, notes)
		}
	}
}
