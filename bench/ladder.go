package bench

import (
	"fmt"

	"github.com/bursar-dev/bursar/client"
)

// Ladder is the tree of a load: Depth levels, the account's root being the first
// and the Entities that make calls the last. In between every group has up to ten
// members, and where one group holds all, groups of one lead up to the root.
// Each level has a budget of requests and one of tokens.
type Ladder struct {
	Entities int
	Depth    int
}

// Limits of a Ladder.
const (
	maxCallers   = 1_000_000
	minDepth     = 2
	maxDepth     = 32 // the contract's
	groupMembers = 10
)

// Names that a load gives. Types are the cluster's and stay there.
const (
	typeGroup  = "bench_group"
	typeCaller = "bench_caller"
	madeBy     = "made by bursar bench"
)

// Validate names the flag that is wrong.
func (l Ladder) Validate() error {
	switch {
	case l.Entities < 1 || l.Entities > maxCallers:
		return fmt.Errorf("--entities %d: want 1 to %d", l.Entities, maxCallers)
	case l.Depth < minDepth || l.Depth > maxDepth:
		return fmt.Errorf("--depth %d: want %d to %d levels, the account's root being the first", l.Depth, minDepth, maxDepth)
	}
	return nil
}

// member names the i-th entity of a level. The root's name is the account's.
func (l Ladder) member(account string, level, i int) string {
	switch level {
	case 1:
		return account
	case l.Depth:
		return fmt.Sprintf("caller-%d", i)
	}
	return fmt.Sprintf("group-%d-%d", level, i)
}

// entities returns the tree, parents first, without the root.
func (l Ladder) entities(account string) []client.Entity {
	size := make([]int, l.Depth+1) // by level
	size[l.Depth] = l.Entities
	for level := l.Depth - 1; level > 1; level-- {
		size[level] = (size[level+1] + groupMembers - 1) / groupMembers
	}
	size[1] = 1
	var all []client.Entity
	for level := 2; level <= l.Depth; level++ {
		for i := range size[level] {
			parent := l.member(account, level-1, min(i/groupMembers, size[level-1]-1))
			e := client.Entity{ID: l.member(account, level, i), Type: typeGroup, Parent: &parent}
			if level == l.Depth {
				e.Type = typeCaller
			}
			all = append(all, e)
		}
	}
	return all
}

// ladderLimit is every budget's: more than a run can use, so that leases are what a cluster in good health has.
const ladderLimit = 1_000_000_000_000_000

// budgets gives every entity, the root too, a hard limit of requests and of tokens.
func (l Ladder) budgets(account string, entities []client.Entity) []client.Assignment {
	limit := int64(ladderLimit)
	all := make([]client.Assignment, 0, 2*len(entities)+2)
	add := func(id string) {
		for _, c := range []string{"requests", "tokens"} {
			all = append(all, client.Assignment{Entity: id, Capability: c, Limit: &limit, Enforcement: "hard", Cadence: client.Cadence{Every: "never"}})
		}
	}
	add(account)
	for _, e := range entities {
		add(e.ID)
	}
	return all
}

// chains returns every caller's chain, itself first and the root last.
func (l Ladder) chains(account string) [][]string {
	parent := map[string]string{}
	all := make([][]string, 0, l.Entities)
	for _, e := range l.entities(account) {
		parent[e.ID] = *e.Parent
		if e.Type != typeCaller {
			continue
		}
		chain := []string{e.ID}
		for id := e.ID; id != account; {
			id = parent[id]
			chain = append(chain, id)
		}
		all = append(all, chain)
	}
	return all
}
