package main

import (
	"errors"
	"runtime/debug"
	"testing"
)

func TestLessGarbageIsAllowedTheMoreIsLive(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{{0, 100}, {256 << 20, 100}, {512 << 20, 50}, {600 << 20, 42}, {2 << 30, 30}, {1 << 40, 30}} {
		if got := gcPercent(tc.live); got != tc.want {
			t.Errorf("%d bytes live: %d %%, want %d", tc.live, got, tc.want)
		}
	}
}

func TestLoadingCollectsLessAndAfterwardsAsBefore(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	failed := errors.New("failed")
	if err := whileLoading(func() error {
		if during := debug.SetGCPercent(loadGCPercent); during != loadGCPercent {
			t.Errorf("%d while loading", during)
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	t.Setenv("GOGC", "77")
	_ = whileLoading(func() error {
		if during := debug.SetGCPercent(77); during != 77 {
			t.Errorf("%d although GOGC is given", during)
		}
		return nil
	})
}
