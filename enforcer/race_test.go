//go:build race

package enforcer

// raceEnabled: the race detector allocates, and makes pools drop at random.
const raceEnabled = true
