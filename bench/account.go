package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/bursar-dev/bursar/client"
)

// bulk is how many items one write carries: the contract's limit.
const bulk = 1000

// createAccount makes an account of the run's own with a tree and its budgets.
// One that exists is refused, so that every line in its ledger is the run's.
func createAccount(ctx context.Context, admin *client.Admin, t *tree, budgets []client.Assignment) error {
	if _, err := admin.Account(ctx, t.account); err == nil {
		return fmt.Errorf("account %q exists; a run needs one of its own: choose another --account", t.account)
	} else if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	if err := ensureTypes(ctx, admin, t.types); err != nil {
		return err
	}
	if _, err := admin.PutAccount(ctx, t.account, "made by bursar bench"); err != nil {
		return err
	}
	for items := t.entities; len(items) > 0; items = items[min(bulk, len(items)):] {
		if _, err := admin.PutEntities(ctx, t.account, items[:min(bulk, len(items))]); err != nil {
			return err
		}
	}
	for items := budgets; len(items) > 0; items = items[min(bulk, len(items)):] {
		if _, err := admin.PutAssignments(ctx, t.account, items[:min(bulk, len(items))]); err != nil {
			return err
		}
	}
	return nil
}

// ensureTypes adds the entity types that the cluster does not have; those it has keep their shape.
func ensureTypes(ctx context.Context, admin *client.Admin, types []client.EntityType) error {
	have := map[string]bool{}
	for t, err := range admin.EntityTypes(ctx) {
		if err != nil {
			return err
		}
		have[t.ID] = true
	}
	var missing []client.EntityType
	for _, t := range types {
		if !have[t.ID] {
			missing = append(missing, t)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err := admin.PutEntityTypes(ctx, missing)
	return err
}
