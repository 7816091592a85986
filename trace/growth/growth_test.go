package growth

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// capacities returns the capacities of a container filled one by one.
func capacities(r *Rule, elem uint64, count int) []uint64 {
	var out []uint64
	for c := r.Inline(); len(out) < count; {
		c = r.Next(c, c+1, elem)
		out = append(out, c)
	}
	return out
}

func rule(t testing.TB, name string) *Rule {
	t.Helper()
	r, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSequences holds the rules to capacities that were observed or published.
func TestSequences(t *testing.T) {
	for _, c := range []struct {
		rule string
		elem uint64
		want []uint64
	}{
		{"libstdcxx-vector", 8, []uint64{1, 2, 4, 8, 16, 32}},
		{"libstdcxx-string", 1, []uint64{30, 60, 120, 240, 480, 960}},
		{"libcxx-vector", 8, []uint64{1, 2, 4, 8, 16, 32}},
		{"libcxx-string", 1, []uint64{47, 95, 191, 383, 767}},
		{"libcxx-string-8", 1, []uint64{47, 95, 191, 383}},
		{"msvc-vector", 4, []uint64{1, 2, 3, 4, 6, 9, 13, 19, 28}},
		{"msvc-string", 1, []uint64{31, 47, 70, 105, 157}},
		{"folly-fbvector", 8, []uint64{8, 16, 32, 64, 128, 256, 512, 768, 1152}},
		{"folly-fbvector", 128, []uint64{1, 2, 4, 8, 16, 32, 48, 72}},
		{"rust-vec", 1, []uint64{8, 16, 32, 64}},
		{"rust-vec", 24, []uint64{4, 8, 16}},
		{"rust-vec", 2048, []uint64{1, 2, 4}},
		{"go-slice", 8, []uint64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 848, 1280, 1792, 2560}},
		{"java-arraylist", 4, []uint64{10, 15, 22, 33, 49, 73}},
		{"cpython-list", 8, []uint64{4, 8, 16, 24, 32, 40, 52, 64, 76, 92, 108, 128}},
		{"qt-array", 8, []uint64{2, 6, 14, 30, 62, 126}},
		{"v8-array", 8, []uint64{17, 43, 82}},
		{"arduino-string", 1, []uint64{1, 2, 3, 4, 5}},
		{"esp8266-string", 1, []uint64{15, 31, 47, 63}},
	} {
		if got := capacities(rule(t, c.rule), c.elem, len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("%s, %d bytes an element: capacities %d, want %d", c.rule, c.elem, got, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		rule         string
		length, elem uint64
		want         []uint64
	}{
		{"libstdcxx-string", 15, 1, nil},
		{"libstdcxx-string", 100, 1, []uint64{31, 61, 121}},
		{"libstdcxx-vector", 5, 12, []uint64{12, 24, 48, 96}},
		{"arduino-string", 3, 1, []uint64{2, 3, 4}},
		{"esp8266-string", 40, 1, []uint64{16, 32, 48}},
		{"qt-array", 20, 4, []uint64{32, 64, 128}},
		{"java-arraylist", 11, 4, []uint64{56, 76}},
	} {
		if got := rule(t, c.rule).Sizes(c.length, c.elem, 100); !slices.Equal(got, c.want) {
			t.Errorf("%s to %d elements: requests %d, want %d", c.rule, c.length, got, c.want)
		}
	}
}

// TestJumps asks for more than one element at once.
func TestJumps(t *testing.T) {
	for _, c := range []struct {
		rule                 string
		capacity, need, elem uint64
		want                 uint64
	}{
		{"libcxx-string", 22, 64, 1, 79},
		{"libcxx-string-8", 22, 64, 1, 71},
		{"libstdcxx-string", 30, 100, 1, 100},
		{"libstdcxx-string", 30, 59, 1, 60},
		{"go-slice", 4, 100, 8, 112},
		{"cpython-list", 0, 100, 8, 100},
		{"java-arraylist", 10, 100, 4, 100},
		{"msvc-string", 15, 100, 1, 111},
		{"rust-vec", 8, 5, 1, 8},
	} {
		if got := rule(t, c.rule).Next(c.capacity, c.need, c.elem); got != c.want {
			t.Errorf("%s from %d to %d: capacity %d, want %d", c.rule, c.capacity, c.need, got, c.want)
		}
	}
	if got := capacities(Step(16), 12, 3); !slices.Equal(got, []uint64{2, 4, 6}) {
		t.Errorf("steps of 16 bytes, 12 an element: capacities %d", got)
	}
	if got := Step(16).Next(3, 100, 4); got != 100 {
		t.Errorf("a step of 16 bytes to 100 elements: capacity %d", got)
	}
	if got := rule(t, "libcxx-string").Exact(64, 1); got != 80 {
		t.Errorf("libcxx-string reserves %d bytes for 64 characters, want 80", got)
	}
	if got := rule(t, "rust-vec").Exact(5, 8); got != 40 {
		t.Errorf("rust-vec reserves %d bytes for 5 elements of 8, want 40", got)
	}
}

// appended returns the capacities that the running Go gives to a slice on the
// heap that grows by one.
func appended[T any](count int) []uint64 {
	var out []uint64
	var s []T
	for len(out) < count {
		var zero T
		before := cap(s)
		sink = append(s, zero)
		if s = sink.([]T); cap(s) != before {
			out = append(out, uint64(cap(s)))
		}
	}
	return out
}

// sink keeps the compiler from placing slices on the stack.
var sink any

// TestGoSlice compares the rule with the runtime that runs this test.
func TestGoSlice(t *testing.T) {
	if !strings.HasPrefix(runtime.Version(), "go1.26") {
		t.Skipf("the rule is that of Go 1.26, this is %s", runtime.Version())
	}
	r := rule(t, "go-slice")
	for _, c := range []struct {
		elem uint64
		got  []uint64
	}{{1, appended[byte](30)}, {4, appended[uint32](28)}, {8, appended[uint64](26)}, {24, appended[[3]uint64](22)}, {40, appended[[5]uint64](20)}} {
		if want := capacities(r, c.elem, len(c.got)); !slices.Equal(want, c.got) {
			t.Errorf("%d bytes an element: the rule gives %d, the runtime %d", c.elem, want, c.got)
		}
	}
}

// TestGoClasses compares every size class with the running runtime.
func TestGoClasses(t *testing.T) {
	if !strings.HasPrefix(runtime.Version(), "go1.26") {
		t.Skipf("the classes are those of Go 1.26, this is %s", runtime.Version())
	}
	from := make([]byte, 50_000)
	for size := uint64(1); size <= uint64(len(from)); size += 1 + size/4000 {
		sink = append([]byte(nil), from[:size]...)
		if got, want := goRound(size), uint64(cap(sink.([]byte))); got != want {
			t.Fatalf("%d bytes: class %d, the runtime's is %d", size, got, want)
		}
	}
}

// TestBounds holds every rule to what any caller relies on: capacities that
// suffice, rise, and stay bounded, and requests that hold the elements.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.SampledFrom(append([]*Rule{Factor(3, 2), Factor(2, 1), Factor(1, 1), Factor(16, 1), Step(16), Step(1 << 63)}, Rules...)).Draw(t, "rule")
		wide := rapid.OneOf(rapid.Uint64Range(0, 5000), rapid.Uint64())
		capacity, need := wide.Draw(t, "capacity"), wide.Draw(t, "need")
		elem := rapid.OneOf(rapid.Uint64Range(0, 64), rapid.Uint64()).Draw(t, "elem")
		if r.Text {
			elem = 1
		}
		got := r.Next(capacity, need, elem)
		if got < min(need, MaxCapacity) || got < min(capacity, MaxCapacity) {
			t.Fatalf("%s: %d for a capacity of %d and a need of %d", r.Name, got, capacity, need)
		}
		if need > capacity && got > MaxCapacity {
			t.Fatalf("%s: capacity %d above the bound", r.Name, got)
		}
		if bytes := r.Bytes(got, elem); got > r.Inline() && bytes < min(got, MaxCapacity)*min(max(elem, 1), maxElem) {
			t.Fatalf("%s: a request of %d bytes for %d elements of %d", r.Name, bytes, got, elem)
		}
		if again := r.Next(got, got, elem); again != got {
			t.Fatalf("%s: capacity %d grows to %d without a need", r.Name, got, again)
		}
		if sizes := r.Sizes(need, elem, 50); !slices.IsSorted(sizes) || len(sizes) > 50 {
			t.Fatalf("%s: requests %d", r.Name, sizes)
		}
	})
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.Name == "" || r.Doc == "" || r.Source == "" || r.next == nil {
			t.Errorf("%+v: incomplete", r)
		}
		if seen[r.Name] {
			t.Errorf("%s is twice in the table", r.Name)
		}
		seen[r.Name] = true
	}
	_, err := Lookup("rust-vek")
	var unknown *UnknownRuleError
	if !errors.As(err, &unknown) || len(unknown.Known) != len(Rules) {
		t.Errorf("Lookup of an unknown name: %v", err)
	}
}

func TestFactorPanics(t *testing.T) {
	for _, f := range [][2]uint64{{1, 0}, {1, 2}, {17, 1}, {3 << 10, 2 << 10}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Factor(%d, %d) did not panic", f[0], f[1])
				}
			}()
			Factor(f[0], f[1])
		}()
	}
}
