package fsm

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// Parts end with the last assignment: what a damaged store has beyond it is not passed over.
func TestWhatLiesBeyondTheLastAssignmentIsFoundWhenAStoreIsLoaded(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(db *pebble.DB) error
		want   string
	}{
		"budgets of a part whose assignments are lost": {func(db *pebble.DB) error {
			return db.DeleteRange(assignmentKey(3*partNumbers), assignmentKey(4*partNumbers), pebble.Sync)
		}, "its assignment is missing"},
		"budgets where all assignments are lost": {func(db *pebble.DB) error {
			lower, upper := tableRange(tableAssignment)
			return db.DeleteRange(lower, upper, pebble.Sync)
		}, "its assignment is missing"},
		"a budget of an assignment that never was": {func(db *pebble.DB) error {
			return db.Set(budgetKey(BudgetKey{Assignment: 1 << 60, Start: testStart}), nil, pebble.Sync)
		}, "its assignment is missing"},
		"a budget whose key is cut": {func(db *pebble.DB) error {
			return db.Set(budgetPrefix(1<<60), nil, pebble.Sync)
		}, "is not that of a budget"},
		"an assignment whose number was never given": {func(db *pebble.DB) error {
			return db.Set(assignmentKey(1<<60), nil, pebble.Sync)
		}, "was never given to an assignment"},
		"the numbers that were given": {func(db *pebble.DB) error {
			return db.Delete(keyCounters, pebble.Sync)
		}, "was never given to an assignment"},
	} {
		t.Run(name, func(t *testing.T) {
			r := scattered(t)
			if err := tc.damage(committed(t, r.m)); err != nil {
				t.Fatal(err)
			}
			if _, err := loadState(r.m.store); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
