package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

const (
	reservedChunk = 500                    // budgets asked about in one round of the nodes
	reservedWait  = time.Second            // for the nodes to answer one round
	reservedRetry = 100 * time.Millisecond // before a read is made again
)

// errNotAllSaid: a node that counts as live did not say what it has set aside.
var errNotAllSaid = errors.New("a live node did not say what it has set aside")

func (a *api) balanceRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/accounts/{account}/balances", id: "list-balances", tag: "budgets",
		summary: "The present account of each assignment: used, leased and in_doubt exact at the answer's index, reserved and available at most a second old",
		reach:   ofAccount}, a.listBalances)
}

type listBalancesInput struct {
	Account    string `path:"account"`
	Entity     string `query:"entity" doc:"only of this entity"`
	Capability string `query:"capability" doc:"only of this capability"`
	Limit      int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After      string `query:"after" doc:"next of the page before"`
}

// budgetRow is an assignment with its budget of the period that contains the present, as one view shows them.
type budgetRow struct {
	assignment fsm.Assignment
	budget     fsm.Budget
	start, end int64
}

func (a *api) listBalances(ctx context.Context, in *listBalancesInput) (*answer[client.List[client.Balance]], error) {
	if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
		return nil, err
	}
	filter := fsm.AssignmentFilter{Entity: in.Entity, Capability: in.Capability}
	items, next, err := a.machine.ListAssignments(in.Account, filter, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	var index uint64
	var balances []client.Balance
	err = retryReserved(ctx, func() (err error) {
		var rows []budgetRow
		var known members
		index, rows, known = a.budgetRows(items)
		balances, err = a.balances(ctx, rows, known)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Balance]]{Index: index, Body: client.List[client.Balance]{Items: balances, Next: orNull(next)}}, nil
}

// budgetRows reads the present budgets of assignments in one view. The list was
// read a moment ago: what was deleted since is left out.
func (a *api) budgetRows(items []fsm.Assignment) (index uint64, rows []budgetRow, known members) {
	at := now()
	a.machine.View(func(v *fsm.View) {
		index, known = v.Index(), membersOf(v)
		for i := range items {
			if x := v.AssignmentByNum(items[i].Num); x != nil {
				start, end := x.Cadence.Period(at)
				rows = append(rows, budgetRow{*x, cloneBudget(v.Budget(x, start)), start, end})
			}
		}
	})
	return index, rows, known
}

// retryReserved makes a read again, from its view on, while not every live node
// has told what it has set aside. A node that has just died counts as live
// until the leader has noticed, which takes a second; after that its part is in doubt.
func retryReserved(ctx context.Context, read func() error) error {
	ctx, cancel := context.WithTimeout(ctx, barrierWait)
	defer cancel()
	for {
		err := read()
		if !errors.Is(err, errNotAllSaid) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reservedRetry):
		}
	}
}

// cloneBudget copies the part of a budget that a view shares.
func cloneBudget(b fsm.Budget) fsm.Budget {
	b.Leases = slices.Clone(b.Leases)
	return b
}

// members is what balances need to know of the nodes.
type members struct {
	names map[fsm.NodeNum]string
	doubt map[fsm.NodeNum]bool // dead, stopped or removed: what they hold is in doubt
}

func membersOf(v *fsm.View) members {
	m := members{names: map[fsm.NodeNum]string{}, doubt: map[fsm.NodeNum]bool{}}
	for _, n := range v.Nodes() {
		m.names[n.Num] = n.Name
		m.doubt[n.Num] = inDoubt(n)
	}
	return m
}

// inDoubt reports whether nobody can say what a node still holds back.
func inDoubt(n *fsm.Node) bool { return n.Dead || n.Drained || n.RemovedAt != 0 }

// balances completes rows with what the live nodes have set aside of them just
// now. For a stale read those that answer will do.
func (a *api) balances(ctx context.Context, rows []budgetRow, known members) ([]client.Balance, error) {
	out := make([]client.Balance, 0, len(rows))
	for chunk := range slices.Chunk(rows, reservedChunk) {
		reserved, err := a.reservedOf(ctx, chunk)
		if err != nil && !whoAsks(ctx).stale {
			return nil, fmt.Errorf("%w: %w", errNotAllSaid, err)
		}
		for i := range chunk {
			out = append(out, balanceOf(&chunk[i], reserved[i], known))
		}
	}
	return out, nil
}

// reservedOf asks the live nodes what they have set aside. With an error the
// amounts are those of the nodes that answered.
func (a *api) reservedOf(ctx context.Context, rows []budgetRow) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, reservedWait)
	defer cancel()
	keys := make([]fsm.BudgetKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].budget.Key
	}
	return a.reserved(ctx, keys)
}

// balanceOf states a budget on the wire.
//
//	available = max(0, limit − used − reserved − in_doubt)
//
// Leases of live nodes do not count against available: a node gives up what
// another one needs. Those of nodes in doubt do, for nobody takes a lease away.
func balanceOf(r *budgetRow, reserved int64, known members) client.Balance {
	x := &r.assignment
	b := client.Balance{
		Assignment: x.ID, Entity: x.Entity, Capability: x.Capability, Scope: orNone(x.Scope),
		Cadence: wireCadence(x.Cadence), Enforcement: string(x.Enforcement),
		Limit: wireLimit(r.budget.Limit, r.budget.Unlimited), Used: r.budget.Used, Reserved: reserved,
		Leased: map[string]int64{}, PeriodStart: moment(r.start),
	}
	if r.end != fsm.Forever {
		t := moment(r.end)
		b.ResetsAt = &t
	}
	for _, l := range r.budget.Leases {
		b.Leased[known.names[l.Node]] += l.Amount // a name that was removed and came back has two numbers
		if known.doubt[l.Node] {
			b.InDoubt += l.Amount // Σ leases ≤ limit ≤ 10^18: no overflow
		}
	}
	if b.Limit != nil {
		left := remaining(*b.Limit, b.Used, reserved, b.InDoubt)
		b.Available = &left
	}
	return b
}

// remaining subtracts without wrapping: amounts are at least 0, so going below
// zero once is the end.
func remaining(limit int64, taken ...int64) int64 {
	for _, t := range taken {
		if t >= limit {
			return 0
		}
		limit -= max(0, t)
	}
	return limit
}
