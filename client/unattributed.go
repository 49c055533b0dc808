package client

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"net/url"
	"slices"
	"time"
)

// Unattributed is what an account's unattributed events add up to, corrections included: those no entity of which was
// provisioned when they were accepted. They are charged to the account's root.
type Unattributed struct {
	Items  []UnattributedSum `json:"items" nullable:"false" doc:"by the entities that the events named, those with the most events first"`
	Next   *string           `json:"next" nullable:"true" doc:"cursor of the next page, whose sums come on top; null at the end"`
	Events int64             `json:"events" doc:"of this page, each once"`
	Usage  map[string]int64  `json:"usage" nullable:"false" doc:"of this page, each event once"`
}

// UnattributedSum is the part of Unattributed whose events named one entity. An event that named several is in each of them.
type UnattributedSum struct {
	Entity *string          `json:"entity" doc:"as the events named it; null: they named none"`
	Events int64            `json:"events"`
	Usage  map[string]int64 `json:"usage" nullable:"false"`
}

// UnattributedFilter narrows Unattributed. Zero fields match all.
type UnattributedFilter struct {
	From, To time.Time // of the events, [From, To)
}

// Unattributed adds up an account's unattributed events, all pages of them. The entities with the most events come first.
func (a *Admin) Unattributed(ctx context.Context, account string, f UnattributedFilter) (Unattributed, error) {
	q := url.Values{}
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	all := Unattributed{Items: []UnattributedSum{}, Usage: map[string]int64{}}
	at := map[string]int{} // an entity's place among the items
	for {
		var page Unattributed
		if err := a.send(ctx, "GET", accountPath(account)+"/unattributed"+a.query(q), repeatable, nil, &page); err != nil {
			return Unattributed{}, err
		}
		all.Events += page.Events
		if err := addUsage(all.Usage, page.Usage); err != nil {
			return Unattributed{}, err
		}
		for _, x := range page.Items {
			id := ""
			if x.Entity != nil {
				id = *x.Entity
			}
			i, known := at[id]
			if !known {
				at[id] = len(all.Items)
				all.Items = append(all.Items, x)
				continue
			}
			all.Items[i].Events += x.Events
			if err := addUsage(all.Items[i].Usage, x.Usage); err != nil {
				return Unattributed{}, err
			}
		}
		if page.Next == nil {
			break
		}
		q.Set("after", *page.Next)
	}
	slices.SortStableFunc(all.Items, func(x, y UnattributedSum) int { return cmp.Compare(y.Events, x.Events) })
	return all, nil
}

// addUsage adds amounts to a sum.
func addUsage(sum, more map[string]int64) error {
	for id, n := range more {
		total, _ := bits.Add64(uint64(sum[id]), uint64(n), 0)
		if was := sum[id]; (was >= 0) == (n >= 0) && (int64(total) >= 0) != (n >= 0) {
			return fmt.Errorf("the sum of %s is beyond the largest integer; ask for a shorter time", id)
		}
		sum[id] = int64(total)
	}
	return nil
}
