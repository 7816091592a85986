//go:build race

package store

// raceEnabled says that the race detector is on, which takes several times the
// memory.
const raceEnabled = true
