package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

func TestMetadata(t *testing.T) {
	events, _ := synthetic(3, 100)
	h := &trace.Header{
		Program: "busybox \xff sh", Source: "heaptrack", PtrBits: 16, Sizes: trace.SizesBlock, Synthetic: true, HasSite: true,
		Sites: []string{"", "a\"b\\c", "tab\tnul\x00bell\a", "\u2028 \U0001F600", "bad \xc3( utf8", "<T>&"},
	}
	for k := range h.Loss {
		h.Loss[k] = uint64(k) << 40
	}
	file := stored(t, trace.NewMemory(h, blocksOf(events, 64)))
	got, _, err := readBytes(file)
	if err != nil {
		t.Fatal(err)
	}
	want := *h
	want.Program = "busybox \uFFFD sh"
	want.Sites = slices.Clone(h.Sites)
	want.Sites[4] = "bad \uFFFD( utf8"
	compareHeaders(t, got, &want)

	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"fragprof.version": "1", "fragprof.source": "heaptrack", "fragprof.ptr_bits": "16", "fragprof.sizes": "block",
		"fragprof.synthetic": "true", "fragprof.has_site": "true", "fragprof.has_time": "false",
		"fragprof.summary.events": fmt.Sprint(len(events)), "fragprof.loss.null_frees": fmt.Sprint(int64(trace.LossNullFrees) << 40),
	} {
		if got, ok := f.Lookup(key); got != want || !ok {
			t.Errorf("key %s: got %q, want %q", key, got, want)
		}
	}
}

func TestOlderAndNewerKeys(t *testing.T) {
	kvs, err := encodeHeader(memoryOf(nil, nil, 1).Header())
	if err != nil {
		t.Fatal(err)
	}
	change := func(drop string, add ...format.KeyValue) []format.KeyValue {
		list := slices.DeleteFunc(slices.Clone(kvs), func(kv format.KeyValue) bool { return kv.Key == keySum || kv.Key == drop })
		list = append(list, add...)
		return append(list, format.KeyValue{Key: keySum, Value: checksum(list)})
	}
	tests := []struct {
		name string
		kvs  []format.KeyValue
		want string // of the error
	}{
		{name: "as written", kvs: kvs},
		{name: "a kind of loss younger than the file", kvs: change("fragprof.loss.bad_times")},
		{name: "keys of others", kvs: append(slices.Clone(kvs), format.KeyValue{Key: "pandas", Value: "{}"})},
		{name: "a count is missing", kvs: change("fragprof.summary.slots"), want: "fragprof.summary.slots is missing"},
		{name: "sites are missing", kvs: change("fragprof.sites"), want: "fragprof.sites is missing"},
		{name: "unknown key", kvs: change("", format.KeyValue{Key: "fragprof.loss.gremlins", Value: "1"}), want: "newer fragprof"},
		{name: "other version", kvs: change("fragprof.version", format.KeyValue{Key: "fragprof.version", Value: "2"}), want: `version "2"`},
		{name: "twice", kvs: change("", kvs[3]), want: "twice"},
		{name: "no trace", kvs: nil, want: "no trace of fragprof's"},
		{name: "no checksum", kvs: kvs[:len(kvs)-1], want: "checksum"},
		{name: "bad flag", kvs: change("fragprof.synthetic", format.KeyValue{Key: "fragprof.synthetic", Value: "yes"}), want: "true or false"},
		{name: "bad number", kvs: change("fragprof.ptr_bits", format.KeyValue{Key: "fragprof.ptr_bits", Value: "many"}), want: "ptr_bits"},
		{name: "too large a number", kvs: change("fragprof.summary.slots", format.KeyValue{Key: "fragprof.summary.slots", Value: "4294967296"}), want: "slots"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeHeader(tt.kvs)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestManySites reads the largest list of call sites there can be.
func TestManySites(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory would be counted")
	}
	sites := make([]string, maxSites)
	for i := range sites {
		sites[i] = fmt.Sprintf("/usr/lib/libsomething.so.%d+%#x \u00e9", i%7, i)
	}
	m := memoryOf(nil, sites, 1)
	file := stored(t, m)
	before := allocated()
	h, _, err := readBytes(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := (allocated() - before) >> 20; got > 256 {
		t.Errorf("%d MiB allocated for a file of %d MiB", got, len(file)>>20)
	}
	compareHeaders(t, h, m.Header())

	// As hostile as a list can be: the most strings in the most bytes.
	for name, text := range map[string]string{
		"empty names":   "[" + strings.Repeat(`"",`, (maxSiteText-4)/3) + `""]`,
		"escaped names": "[" + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat(`\u0001`, 10)+`",`, maxSiteText/63), ",") + "]",
		"one name":      `["` + strings.Repeat("x", maxSiteText-4) + `"]`,
	} {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			_, err := decodeSites(text)
			if got := (allocated() - before) >> 20; got > 150 {
				t.Errorf("%d MiB allocated for %d MiB of names", got, len(text)>>20)
			}
			if err == nil {
				t.Error("no error")
			}
		})
	}
}
