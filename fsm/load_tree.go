package fsm

import "fmt"

// The tree is read in two steps that overlap with their neighbours: one goroutine reads and decodes entities
// while another files them by id, and entities find their parents while assignments are read.

const (
	treeBatch = 512 // entities that are handed over at once, and share one piece of memory
	treeAhead = 16  // batches that may wait to be filed
)

// tenants reads accounts and their entities, which hang nowhere yet.
func (l *loader) tenants() {
	whole(l, tableAccount, func(a *Account) error {
		l.s.accounts[a.ID] = newTenant(*a)
		return nil
	})
	if l.err != nil {
		return
	}
	batches := make(chan []member, treeAhead)
	var failed error
	go func() {
		defer close(batches)
		defer guard(&failed)
		failed = l.readMembers(batches)
	}()
	for batch := range batches {
		if l.err == nil { // else the rest is drained
			l.err = l.fileMembers(batch)
		}
	}
	if l.err == nil {
		l.err = failed
	}
}

// readMembers hands over the entities of all accounts, in the order of their ids.
func (l *loader) readMembers(to chan<- []member) error {
	var (
		r     = hotReader{words: words{}}
		batch = make([]member, 0, treeBatch)
	)
	lower, upper := tableRange(tableEntity)
	err := scan(l.st.db, lower, upper, false, func(key, value []byte) (bool, error) {
		batch = append(batch, member{})
		if err := decodeHot(&r, value, &batch[len(batch)-1].Entity, (*hotReader).entity); err != nil {
			return false, fmt.Errorf("key %q: %w", key, err)
		}
		if len(batch) == treeBatch {
			to <- batch
			batch = make([]member, 0, treeBatch)
		}
		return true, nil
	})
	if err == nil {
		to <- batch
	}
	return err
}

// fileMembers files entities by id.
func (l *loader) fileMembers(batch []member) error {
	var t *tenant
	for i := range batch {
		m := &batch[i]
		if t == nil || t.ID != m.Account {
			if t = l.s.accounts[m.Account]; t == nil {
				return fmt.Errorf("the account %q of entity %q is missing", m.Account, m.ID)
			}
		}
		t.entities[m.ID] = m
		t.order.insert(m)
	}
	return nil
}

// hangTree hangs every entity below its parent.
func (l *loader) hangTree() error {
	for _, t := range l.s.accounts {
		if lost := t.hangAll(); lost != nil {
			return fmt.Errorf("the parent %q of entity %q is missing", lost.Parent, lost.ID)
		}
	}
	return nil
}
