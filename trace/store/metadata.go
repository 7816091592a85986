package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

const (
	keyPrefix = "fragprof."
	keySites  = keyPrefix + "sites"
	keySum    = keyPrefix + "crc32"
	keyLoss   = "loss."
	version   = 1
)

// field binds a metadata key, less the prefix, to a variable.
type field struct {
	key string
	ptr any
}

// fields lists the metadata of a header in file order, without the sites.
func fields(h *trace.Header, ver *uint64) []field {
	s := &h.Summary
	list := []field{
		{"version", ver},
		{"program", &h.Program},
		{"source", &h.Source},
		{"ptr_bits", &h.PtrBits},
		{"sizes", &h.Sizes},
		{"synthetic", &h.Synthetic},
		{"has_time", &h.HasTime},
		{"has_thread", &h.HasThread},
		{"has_site", &h.HasSite},
		{"summary.events", &s.Events},
		{"summary.allocs", &s.Allocs},
		{"summary.frees", &s.Frees},
		{"summary.reallocs", &s.Reallocs},
		{"summary.objects", &s.Objects},
		{"summary.slots", &s.Slots},
		{"summary.threads", &s.Threads},
		{"summary.site_ids", &s.SiteIDs},
		{"summary.aligned", &s.Aligned},
		{"summary.zero_size", &s.ZeroSize},
		{"summary.largest", &s.Largest},
		{"summary.max_align", &s.MaxAlign},
		{"summary.alloc_sum", &s.AllocSum},
		{"summary.first_time", &s.FirstTime},
		{"summary.last_time", &s.LastTime},
		{"summary.peak_live_bytes", &s.PeakLiveBytes},
		{"summary.peak_live_event", &s.PeakLiveEvent},
		{"summary.peak_live_objects", &s.PeakLiveObjects},
		{"summary.end_live_bytes", &s.EndLiveBytes},
		{"summary.never_freed", &s.NeverFreed},
	}
	for k := range trace.LossKinds {
		list = append(list, field{keyLoss + k.Key(), &h.Loss[k]})
	}
	return list
}

func (f field) text() string {
	switch p := f.ptr.(type) {
	case *string:
		return strings.ToValidUTF8(*p, "\uFFFD")
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *int64:
		return strconv.FormatInt(*p, 10)
	case *uint32:
		return strconv.FormatUint(uint64(*p), 10)
	case *uint64:
		return strconv.FormatUint(*p, 10)
	case *trace.SizeKind:
		return p.String()
	}
	panic(fmt.Sprintf("metadata field %s of type %T", f.key, f.ptr))
}

func (f field) parse(text string) (err error) {
	switch p := f.ptr.(type) {
	case *string:
		*p = strings.Clone(text) // text is a piece of the footer
	case *bool:
		*p = text == "true"
		if !*p && text != "false" {
			err = fmt.Errorf("%q: want true or false", text)
		}
	case *int:
		*p, err = strconv.Atoi(text)
	case *int64:
		*p, err = strconv.ParseInt(text, 10, 64)
	case *uint32:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 32)
		*p = uint32(n)
	case *uint64:
		*p, err = strconv.ParseUint(text, 10, 64)
	case *trace.SizeKind:
		*p, err = trace.ParseSizeKind(text)
	}
	return err
}

// encodeHeader returns the header as metadata.
func encodeHeader(h *trace.Header) ([]format.KeyValue, error) {
	ver := uint64(version)
	var kvs []format.KeyValue
	for _, f := range fields(h, &ver) {
		kvs = append(kvs, format.KeyValue{Key: keyPrefix + f.key, Value: f.text()})
	}
	sites, err := encodeSites(h.Sites)
	if err != nil {
		return nil, err
	}
	kvs = append(kvs, format.KeyValue{Key: keySites, Value: sites})
	return append(kvs, format.KeyValue{Key: keySum, Value: checksum(kvs)}), nil
}

// checksum returns eight hexadecimal digits: the CRC-32 (IEEE) of the keys and
// values of kvs that are ours, each followed by a zero byte. The footer has no
// checksum of its own in Parquet.
func checksum(kvs []format.KeyValue) string {
	sum := crc32.NewIEEE()
	for _, kv := range kvs {
		if strings.HasPrefix(kv.Key, keyPrefix) && kv.Key != keySum {
			for _, s := range [2]string{kv.Key, kv.Value} {
				_, _ = sum.Write(append([]byte(s), 0)) // a hash never fails
			}
		}
	}
	return fmt.Sprintf("%08x", sum.Sum32())
}

// decodeHeader is the inverse of encodeHeader. It holds the counts against one
// another as far as that can be done without the events.
func decodeHeader(kvs []format.KeyValue) (*trace.Header, error) {
	values := map[string]string{}
	for _, kv := range kvs {
		if !strings.HasPrefix(kv.Key, keyPrefix) {
			continue
		}
		if _, ok := values[kv.Key]; ok {
			return nil, fmt.Errorf("key %s appears twice", kv.Key)
		}
		values[kv.Key] = kv.Value
	}
	text, ok := values[keyPrefix+"version"]
	if !ok {
		return nil, fmt.Errorf("is a Parquet file, but no trace of fragprof's: it has no key %sversion", keyPrefix)
	}
	if text != strconv.Itoa(version) {
		return nil, fmt.Errorf("is version %.20q of the stored form: this program reads version %d", text, version)
	}
	if got, want := checksum(kvs), values[keySum]; got != want {
		return nil, fmt.Errorf("metadata is corrupt: checksum %s, want %.20q", got, want)
	}
	delete(values, keySum)
	h := &trace.Header{Complete: true}
	var ver uint64
	for _, f := range fields(h, &ver) {
		text, ok := values[keyPrefix+f.key]
		if !ok {
			if strings.HasPrefix(f.key, keyLoss) { // a kind younger than the file
				continue
			}
			return nil, fmt.Errorf("key %s%s is missing", keyPrefix, f.key)
		}
		if err := f.parse(text); err != nil {
			return nil, fmt.Errorf("key %s%s: %w", keyPrefix, f.key, err)
		}
		delete(values, keyPrefix+f.key)
	}
	text, ok = values[keySites]
	if !ok {
		return nil, fmt.Errorf("key %s is missing", keySites)
	}
	delete(values, keySites)
	for key := range values {
		return nil, fmt.Errorf("key %.80q is not known: a newer fragprof wrote this", key)
	}
	var err error
	if h.Sites, err = decodeSites(text); err != nil {
		return nil, fmt.Errorf("key %s: %w", keySites, err)
	}
	return h, checkSummary(h)
}

// idleThreads is how many threads a trace may name beside its events: an
// importer numbers those too whose events it drops.
const idleThreads = 1 << 20

// checkSummary refuses counts that contradict one another, so that whoever
// makes room by them makes no more than the events can ask for.
func checkSummary(h *trace.Header) error {
	s := &h.Summary
	calls, c1 := bits.Add64(s.Allocs, s.Frees, 0)
	calls, c2 := bits.Add64(calls, s.Reallocs, 0)
	switch {
	case h.PtrBits != 0 && h.PtrBits != 16 && h.PtrBits != 32 && h.PtrBits != 64:
		return fmt.Errorf("pointers of %d bits", h.PtrBits)
	case c1+c2 != 0 || calls != s.Events:
		return fmt.Errorf("%d allocs, %d frees and %d reallocs do not make %d events", s.Allocs, s.Frees, s.Reallocs, s.Events)
	case s.Objects != s.Allocs || s.PeakLiveObjects > s.Allocs || uint64(s.Slots) != s.PeakLiveObjects:
		return fmt.Errorf("%d allocs do not make %d objects in %d slots, %d at the peak", s.Allocs, s.Objects, s.Slots, s.PeakLiveObjects)
	case s.Frees > s.Allocs || s.NeverFreed != s.Allocs-s.Frees:
		return fmt.Errorf("%d allocs and %d frees do not leave %d objects", s.Allocs, s.Frees, s.NeverFreed)
	case uint64(s.Threads) > max(s.Events, idleThreads):
		return fmt.Errorf("%d threads in %d events", s.Threads, s.Events)
	case s.SiteIDs > maxSites:
		return fmt.Errorf("%d call sites: at most %d can be stored", s.SiteIDs, maxSites)
	}
	return nil
}

// encodeSites returns the call sites as a JSON list.
func encodeSites(sites []string) (string, error) {
	if len(sites) > maxSites {
		return "", fmt.Errorf("%d call sites: at most %d can be stored", len(sites), maxSites)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	out.WriteByte('[')
	for i, site := range sites {
		if i > 0 {
			out.WriteByte(',')
		}
		start := out.Len()
		if plainText(site) { // nearly all: some ten times faster
			out.WriteByte('"')
			out.WriteString(site)
			out.WriteByte('"')
		} else if err := enc.Encode(site); err != nil {
			return "", err
		} else {
			out.Truncate(out.Len() - 1) // the line end
		}
		if n := out.Len() - start; n > maxSiteName {
			return "", fmt.Errorf("call site %d has a name of %d bytes: at most %d can be stored", i, n, maxSiteName)
		}
		if out.Len() >= maxSiteText { // with the closing bracket
			return "", fmt.Errorf("the names of %d call sites take more than %d MiB, the most that can be stored", len(sites), maxSiteText>>20)
		}
	}
	out.WriteByte(']')
	return out.String(), nil
}

// plainText reports whether text needs no escapes in JSON.
func plainText(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// decodeSites is the inverse of encodeSites: a JSON list of strings without
// blanks. encoding/json would need many times the length of a hostile list.
func decodeSites(text string) ([]string, error) {
	if len(text) > maxSiteText {
		return nil, fmt.Errorf("%d bytes: at most %d are allowed", len(text), maxSiteText)
	}
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return nil, errors.New("is no list")
	}
	rest := text[1 : len(text)-1]
	if rest == "" {
		return nil, nil
	}
	sites := make([]string, 0, min(strings.Count(rest, `,"`)+1, maxSites))
	for {
		if len(sites) == maxSites {
			return nil, fmt.Errorf("more than %d call sites", maxSites)
		}
		site, after, err := cutSite(rest)
		if err != nil {
			return nil, fmt.Errorf("call site %d: %w", len(sites), err)
		}
		sites = append(sites, site)
		if after == "" {
			return sites, nil
		}
		if after[0] != ',' {
			return nil, fmt.Errorf("call site %d: want a comma", len(sites))
		}
		rest = after[1:]
	}
}

// cutSite reads one JSON string, as encoding/json writes it, at the start of
// text.
func cutSite(text string) (site, rest string, err error) {
	if text == "" || text[0] != '"' {
		return "", "", errors.New("want a string")
	}
	escaped := false
	for i := 1; i < min(len(text), maxSiteName); i++ {
		switch text[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			site, rest = text[1:i], text[i+1:]
			if !utf8.ValidString(site) {
				return "", "", errors.New("a name is not UTF-8")
			}
			if !escaped {
				return strings.Clone(site), rest, nil
			}
			// All escapes that encoding/json writes mean the same in Go.
			site, err = strconv.Unquote(text[:i+1])
			return site, rest, err
		}
	}
	return "", "", fmt.Errorf("a name does not end within %d bytes", maxSiteName)
}
