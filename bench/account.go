package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/bursar-dev/bursar/client"
)

// bulk is how many items one write carries: the contract's limit.
const bulk = 1000

// setup is an account to be made: its tree, parents first, and its budgets.
type setup struct {
	account  string
	types    []client.EntityType
	entities []client.Entity
	budgets  []client.Assignment
	progress func(done, all int) // items written; may be nil
}

// createAccount makes an account of the run's own. One that exists is refused, so
// that every line in its ledger is the run's.
func (s *setup) createAccount(ctx context.Context, admin *client.Admin) error {
	if _, err := admin.Account(ctx, s.account); err == nil {
		return fmt.Errorf("account %q exists; a run needs one of its own: choose another --account", s.account)
	} else if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	if err := ensureTypes(ctx, admin, s.types); err != nil {
		return err
	}
	if _, err := admin.PutAccount(ctx, client.Account{ID: s.account, Name: madeBy}); err != nil {
		return err
	}
	done, all := 0, len(s.entities)+len(s.budgets)
	if err := inBulk(s.entities, func(items []client.Entity) error {
		_, err := admin.PutEntities(ctx, s.account, items)
		s.step(&done, len(items), all)
		return err
	}); err != nil {
		return err
	}
	return inBulk(s.budgets, func(items []client.Assignment) error {
		_, err := admin.PutAssignments(ctx, s.account, items)
		s.step(&done, len(items), all)
		return err
	})
}

func (s *setup) step(done *int, n, all int) {
	if *done += n; s.progress != nil {
		s.progress(*done, all)
	}
}

// inBulk hands items to put, as many at a time as one write carries.
func inBulk[T any](items []T, put func([]T) error) error {
	for len(items) > 0 {
		n := min(bulk, len(items))
		if err := put(items[:n]); err != nil {
			return err
		}
		items = items[n:]
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
