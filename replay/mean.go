package replay

// mean adds up what is free in a heap over the time of a trace, exactly: samples
// at every so many events see a program that repeats itself always at the same
// place.
type mean struct {
	on      bool
	began   int64 // time of the first event
	last    int64 // time of the latest
	started bool
	largest float64 // bytes of the largest free block times nanoseconds
	free    float64 // free bytes times nanoseconds
}

// until adds what was free since the event before. It is called before each
// event with the time of it.
func (p *player) until(time int64) {
	m := &p.mean
	if !m.started {
		m.started, m.began, m.last = true, time, time
	}
	if time > m.last {
		span := float64(time - m.last)
		m.largest += float64(p.h.LargestFree()) * span
		m.free += float64(p.use.Free) * span
		m.last = time
	}
}

// means sets the means of the result; a trace that takes no time has those of
// its end.
func (p *player) means() {
	m := &p.mean
	if !m.on {
		return
	}
	if span := float64(m.last - m.began); span > 0 {
		p.res.MeanLargestFree, p.res.MeanFree = m.largest/span, m.free/span
		return
	}
	p.res.MeanLargestFree, p.res.MeanFree = float64(p.h.LargestFree()), float64(p.use.Free)
}
