package fsm

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// Queries page through what the store holds, in key order, each at a consistent
// point. after is exclusive and empty at the start; next is empty at the end.
// They take no lock that applying waits for. A page has at most MaxPage items,
// whatever limit says, and at least one if there is any.

// MaxPage is the most items one query returns.
const MaxPage = 1_000

func pageSize(limit int) int { return min(max(limit, 1), MaxPage) }

// page reads a page of the keys that begin with prefix; the rest of a key is an
// id, which is what after and next mean. The id of after need not be there: it may
// have been deleted since. pick returns false to leave a value out. At most
// maxScan values are read, so a page may be short, or empty, and still have a next.
func page[T any](m *Machine, prefix []byte, after string, limit int, pick func(value []byte) (T, bool, error)) (items []T, next string, err error) {
	if after != "" && !ValidID(after) {
		return nil, "", invalid("after", "is not a cursor of this list")
	}
	limit = pageSize(limit)
	lower, upper := prefixRange(prefix)
	if after != "" {
		lower = append(slices.Concat(prefix, []byte(after)), 0)
	}
	var last string // of the keys read
	read := 0
	err = m.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		if len(items) == limit || read == maxScan {
			next = last
			return false, nil
		}
		read++
		last = string(key[len(prefix):])
		item, keep, err := pick(value)
		if keep {
			items = append(items, item)
		}
		return true, err
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}

// maxScan bounds how many stored values one filtered query reads.
const maxScan = 10_000

// all picks every value.
func all[T any](value []byte) (item T, keep bool, err error) {
	err = decodeValue(value, &item)
	return item, err == nil, err
}

// ListAccounts lists accounts by id.
func (m *Machine) ListAccounts(after string, limit int) (items []Account, next string, err error) {
	return page(m, []byte{tableAccount}, after, limit, all[Account])
}

// ListEntityTypes lists entity types by id.
func (m *Machine) ListEntityTypes(after string, limit int) (items []EntityType, next string, err error) {
	return page(m, []byte{tableEntityType}, after, limit, all[EntityType])
}

// ListCapabilities lists capabilities by id, built-in ones included.
func (m *Machine) ListCapabilities(after string, limit int) (items []Capability, next string, err error) {
	caps := map[string]Capability{}
	for _, c := range Builtins() {
		caps[c.ID] = c
	}
	// All of them are read, at most MaxCapabilities, because built-in ones are not stored.
	lower, upper := tableRange(tableCapability)
	err = m.scan(lower, upper, false, func(_, value []byte) (bool, error) {
		c, _, err := all[Capability](value)
		caps[c.ID] = c
		return true, err
	})
	if err != nil {
		return nil, "", err
	}
	limit = pageSize(limit)
	for _, id := range slices.Sorted(maps.Keys(caps)) {
		if id <= after {
			continue
		}
		if len(items) == limit {
			return items, items[limit-1].ID, nil
		}
		items = append(items, caps[id])
	}
	return items, "", nil
}

// ListEntities lists an account's entities by id, the root included.
func (m *Machine) ListEntities(account, after string, limit int) (items []Entity, next string, err error) {
	return page(m, accountPrefix(tableEntity, account), after, limit, all[Entity])
}

// AssignmentFilter narrows ListAssignments; empty fields match all.
type AssignmentFilter struct {
	Entity     string
	Capability string
}

// ListAssignments lists an account's assignments by id (which is by creation
// time). Those of one entity are found through it; by capability alone at most maxScan are read a
// call: a page may be short, or empty, and still have a next.
func (m *Machine) ListAssignments(account string, f AssignmentFilter, after string, limit int) (items []Assignment, next string, err error) {
	if f.Entity != "" {
		if after != "" && !ValidID(after) {
			return nil, "", invalid("after", "is not a cursor of this list")
		}
		items, next = m.assignmentsOf(account, f, after, pageSize(limit))
		return items, next, nil
	}
	prefix := accountPrefix(tableAssignmentID, account)
	return page(m, prefix, after, limit, func(value []byte) (Assignment, bool, error) {
		a, ok, err := m.assignmentByNum(value)
		ok = ok && (f.Capability == "" || f.Capability == a.Capability)
		return a, ok, err
	})
}

// assignmentsOf is ListAssignments for one entity.
func (m *Machine) assignmentsOf(account string, f AssignmentFilter, after string, limit int) (items []Assignment, next string) {
	m.View(func(v *View) {
		for _, a := range v.Assignments(account, f.Entity) {
			if a.ID > after && (f.Capability == "" || f.Capability == a.Capability) {
				items = append(items, *a)
			}
		}
	})
	slices.SortFunc(items, func(a, b Assignment) int { return cmp.Compare(a.ID, b.ID) })
	if len(items) > limit {
		items, next = items[:limit], items[limit-1].ID
	}
	return items, next
}

// assignmentByNum reads the assignment whose number is stored under an id. It
// may have been deleted since the number was read.
func (m *Machine) assignmentByNum(value []byte) (a Assignment, ok bool, err error) {
	var num uint64
	if err := decodeValue(value, &num); err != nil {
		return a, false, err
	}
	ok, err = m.get(assignmentKey(num), &a)
	return a, ok, err
}

// Assignment returns one assignment of an account by id, or ErrNotFound.
func (m *Machine) Assignment(account, id string) (Assignment, error) {
	var num uint64
	ok, err := m.get(assignmentIDKey(account, id), &num)
	var a Assignment
	if ok {
		ok, err = m.get(assignmentKey(num), &a)
	}
	if err == nil && !ok {
		return Assignment{}, notFound("account %q has no assignment %q", account, id)
	}
	return a, err
}

// ListTokens lists tokens by id; account empty: all, otherwise only those of the account.
func (m *Machine) ListTokens(account, after string, limit int) (items []Token, next string, err error) {
	return page(m, []byte{tableToken}, after, limit, func(value []byte) (Token, bool, error) {
		k, ok, err := all[Token](value)
		return k, ok && (account == "" || k.Account == account), err
	})
}

// AuditFilter narrows ListAudit; zero fields match all. From is inclusive, To exclusive.
type AuditFilter struct {
	Account  string
	Action   string // exact, or a prefix that ends with "."
	Actor    string // id
	Target   string
	From, To int64
}

func (f *AuditFilter) match(e *AuditEntry) bool {
	switch n := len(f.Action); {
	case n == 0:
	case f.Action[n-1] == '.':
		if len(e.Action) < n || e.Action[:n] != f.Action {
			return false
		}
	case e.Action != f.Action:
		return false
	}
	return (f.Account == "" || f.Account == e.Account) &&
		(f.Actor == "" || f.Actor == e.Actor.ID) &&
		(f.Target == "" || f.Target == e.Target) &&
		(f.From == 0 || e.At >= f.From) && (f.To == 0 || e.At < f.To)
}

// ListAudit lists audit entries newest first; after is the sequence number to
// continue below, 0 at the start. It reads at most maxScan entries a call: a page may be
// short, or empty, and still have a next.
func (m *Machine) ListAudit(f AuditFilter, after uint64, limit int) (items []AuditEntry, next uint64, err error) {
	lower, upper := tableRange(tableAudit)
	if after != 0 {
		upper = auditKey(after)
	}
	return sequence(m, lower, upper, true, limit, func(value []byte) (AuditEntry, verdict, error) {
		var e AuditEntry
		if err := decodeValue(value, &e); err != nil {
			return e, leave, err
		}
		if f.From != 0 && e.At < f.From {
			return e, stop, nil // the log's clock never goes back
		}
		if !f.match(&e) {
			return e, leave, nil
		}
		return e, keep, nil
	})
}

// verdict says what becomes of a value that a query read.
type verdict int

const (
	leave verdict = iota // leave it out
	keep
	stop // nothing beyond it can match
)

// sequence reads a page of keys in [lower, upper) that end with a sequence number. next is the
// number of the last value read, 0 at the end.
func sequence[T any](m *Machine, lower, upper []byte, reverse bool, limit int, pick func(value []byte) (T, verdict, error)) (items []T, next uint64, err error) {
	limit = pageSize(limit)
	var last uint64
	read := 0
	err = m.scan(lower, upper, reverse, func(key, value []byte) (bool, error) {
		if len(items) == limit || read == maxScan {
			next = last
			return false, nil
		}
		read++
		last = binary.BigEndian.Uint64(key[len(key)-8:])
		item, v, err := pick(value)
		if v == keep {
			items = append(items, item)
		}
		return v != stop, err
	})
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}
