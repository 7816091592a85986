package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

// maxSiteName is the length from which the name of a site is cut in a table.
const maxSiteName = 72

// writeChains lists growing containers by call site, at most top sites.
func writeChains(w io.Writer, h *trace.Header, c *chains.Summary, top int) {
	t := &c.Total
	fmt.Fprintf(w, "\ngrowing containers: %s, which grew %s times by allocate, copy, free and %s times by realloc;\n"+
		"they copied %s themselves and left holes of %s\n",
		thousands(t.Chains), thousands(t.ByCopy), thousands(t.ByRealloc), bytesText(t.Copied), bytesText(t.Holes))
	if c.Links > 0 {
		fmt.Fprintf(w, "of the %s pairs of allocate, copy, free about %s are chance by count; habits of a program that look like growth come on top\n", thousands(c.Links), thousands(uint64(c.Doubt+0.5)))
	}
	if t.Chains > 0 {
		fmt.Fprintln(w)
		out := newTable("call site, by holes", "chains", "buffers", "max", "first", "p95", "max", "final", "p95", "max", "copied", "holes", "growth")
		rightFrom(out, 2, 11)
		for i := range c.Sites[:min(top, len(c.Sites))] {
			s := &c.Sites[i]
			out.AppendRow(chainRow(chainSite(h, s.Site), s))
		}
		if len(c.Sites) > 1 {
			out.AppendRow(chainRow(fmt.Sprintf("all %s sites", thousands(uint64(len(c.Sites)))), t))
		}
		render(w, out)
		fmt.Fprintln(w, "buffers: of a chain, mean and max; first, final: bytes, median, 95 % up to, and max; holes: bytes of outgrown buffers")
	}
	for _, n := range c.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
}

func chainSite(h *trace.Header, id trace.SiteID) string {
	switch site := h.SiteName(id); {
	case !h.HasSite:
		return "(no sites in the trace)"
	case site == "":
		return "(unknown)"
	case len(site) > maxSiteName:
		return strings.ToValidUTF8(site[:maxSiteName-3], "") + "..."
	default:
		return site
	}
}

func chainRow(name string, s *chains.Site) table.Row {
	return table.Row{
		name, thousands(s.Chains),
		strconv.FormatFloat(s.Buffers.Mean, 'f', 1, 64), thousands(s.Buffers.Max),
		thousands(s.First.P50), thousands(s.First.P95), thousands(s.First.Max),
		thousands(s.Final.P50), thousands(s.Final.P95), thousands(s.Final.Max),
		bytesText(s.Copied), bytesText(s.Holes), growthText(&s.Growth),
	}
}

// growthText is the factor, or the bytes that are added, and the rule.
func growthText(g *chains.Growth) string {
	text := "x" + strconv.FormatFloat(g.Factor, 'g', 3, 64)
	if g.Step > 0 && g.Rule == nil {
		text = "+" + exactBytes(g.Step)
	}
	if g.Rule != nil {
		text += " (" + ruleTitle(g.Rule.Name) + ")"
	}
	return text
}

// ruleTitle writes the name of a growth rule as people do: "libstdc++ vector".
func ruleTitle(name string) string {
	name = strings.NewReplacer("libstdcxx", "libstdc++", "libcxx", "libc++").Replace(name)
	return strings.ReplaceAll(name, "-", " ")
}

// chainsObject is the JSON form.
func chainsObject(h *trace.Header, c *chains.Summary, top int) object {
	sites := make([]object, 0, min(top, len(c.Sites)))
	for i := range c.Sites[:min(top, len(c.Sites))] {
		sites = append(sites, append(object{{"site", h.SiteName(c.Sites[i].Site)}}, chainObject(&c.Sites[i])...))
	}
	notes := c.Notes
	if notes == nil {
		notes = []string{}
	}
	return object{
		{"links", c.Links},
		{"links_by_chance_about", c.Doubt},
		{"site_count", len(c.Sites)},
		{"total", chainObject(&c.Total)},
		{"sites", sites},
		{"notes", notes},
	}
}

func chainObject(s *chains.Site) object {
	spread := func(p chains.Spread) object {
		return object{{"mean", p.Mean}, {"p50", p.P50}, {"p95", p.P95}, {"max", p.Max}}
	}
	rule := ""
	if s.Growth.Rule != nil {
		rule = s.Growth.Rule.Name
	}
	return object{
		{"chains", s.Chains},
		{"buffers", spread(s.Buffers)},
		{"first_bytes", spread(s.First)},
		{"final_bytes", spread(s.Final)},
		{"growths_by_copy", s.ByCopy},
		{"growths_by_realloc", s.ByRealloc},
		{"copied_bytes", s.Copied},
		{"holes_bytes", s.Holes},
		{"growth_factor", s.Growth.Factor},
		{"growth_step_bytes", s.Growth.Step},
		{"rule", rule},
		{"rule_fit", s.Growth.Fit},
	}
}
