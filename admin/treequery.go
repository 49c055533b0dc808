package admin

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/bursar-dev/bursar/fsm"
)

// treeQuery is a request of the tree, parsed.
type treeQuery struct {
	types, capabilities map[string]bool // empty: all
	search              string          // lower case; empty: all
	minUtilization      ratio
	filtered            bool // minUtilization is more than zero: rows without a limit drop out
	scope               string
	sortBy              string
	descending          bool
	after               *treePosition
}

// sortByID is the order that an index keeps: a page of the whole account in it costs what it passes over.
const sortByID = "id"

// matchesEntity reports whether rows of an entity may pass.
func (q *treeQuery) matchesEntity(e *fsm.Entity) bool {
	return (len(q.types) == 0 || q.types[e.Type]) &&
		(q.search == "" || strings.Contains(strings.ToLower(e.ID), q.search) || strings.Contains(strings.ToLower(e.Name), q.search))
}

// matches reports whether a row passes every filter.
func (q *treeQuery) matches(r *fsm.TreeRow) bool {
	switch {
	case !q.matchesEntity(&r.Entity),
		len(q.capabilities) > 0 && !q.capabilities[r.Assignment.Capability],
		q.scope == "scoped" && len(r.Assignment.Scope) == 0,
		q.scope == "unscoped" && len(r.Assignment.Scope) > 0:
		return false
	}
	if q.filtered {
		if r.Budget.Unlimited {
			return false
		}
		num, den := utilization(r.Budget.Used, r.Budget.Limit)
		if compareRatios(num, den, q.minUtilization.num, q.minUtilization.den) < 0 {
			return false
		}
	}
	return true
}

// treePosition is where a row stands in every order: the keys to sort by, and
// the ids that make it unique. It is also what a cursor holds.
type treePosition struct {
	Used       int64  `json:"u,omitempty"`
	Limit      int64  `json:"l,omitempty"`
	Unlimited  bool   `json:"n,omitempty"`
	Created    int64  `json:"c,omitempty"`
	Entity     string `json:"e"`
	Assignment string `json:"a"`
}

func positionOf(r *fsm.TreeRow) treePosition {
	return treePosition{
		Used: r.Budget.Used, Limit: r.Budget.Limit, Unlimited: r.Budget.Unlimited,
		Created: r.Entity.CreatedAt, Entity: r.Entity.ID, Assignment: r.Assignment.ID,
	}
}

// compare orders two positions. Where there is no limit to sort by, a row comes
// last in either direction. Ties go by entity and assignment id, ascending in
// either direction, so the order is total and a cursor marks one place in it.
func (q *treeQuery) compare(a, b *treePosition) int {
	c := 0
	switch q.sortBy {
	case "utilization", "limit":
		if a.Unlimited != b.Unlimited {
			if a.Unlimited {
				return 1
			}
			return -1
		}
		if !a.Unlimited {
			c = cmp.Compare(a.Limit, b.Limit)
			if q.sortBy == "utilization" {
				an, ad := utilization(a.Used, a.Limit)
				bn, bd := utilization(b.Used, b.Limit)
				c = compareRatios(an, ad, bn, bd)
			}
		}
	case "used":
		c = cmp.Compare(a.Used, b.Used)
	case "created_at":
		c = cmp.Compare(a.Created, b.Created)
	default: // sortByID
		c = cmp.Compare(a.Entity, b.Entity)
	}
	if q.descending {
		c = -c
	}
	if c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Assignment, b.Assignment))
}

// treeCursor is a position with the order it is a position in.
type treeCursor struct {
	SortBy     string       `json:"s"`
	Descending bool         `json:"d,omitempty"`
	At         treePosition `json:"p"`
}

// cursor returns the opaque cursor that continues after p.
func (q *treeQuery) cursor(p treePosition) string {
	b, err := json.Marshal(treeCursor{q.sortBy, q.descending, p})
	if err != nil {
		panic("admin: " + err.Error()) // integers and strings always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// continueAfter reads a cursor; one of another order is refused, its position would mean nothing.
func (q *treeQuery) continueAfter(cursor string) error {
	if cursor == "" {
		return nil
	}
	wrong := invalidField("after", "is not a cursor of this list")
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return wrong
	}
	var c treeCursor
	if err := json.Unmarshal(b, &c); err != nil || c.At.Entity == "" {
		return wrong
	}
	if c.SortBy != q.sortBy || c.Descending != q.descending {
		return invalidField("after", "is a cursor of another sort_by or order")
	}
	q.after = &c.At
	return nil
}
