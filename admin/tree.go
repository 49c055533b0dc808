package admin

import (
	"container/heap"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) treeRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/accounts/{account}/tree", id: "get-tree", tag: "budgets",
		summary: "Rows of (entity × assignment) with their balances, filtered and sorted; archived entities are left out",
		reach:   ofAccount}, a.getTree)
}

type getTreeInput struct {
	Account        string   `path:"account"`
	EntityTypes    []string `query:"entity_types" nullable:"false" doc:"only entities of these types"`
	Capabilities   []string `query:"capabilities" nullable:"false" doc:"only assignments of these capabilities"`
	Search         string   `query:"search" doc:"part of an entity's id or name, in any case"`
	Subtree        string   `query:"subtree" doc:"only this entity and what is below it"`
	Depth          int      `query:"depth" minimum:"0" maximum:"32" default:"32" doc:"at most this many levels below the root of the subtree, or of the account; 0: only that root"`
	MinUtilization string   `query:"min_utilization" doc:"a decimal ratio, as 0.8: only rows with used/limit at least that; one without a limit has none"`
	Scope          string   `query:"scope" enum:"all,unscoped,scoped" default:"all"`
	SortBy         string   `query:"sort_by" enum:"utilization,used,limit,id,created_at" default:"id" doc:"rows without a limit come last by utilization and limit; ties go by id"`
	Order          string   `query:"order" enum:"asc,desc" default:"asc"`
	Limit          int      `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After          string   `query:"after" doc:"next of the page before"`
}

// parse turns the parameters into a query.
func (in *getTreeInput) parse() (*treeQuery, error) {
	q := &treeQuery{
		types: setOf(in.EntityTypes), capabilities: setOf(in.Capabilities), search: strings.ToLower(in.Search),
		scope: in.Scope, sortBy: in.SortBy, descending: in.Order == "desc",
	}
	if in.MinUtilization != "" {
		r, ok := parseRatio(in.MinUtilization)
		if !ok {
			return nil, invalidField("min_utilization", "must be a decimal ratio, as 0.8, with at most %d digits on each side of the point", maxRatioDigits)
		}
		q.minUtilization, q.filtered = r, r.num > 0
	}
	return q, q.continueAfter(in.After)
}

func setOf(items []string) map[string]bool {
	set := make(map[string]bool, len(items))
	for _, s := range items {
		if s != "" {
			set[s] = true
		}
	}
	return set
}

func (a *api) getTree(ctx context.Context, in *getTreeInput) (*answer[client.List[client.TreeRow]], error) {
	q, err := in.parse()
	if err != nil {
		return nil, err
	}
	var out *answer[client.List[client.TreeRow]]
	err = retryReserved(ctx, func() (err error) {
		out, err = a.readTree(ctx, in, q)
		return err
	})
	return out, err
}

func (a *api) readTree(ctx context.Context, in *getTreeInput, q *treeQuery) (*answer[client.List[client.TreeRow]], error) {
	var page treePage
	var known members
	var index uint64
	rowQuery := fsm.RowQuery{Account: in.Account, Root: in.Subtree, Depth: in.Depth + 1, Now: now(), Entity: q.matchesEntity} // the store counts the root as the first level
	begin := func(v *fsm.View) error {
		if err := mustHaveAccount(v, in.Account); err != nil {
			return err
		}
		if in.Subtree != "" && v.Entity(in.Account, in.Subtree) == nil {
			return noEntity(in.Account, in.Subtree)
		}
		index, known = v.Index(), membersOf(v)
		page = treePage{query: q, size: in.Limit + 1} // one more tells whether there is a next page
		return nil
	}
	var err error
	if q.sortBy == sortByID && in.Subtree == "" {
		from := ""
		if q.after != nil {
			from = q.after.Entity
		}
		err = a.machine.RowsByID(rowQuery, from, q.descending, begin, func(rows []fsm.TreeRow) bool {
			for i := range rows {
				page.offer(&rows[i])
			}
			return len(page.rows) < page.size
		})
	} else {
		err = a.machine.Rows(rowQuery, begin, func(r fsm.TreeRow) { page.offer(&r) })
	}
	if err != nil {
		return nil, err
	}
	rows, next := page.take()
	items, err := a.treeRows(ctx, rows, known)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.TreeRow]]{Index: index, Body: client.List[client.TreeRow]{Items: items, Next: orNull(next)}}, nil
}

// treeRows states rows on the wire, with their balances.
func (a *api) treeRows(ctx context.Context, rows []fsm.TreeRow, known members) ([]client.TreeRow, error) {
	budgets := make([]budgetRow, len(rows))
	for i := range rows {
		budgets[i] = budgetRow{rows[i].Assignment, rows[i].Budget, rows[i].Start, rows[i].End}
	}
	balances, err := a.balances(ctx, budgets, known)
	if err != nil {
		return nil, err
	}
	items := make([]client.TreeRow, len(rows))
	for i := range rows {
		e := &rows[i].Entity
		items[i] = client.TreeRow{
			ID: e.ID, Type: e.Type, Parent: orNull(e.Parent), Name: e.Name, Depth: rows[i].Depth,
			CreatedAt: momentOrNull(e.CreatedAt), Balance: balances[i],
		}
		if !rows[i].Budget.Unlimited {
			num, den := utilization(rows[i].Budget.Used, rows[i].Budget.Limit)
			shown := float64(num) / float64(den) // for display; rows are chosen and sorted by the integers
			items[i].Utilization = &shown
		}
	}
	return items, nil
}

// treePage keeps the first rows, in a query's order, of all that are offered:
// a heap with the last of them on top. It holds one page however large the tree is.
type treePage struct {
	query     *treeQuery
	size      int
	rows      []fsm.TreeRow
	positions []treePosition
}

// offer considers a row.
func (p *treePage) offer(r *fsm.TreeRow) {
	if !p.query.matches(r) {
		return
	}
	at := positionOf(r)
	if p.query.after != nil && p.query.compare(&at, p.query.after) <= 0 {
		return
	}
	if len(p.rows) == p.size {
		if p.query.compare(&at, &p.positions[0]) > 0 {
			return
		}
		heap.Pop(p)
	}
	heap.Push(p, pageEntry{*r, at})
}

// take returns the page in order, and the cursor of the next one, empty at the end.
func (p *treePage) take() (rows []fsm.TreeRow, next string) {
	rows = make([]fsm.TreeRow, 0, len(p.rows))
	positions := make([]treePosition, 0, len(p.rows))
	for p.Len() > 0 {
		e := heap.Pop(p).(pageEntry)
		rows, positions = append(rows, e.row), append(positions, e.at)
	}
	slices.Reverse(rows)
	slices.Reverse(positions)
	if len(rows) == p.size {
		rows = rows[:p.size-1]
		next = p.query.cursor(positions[p.size-2])
	}
	return rows, next
}

type pageEntry struct {
	row fsm.TreeRow
	at  treePosition
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (p *treePage) Len() int { return len(p.rows) }

// Less puts the last row of the order on top.
func (p *treePage) Less(i, j int) bool {
	return p.query.compare(&p.positions[i], &p.positions[j]) > 0
}

// Swap implements heap.Interface.
func (p *treePage) Swap(i, j int) {
	p.rows[i], p.rows[j] = p.rows[j], p.rows[i]
	p.positions[i], p.positions[j] = p.positions[j], p.positions[i]
}

// Push implements heap.Interface.
func (p *treePage) Push(x any) {
	e := x.(pageEntry)
	p.rows, p.positions = append(p.rows, e.row), append(p.positions, e.at)
}

// Pop implements heap.Interface.
func (p *treePage) Pop() any {
	n := len(p.rows) - 1
	e := pageEntry{p.rows[n], p.positions[n]}
	p.rows, p.positions = p.rows[:n], p.positions[:n]
	return e
}
