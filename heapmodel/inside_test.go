package heapmodel_test

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/multi"
	"github.com/fragprof/fragprof/heapmodel/sequential"
	"github.com/fragprof/fragprof/heapmodel/tlsf"
)

func parse(t *testing.T, text string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{multi.Model, sequential.Model, tlsf.Model}, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGrowthOfSpecsInside(t *testing.T) {
	for text, want := range map[string]struct {
		grows bool
		limit uint64
	}{
		"multi":                               {false, 0},
		"multi:heaps=[tlsf:capacity=8KiB]":    {false, 0},
		"multi:heaps=[tlsf]+[tlsf:grow=8KiB]": {true, 8 << 10},
		"multi:heaps=[tlsf:grow=16KiB]+[tlsf:grow=8KiB]+[tlsf:capacity=1MiB]": {true, 16 << 10},
		"multi:heaps=[sequential:quantum=4KiB]":                               {true, heapmodel.MaxSize},
		"multi:heaps=[tlsf]+[multi:heaps=[tlsf]+[tlsf:grow=8KiB]]":            {true, 8 << 10},
		"tlsf:capacity=8KiB": {false, heapmodel.MaxSize},
		"tlsf:grow=8KiB":     {true, 8 << 10},
	} {
		s := parse(t, text)
		if s.Grows() != want.grows || s.GrowLimit() != want.limit {
			t.Errorf("%s: grows %t up to %d, want %t, %d", text, s.Grows(), s.GrowLimit(), want.grows, want.limit)
		}
	}
}

func TestSpecsThatNameNoModel(t *testing.T) {
	for _, text := range []string{"", ":capacity=8KiB", "multi:heaps=[]", "multi:heaps=[tlsf]+[]"} {
		_, err := heapmodel.ParseSpec([]*heapmodel.Model{multi.Model, tlsf.Model}, text)
		if err == nil || !strings.Contains(err.Error(), "names no model") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

func TestChangedSpecs(t *testing.T) {
	s := parse(t, "multi:cuts=64,heaps=[tlsf:ptr=64]+[tlsf],overflow=none")
	var inside []string
	for _, inner := range s.Inside() {
		inside = append(inside, inner.String())
	}
	if got, want := strings.Join(inside, " "), "tlsf:ptr=64 tlsf"; got != want {
		t.Errorf("inside are %s, want %s", got, want)
	}
	other, err := s.WithSpecs("heaps", []*heapmodel.Spec{parse(t, "multi:heaps=[tlsf:ptr=32,capacity=8KiB]"), parse(t, "tlsf")})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		other.String():                     "multi:cuts=64,heaps=[multi:heaps=[tlsf:ptr=32,capacity=8KiB]]+[tlsf],overflow=none",
		s.Without("cuts", "gone").String(): "multi:heaps=[tlsf:ptr=64]+[tlsf],overflow=none",
		s.String():                         "multi:cuts=64,heaps=[tlsf:ptr=64]+[tlsf],overflow=none",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := s.WithSpecs("gone", nil); err == nil {
		t.Error("a parameter that is not there is set without an error")
	}
}

func TestFootprint(t *testing.T) {
	for _, c := range []struct {
		spec  string
		sizes []uint64
		want  uint64
	}{
		{"sequential:capacity=4KiB,header=0,align=1", []uint64{100, 50}, 150},
		{"sequential:quantum=1KiB,header=0,align=1", []uint64{100, 50}, 1024},
		{"tlsf:regions=256@0+1KiB@1MiB,control=external", []uint64{200, 600}, 256 + 604}, // what lies below the mark counts whole
		{"multi:cuts=60,heaps=[sequential:capacity=4KiB,header=0,align=1]+[sequential:quantum=1KiB,header=0,align=1]", []uint64{50, 100}, 50 + 1024},
	} {
		s := parse(t, c.spec)
		h, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		f := heapmodel.FootprintOf(s, h)
		for _, size := range c.sizes {
			if _, ok := h.Alloc(size, 0); !ok {
				t.Errorf("%s: no room for %d bytes", c.spec, size)
			}
		}
		if got := f.Bytes(); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.spec, got, c.want)
		}
	}
}
