package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// statements adds up the lines of each finalized statement again, the earliest first, and
// compares it with the audit trail, which has its hash, number and totals too.
func (v *verifier) statements() error {
	lower, upper := prefixRange(accountPrefix(tableStatement, v.account))
	var previous *StatementHead
	return v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		s := new(Statement)
		where := func() string { return fmt.Sprintf("statement %s", s.ID) }
		err := decodeValue(value, &s.StatementHead)
		if err == nil {
			var ok bool
			if ok, err = v.get(statementRowsKey(v.account, s.From), &s.StatementRows); err == nil && !ok {
				err = errors.New("its rows are missing")
			}
		}
		if isStore(err) {
			return false, err
		}
		if err != nil {
			v.fault(LedgerFault{Kind: FaultStatement, Where: where(), Found: err.Error()})
			return true, nil
		}
		before := previous
		previous = &s.StatementHead
		if s.Account != v.account || !bytes.Equal(key, statementKey(v.account, s.From)) {
			v.fault(LedgerFault{Kind: FaultStatement, Where: where(), Want: "its own key", Found: fmt.Sprintf("key %q", key)})
		}
		if err := v.recorded(s); err != nil {
			return false, err
		}
		if v.mark.Dropped > 0 && (before == nil || s.Lines.First != 0 && s.Lines.First <= v.mark.Dropped) {
			v.out.UncheckedStatements++
			return true, nil
		}
		v.out.Statements++
		wrong, err := v.recompute(s, before)
		for _, text := range wrong {
			v.fault(LedgerFault{Kind: FaultStatement, Where: where(), Want: "what its lines say", Found: text})
		}
		return true, err
	})
}

// recompute returns how a statement differs from its lines.
func (v *verifier) recompute(s *Statement, previous *StatementHead) (wrong []string, err error) {
	sum := RecomputeStatement(s)
	parts := []struct {
		f              LedgerFilter
		after, through uint64
	}{
		{LedgerFilter{From: s.From, To: s.To, OldestFirst: true}, 0, s.After},
		{LedgerFilter{To: s.To, OldestFirst: true}, s.After, s.Through},
	}
	for i := range parts {
		p := &parts[i]
		for after := p.after; after < p.through; {
			lines, next, err := v.page(&p.f, after)
			if isStore(err) {
				return nil, err
			}
			if err != nil {
				return []string{err.Error()}, nil
			}
			for j := range lines {
				if err := v.step(); err != nil {
					return nil, err
				}
				if lines[j].Seq > p.through {
					next = 0
					break
				}
				if err := sum.Add(&lines[j]); err != nil {
					return []string{err.Error()}, nil
				}
			}
			if after = next; next == 0 {
				break
			}
		}
	}
	return sum.Check(s, previous), nil
}

// page reads some lines that pass a filter.
func (v *verifier) page(f *LedgerFilter, after uint64) (lines []LedgerLine, next uint64, err error) {
	q := &ledgerQuery{r: v.r, account: v.account, f: f, limit: MaxPage}
	if err = q.open(); err == nil {
		lines, next, err = q.page(after)
	}
	return lines, next, errors.Join(err, q.close())
}

// recorded compares a statement with its entry in the audit trail.
func (v *verifier) recorded(s *Statement) error {
	e, err := v.auditEntry(actionFinalize, s.ID, s.FinalizedAt)
	if err != nil {
		return err
	}
	want, err := json.Marshal(s.document())
	if err != nil {
		return err
	}
	if !bytes.Equal(e.To, want) || e.Index != s.Index {
		v.fault(LedgerFault{Kind: FaultStatement, Where: fmt.Sprintf("statement %s", s.ID), Want: fmt.Sprintf("the audit trail: entry %d, %s", e.Index, e.To), Found: fmt.Sprintf("entry %d, %s", s.Index, want)})
	}
	return nil
}
