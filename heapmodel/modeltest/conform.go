package modeltest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"pgregory.net/rapid"
)

// Run is the conformance suite. It holds the model, in each of the specs,
// against everything heapmodel.Heap promises:
//
//   - random and recorded traces under a Shadow, with a survey after every
//     operation of the short ones; failures are shrunk and print their trace;
//   - two runs give the same answers and the same blocks;
//   - in a steady state calls allocate no memory;
//   - Free of an object that is not live panics;
//   - capacities near zero work, or give an error that names the least
//     capacity, which works while one byte less does not.
//
// Without specs it takes those of Specs. The caller must not be a parallel test.
func Run(t *testing.T, m *heapmodel.Model, specs ...string) {
	t.Helper()
	Inside(nil).Run(t, m, specs...)
}

// Run is the conformance suite for a model with others inside. Without specs it
// takes those of Inside.Specs.
func (in Inside) Run(t *testing.T, m *heapmodel.Model, specs ...string) {
	t.Helper()
	t.Run("row", func(t *testing.T) { checkRow(t, m) })
	must := len(specs)
	if must == 0 {
		var err error
		if specs, must, err = in.Specs(m); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range specs {
		s, err := in.parse(m, text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err != nil {
			if i < must {
				t.Error(err)
			} else {
				t.Logf("not a heap: %v", err)
			}
			continue
		}
		// Allocations are counted while no parallel test runs.
		check := func(name string, of func(*heapmodel.Spec) error) {
			t.Run(text+"/"+name, func(t *testing.T) {
				if name != "steady" {
					t.Parallel()
				}
				if err := of(s); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			})
		}
		check("steady", checkSteady)
		check("soak", checkSoak)
		check("traces", checkTraces)
		check("repeat", checkRepeat)
		check("dead", checkDead)
		t.Run(text+"/random", func(t *testing.T) {
			t.Parallel()
			checkRandom(t, s)
		})
	}
	for _, s := range in.capacityBases(t, m, specs) {
		t.Run("capacity/"+s.String(), func(t *testing.T) {
			t.Parallel()
			if err := checkCapacities(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// Specs returns specs that between them use every parameter of the model. The
// first must of them have to be heaps: the defaults and the configurations
// with golden tables. The others vary one parameter at a time, and a model may
// refuse a combination.
func Specs(m *heapmodel.Model) (specs []string, must int, err error) { return Inside(nil).Specs(m) }

// Specs returns specs as the function Specs does, of a model with others inside:
// each of them alone, every two that follow each other, and all.
func (in Inside) Specs(m *heapmodel.Model) (specs []string, must int, err error) {
	golden, err := GoldenSpecs(m.Name)
	if err != nil {
		return nil, 0, err
	}
	has := func(key string) bool {
		return slices.ContainsFunc(m.Params, func(p heapmodel.Param) bool { return p.Key == key })
	}
	inner := in.specs()
	var base []string // specs that have to be inside, or there is no heap
	for _, p := range m.Params {
		if p.Kind == heapmodel.ParamSpecs && p.Default == "" && len(inner) > 0 {
			base = append(base, p.Key+"="+inner[0])
		}
	}
	text := func(args ...string) string {
		given := func(b string) bool {
			key, _, _ := strings.Cut(b, "=")
			return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, key+"=") })
		}
		args = append(slices.DeleteFunc(slices.Clone(base), given), args...)
		if len(args) == 0 {
			return m.Name
		}
		return m.Name + ":" + strings.Join(args, ",")
	}
	plain := text()
	if s, err := in.parse(m, plain); err != nil {
		return nil, 0, err
	} else if _, err := s.New(); err != nil && has("capacity") {
		plain = text("capacity=64KiB") // the model has no default
	}
	specs = append([]string{plain}, golden...)
	must = len(specs)
	var sized []string
	switch {
	case has("capacity"):
		sized = append(sized, "capacity=16KiB")
	case has("grow"):
		sized = append(sized, "grow=64KiB")
	}
	add := func(args ...string) {
		if t := text(args...); !slices.Contains(specs, t) {
			specs = append(specs, t)
		}
	}
	for _, p := range m.Params {
		values := p.Enum
		switch {
		case p.Kind == heapmodel.ParamBool:
			values = []string{"true", "false"}
		case p.Kind == heapmodel.ParamRegions:
			add(p.Key + "=8192@0+4096@16384+20480@65536")
		case p.Kind == heapmodel.ParamSpecs:
			for i := range inner {
				add(p.Key + "=" + inner[i])
				if i > 0 {
					add(p.Key + "=" + inner[i-1] + "+" + inner[i])
				}
			}
			if len(inner) > 0 {
				add(p.Key + "=" + strings.Join(inner, "+"))
			}
		case p.Key == "capacity":
			add("capacity=5000")
			add("capacity=32777")
		case p.Key == "grow":
			add("grow=100000")
			if has("capacity") {
				add("capacity=8KiB", "grow=64KiB")
			}
		case p.Key == "quantum":
			add(append(sized, "quantum=1KiB")...)
		}
		if p.Kind == heapmodel.ParamEnum || p.Kind == heapmodel.ParamBool {
			for _, v := range values {
				add(append(sized, p.Key+"="+v)...)
			}
		}
	}
	return specs, must, nil
}

func checkRow(t *testing.T, m *heapmodel.Model) {
	for what, text := range map[string]string{"Name": m.Name, "Family": m.Family, "Title": m.Title, "Doc": m.Doc, "Source": m.Source} {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s is empty", what)
		}
	}
	if strings.Trim(m.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("name %q: want lower case letters, digits and -", m.Name)
	}
	if strings.Contains(m.Title, "\n") || strings.HasSuffix(m.Title, ".") {
		t.Errorf("title %q: want one line without a full stop", m.Title)
	}
	for i, p := range m.Params {
		if p.Doc == "" || p.Key == "" {
			t.Errorf("parameter %d, %q: no key or no doc", i, p.Key)
		}
		if p.Kind == heapmodel.ParamEnum && !slices.Contains(p.Enum, p.Default) {
			t.Errorf("parameter %s: the default %q is not among its values", p.Key, p.Default)
		}
		if slices.ContainsFunc(m.Params[:i], func(q heapmodel.Param) bool { return q.Key == p.Key }) {
			t.Errorf("parameter %s stands twice", p.Key)
		}
	}
}

func checkRandom(t *testing.T, s *heapmodel.Spec) {
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	steps := tasteOf(s, h).steps()
	rapid.Check(t, func(rt *rapid.T) {
		tr := makeTrace("random", steps.Draw(rt, "steps"))
		if err := Judge(s, tr, 1); err != nil {
			rt.Fatalf("%s: %v\ntrace:\n%s", s, err, tr)
		}
	})
}

func checkSoak(s *heapmodel.Spec) error {
	h, err := s.New()
	if err != nil {
		return err
	}
	for seed := range uint64(3) {
		tr := makeTrace(fmt.Sprint("soak seed ", seed), tasteOf(s, h).soak(seed, 3000))
		freeAll(tr)
		if err := Judge(s, tr, 8); err != nil {
			return fmt.Errorf("%s: %w", tr.Name, err)
		}
	}
	return nil
}

// checkTraces judges the model on recorded traces.
func checkTraces(s *heapmodel.Spec) error {
	names := []string{"exhaust", "realloc"}
	if s.Model.Caps&heapmodel.CapAlign != 0 {
		names = append(names, "aligned", "fa1")
	}
	for _, name := range names {
		tr, err := LoadTrace(name)
		if err != nil {
			return err
		}
		// The first quarter fills the heap; the judge is slow.
		part := &Trace{Name: tr.Name, Ops: tr.Ops[:min(len(tr.Ops), 5000)], Objects: tr.Objects}
		if err := Judge(s, part, 50); err != nil {
			return fmt.Errorf("trace %s: %w", name, err)
		}
	}
	return nil
}

// checkRepeat makes two runs and compares answers, blocks and counters.
func checkRepeat(s *heapmodel.Spec) error {
	var answers [2][]byte
	var walks [2][]heapmodel.Block
	var counters [2]heapmodel.Usage
	for i := range answers {
		h, err := s.New()
		if err != nil {
			return err
		}
		tr := makeTrace("soak", tasteOf(s, h).soak(7, 2000))
		answers[i] = Answers(h, tr)
		walks[i] = slices.Collect(h.Blocks())
		counters[i] = *h.Usage()
	}
	switch {
	case !bytes.Equal(answers[0], answers[1]):
		return errors.New("two runs give different answers")
	case !slices.Equal(walks[0], walks[1]) || counters[0] != counters[1]:
		return errors.New("two runs give different blocks or counters")
	}
	return nil
}

// checkSteady counts allocations of memory in a trace that is replayed again
// and again. Not to be used in parallel.
func checkSteady(s *heapmodel.Spec) error {
	h, err := s.New()
	if err != nil {
		return err
	}
	tr := makeTrace("soak", tasteOf(s, h).soak(11, 2000))
	freeAll(tr)
	const warm, counted = 4, 4
	p, err := newPlayerOf(h, tr, warm+1+counted)
	if err != nil {
		return err
	}
	run := func() {
		for _, o := range tr.Ops {
			p.play(o)
		}
		h.LargestFree()
	}
	// The tables of a heap that does not return to its first state may grow
	// for a few rounds.
	for range warm {
		run()
	}
	// It makes one run before it counts.
	if allocs := testing.AllocsPerRun(counted, run); allocs != 0 {
		return fmt.Errorf("%v allocations in %d operations of a steady state, want 0", allocs, len(tr.Ops))
	}
	return nil
}

// checkDead frees what is not live, which must panic, and a null pointer,
// which must do nothing.
func checkDead(s *heapmodel.Spec) error {
	for _, c := range []struct {
		name string
		ref  func(live, freed heapmodel.Ref) heapmodel.Ref
	}{
		{"freed", func(_, freed heapmodel.Ref) heapmodel.Ref { return freed }},
		{"never given out", func(live, _ heapmodel.Ref) heapmodel.Ref { return live + 1<<20 }},
		{"below null", func(_, _ heapmodel.Ref) heapmodel.Ref { return heapmodel.NullRef - 1 }},
	} {
		h, err := s.New()
		if err != nil {
			return err
		}
		var refs [3]heapmodel.Ref
		if _, err := newPlayer(h, makeTrace("dead", []step{{kind: Alloc, size: 24}, {kind: Alloc, size: 24}, {kind: Alloc, size: 24}})); err != nil {
			return err
		}
		for i := range refs {
			ok := false
			if refs[i], ok = h.Alloc(24, 0); !ok || refs[i] == heapmodel.NullRef {
				return errors.New("cannot place 24 bytes in an empty heap")
			}
		}
		h.Free(heapmodel.NullRef)
		h.Free(refs[1])
		if err := h.Check(); err != nil {
			return err
		}
		if a := h.Addr(heapmodel.NullRef); a != heapmodel.Null {
			return fmt.Errorf("NullRef has address %d", a)
		}
		if !panics(func() { h.Free(c.ref(refs[2], refs[1])) }) {
			return fmt.Errorf("Free of a Ref that was %s does not panic", c.name)
		}
	}
	return nil
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}
