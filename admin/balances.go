package admin

import (
	"context"
	"net/http"
	"slices"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// reservedChunk bounds the budgets asked about in one round of the nodes.
const reservedChunk = 500

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
	rows := make([]budgetRow, 0, len(items))
	var known members
	at := now()
	index, _ := a.view(func(v *fsm.View) error {
		known = membersOf(v)
		for i := range items {
			// The list was read a moment ago: what was deleted since is left out.
			if x := v.AssignmentByNum(items[i].Num); x != nil {
				start, end := x.Cadence.Period(at)
				rows = append(rows, budgetRow{*x, cloneBudget(v.Budget(x, start)), start, end})
			}
		}
		return nil
	})
	balances, err := a.balances(ctx, rows, known)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Balance]]{Index: index, Body: listOf(balances, next, func(b *client.Balance) client.Balance { return *b })}, nil
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

// balances completes rows with what the live nodes have set aside of them just now.
func (a *api) balances(ctx context.Context, rows []budgetRow, known members) ([]client.Balance, error) {
	ctx, cancel := context.WithTimeout(ctx, barrierWait)
	defer cancel()
	out := make([]client.Balance, 0, len(rows))
	for chunk := range slices.Chunk(rows, reservedChunk) {
		keys := make([]fsm.BudgetKey, len(chunk))
		for i := range chunk {
			keys[i] = chunk[i].budget.Key
		}
		reserved, err := a.reserved(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i := range chunk {
			out = append(out, balanceOf(&chunk[i], reserved[i], known))
		}
	}
	return out, nil
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
		b.Leased[known.names[l.Node]] = l.Amount
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
