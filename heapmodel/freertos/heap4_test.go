package freertos

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

func newHeap(t testing.TB, text string) heapmodel.Heap {
	t.Helper()
	spec, err := heapmodel.ParseSpec([]*heapmodel.Model{Heap4}, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func lines(t testing.TB, name string) []string {
	f, err := os.Open(name)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for s := bufio.NewScanner(z); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}

func TestPriv(t *testing.T) {
	shared := "../../../shared/"
	for cfg, spec := range map[string]string{
		"32k-m32": "capacity=32KiB,ptr=32", "64k-m32": "capacity=64KiB,ptr=32", "64k-m64": "capacity=64KiB,ptr=64",
		"v10.4.6-64k-m32": "capacity=64KiB,ptr=32,version=10.4.6", "v10.5.1-64k-m32": "capacity=64KiB,ptr=32,version=10.5.1",
	} {
		dir := shared + "golden/freertos_heap4/" + cfg
		es, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			name, ok := strings.CutSuffix(e.Name(), ".gz")
			if !ok {
				continue
			}
			ops := lines(t, shared+"ops/synthetic/"+name+".ops.gz")
			want := lines(t, dir+"/"+e.Name())
			if len(ops) != len(want) {
				t.Fatal(len(ops), len(want))
			}
			h := newHeap(t, "freertos-heap4:"+spec)
			refs := map[int]heapmodel.Ref{}
			for i, op := range ops {
				var k string
				var id, size int
				fmt.Sscan(op, &k, &id, &size)
				got := ""
				r, live := refs[id]
				switch {
				case k == "f" && !live:
					got = "_"
				case k == "f":
					h.Free(r)
					delete(refs, id)
					got = "."
				default:
					var ok bool
					if live {
						r, ok = h.Realloc(r, uint64(size), 0)
					} else {
						r, ok = h.Alloc(uint64(size), 0)
					}
					got = "!"
					if ok {
						refs[id] = r
						got = fmt.Sprint(h.Addr(r))
					}
				}
				if got != want[i] {
					t.Fatalf("%s %s op %d %s: got %s want %s", cfg, name, i, op, got, want[i])
				}
			}
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			t.Log(cfg, name, len(ops), h.(heapmodel.Native).Native())
		}
	}
}
