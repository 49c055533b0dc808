package main

import (
	"os"
	"testing"
)

// asBursar makes the test binary behave as the program: tests start real
// processes from it, so that what they run is built with the same flags (-race,
// -tags invariants) as the tests themselves.
const asBursar = "BURSAR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asBursar) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// long reports whether the long variants of the process tests are wanted: BURSAR_LONG=1.
func long() bool { return os.Getenv("BURSAR_LONG") != "" }

// notShort skips a test of many seconds under -short, which is how the slow build with
// the race detector is run after the normal one.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes many seconds; runs without -short")
	}
}
