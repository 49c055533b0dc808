package simulation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds     = flag.Int("seeds", 0, "how many seeds TestSeeds runs; 0: as many as fit the kind of run")
	firstSeed = flag.Uint64("first-seed", 1, "the first of them")
	debug     = flag.Bool("debug", false, "keep the nodes' debug logs in the history of a failure")
	keep      = flag.Bool("keep", false, "write the history of every run")
)

// How many seeds a run has time for. The race detector makes one about ten times as long.
const (
	seedsUsual = 1_000
	seedsShort = 30
	seedsRace  = 100
)

// spare is what is left of a test's time when no further seed is begun. The
// totals say how many were.
const spare = 90 * time.Second

func howMany() uint64 {
	switch {
	case *seeds > 0:
		return uint64(*seeds)
	case testing.Short():
		return seedsShort
	case raceEnabled:
		return seedsRace
	}
	return seedsUsual
}

// TestSeeds runs one scenario a seed. A failing one leaves its history in a file.
//
//	go test ./internal/simulation                                            the usual seeds
//	go test ./internal/simulation -run TestSeeds -seeds 1 -first-seed 94     one of them, again
//	go test ./internal/simulation -run TestSeeds -seeds 100000 -first-seed 5000 -timeout 0    for hours
func TestSeeds(t *testing.T) {
	var mu sync.Mutex
	var total Stats
	t.Cleanup(func() { fmt.Println(total) })
	deadline, limited := t.Deadline()
	for i := range howMany() {
		seed := *firstSeed + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if limited && time.Until(deadline) < spare {
				t.Skip("no time is left for this seed: give the test a longer -timeout")
			}
			var r *Result
			synctest.Test(t, func(t *testing.T) { r = Run(seed, *debug) })
			mu.Lock()
			total.Add(r.Stats)
			mu.Unlock()
			if r.Failure != "" || *keep {
				report(t, r)
			}
		})
	}
}

func report(t *testing.T, r *Result) {
	dir := os.Getenv("BURSAR_SIMULATION_DIR")
	if dir == "" {
		dir = os.TempDir()
	}
	name := filepath.Join(dir, fmt.Sprintf("bursar-seed-%d.txt", r.Seed))
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.WriteHistory(f); err != nil {
		t.Error(err)
	}
	if r.Failure != "" {
		t.Errorf("seed %d: %s\nhistory: %s", r.Seed, r.Failure, name)
	}
}
