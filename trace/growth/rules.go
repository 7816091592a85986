package growth

import "math/bits"

// Rules is the table of growth rules. Libstdcxx is libstdc++ and libcxx is
// libc++, so that + can join names. Inline lengths and formulas are those of
// 64-bit builds where they depend on it.
var Rules = []*Rule{
	{
		Name: "libstdcxx-vector", Doc: "doubles: 1, 2, 4, 8", Source: "GCC 12, bits/stl_vector.h, _M_check_len",
		next: func(capacity, need, _ uint64) uint64 { return max(2*capacity, need) },
	},
	{
		Name: "libstdcxx-string", Doc: "15 in place, then at least twice as much: 15, 30, 60; one byte more for the terminator", Source: "GCC 12, bits/basic_string.tcc, _M_create",
		Text: true, inline: 15, header: 1,
		next: func(capacity, need, _ uint64) uint64 { return max(2*capacity, need) },
	},
	{
		Name: "libcxx-vector", Doc: "doubles, or what is needed", Source: "LLVM, vector, __recommend",
		next: func(capacity, need, _ uint64) uint64 { return max(2*capacity, need) },
	},
	{
		Name: "libcxx-string", Doc: "22 in place, then twice as much, rounded up to 16 bytes with the terminator: 47, 95, 191", Source: "LLVM, string, __grow_by and __recommend",
		Text: true, inline: 22, header: 1,
		next: func(capacity, need, _ uint64) uint64 { return roundUp(libcxxWant(capacity, need)+1, 16) - 1 },
	},
	{
		Name: "libcxx-string-8", Doc: "as libcxx-string, rounded up to 8 bytes, as newer ABIs do", Source: "LLVM, string, with _LIBCPP_ABI_STRING_8_BYTE_ALIGNMENT",
		Text: true, inline: 22, header: 1,
		next: func(capacity, need, _ uint64) uint64 { return roundUp(libcxxWant(capacity, need)+1, 8) - 1 },
	},
	{
		Name: "msvc-vector", Doc: "grows by half: 1, 2, 3, 4, 6, 9, 13, 19, 28", Source: "Microsoft STL, vector, _Calculate_growth",
		next: func(capacity, need, _ uint64) uint64 { return max(capacity+capacity/2, need) },
	},
	{
		Name: "msvc-string", Doc: "15 in place, then by half, the need rounded up to 16 bytes with the terminator: 31, 47, 70, 105, 157", Source: "Microsoft STL, xstring, _Calculate_growth",
		Text: true, inline: 15, header: 1,
		next: func(capacity, need, _ uint64) uint64 { return max(capacity+capacity/2, need|15) },
	},
	{
		Name: "folly-fbvector", Doc: "64 bytes, doubles below a page and above 32 pages, else by half", Source: "folly, FBVector.h, computePushBackCapacity",
		next: follyNext,
	},
	{
		Name: "rust-vec", Doc: "doubles, at least 8 elements of a byte, 4 up to 1 KiB, else 1", Source: "Rust, alloc::raw_vec, grow_amortized",
		Realloc: true,
		next: func(capacity, need, elem uint64) uint64 {
			least := uint64(1)
			if elem == 1 {
				least = 8
			} else if elem <= 1024 {
				least = 4
			}
			return max(2*capacity, need, least)
		},
	},
	{
		Name: "go-slice", Doc: "doubles up to 256 elements, then towards a quarter more, rounded up to a size class; elements without pointers", Source: "Go 1.26, runtime/slice.go, nextslicecap, and sizeclasses.go",
		next: goNext,
	},
	{
		Name: "java-arraylist", Doc: "10, then by half: 10, 15, 22, 33, 49; 16 bytes of array header", Source: "OpenJDK, ArrayList.grow",
		header: 16,
		next: func(capacity, need, _ uint64) uint64 {
			if capacity == 0 {
				return max(10, need)
			}
			return capacity + max(need-capacity, capacity/2)
		},
	},
	{
		Name: "cpython-list", Doc: "an eighth more than needed and 6, down to a multiple of 4: 4, 8, 16, 24, 32, 40, 52, 64, 76", Source: "CPython 3.11, listobject.c, list_resize",
		Realloc: true,
		next: func(capacity, need, _ uint64) uint64 {
			want := (need + need>>3 + 6) &^ 3
			if need-capacity > want-need { // many at once: no room to spare beyond the multiple of 4
				want = (need + 3) &^ 3
			}
			return want
		},
	},
	{
		Name: "qt-array", Doc: "the next power of two above, in bytes with 16 bytes of header", Source: "Qt, qarraydata.cpp, qCalculateGrowingBlockSize",
		Realloc: true, header: 16,
		next: func(_, need, elem uint64) uint64 {
			return (1<<bits.Len64(need*elem+16) - 16) / elem
		},
	},
	{
		Name: "v8-array", Doc: "half more than needed and 16: 17, 43, 82; 16 bytes of header", Source: "V8, js-objects.h, NewElementsCapacity, of the new length",
		header: 16,
		next:   func(_, need, _ uint64) uint64 { return need + need/2 + 16 },
	},
	{
		Name: "arduino-string", Doc: "exactly what is needed and the terminator: every append is a realloc", Source: "ArduinoCore for AVR, WString.cpp, changeBuffer",
		Text: true, Realloc: true, header: 1,
		next: func(_, need, _ uint64) uint64 { return need },
	},
	{
		Name: "esp8266-string", Doc: "11 in place, then steps of 16 bytes: 15, 31, 47", Source: "ESP8266 and ESP32 cores, WString.cpp, changeBuffer",
		Text: true, Realloc: true, inline: 11, header: 1,
		next: func(_, need, _ uint64) uint64 { return (need+16)&^15 - 1 },
	},
}

// libcxxWant is what a libc++ string asks for before it rounds.
func libcxxWant(capacity, need uint64) uint64 { return max(2*capacity, need) }

func follyNext(capacity, need, elem uint64) uint64 {
	const page = 4096
	switch {
	case capacity == 0:
		return max(64/elem, 1, need)
	case capacity < page/elem, capacity > page*32/elem:
		return max(2*capacity, need)
	}
	return max((3*capacity+1)/2, need)
}

func goNext(capacity, need, elem uint64) uint64 {
	want := need
	if need <= 2*capacity {
		if want = 2 * capacity; capacity >= 256 {
			for want = capacity; want < need; {
				want += (want + 3*256) >> 2
			}
		}
	}
	return goRound(want*elem) / elem
}

// goPage is a page of the Go runtime; larger requests are whole pages.
const goPage = 8192

// goClasses are the Go runtime's size classes in bytes.
var goClasses = [...]uint16{
	8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480, 512,
	576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376,
	6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576,
	27264, 28672, 32768,
}

// goRound returns the bytes of the size class that serves a request.
func goRound(size uint64) uint64 {
	if size > uint64(goClasses[len(goClasses)-1]) {
		return roundUp(size, goPage)
	}
	lo, hi := 0, len(goClasses)-1
	for lo < hi {
		if mid := (lo + hi) / 2; uint64(goClasses[mid]) < size {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return uint64(goClasses[lo])
}
