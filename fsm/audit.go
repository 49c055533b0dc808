package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
)

// The audit trail has one entry for each thing an accepted command changed, in
// order. Entries are chained: the hash of each covers the one before, so that one
// that was altered, dropped or inserted later breaks the chain from there on.

// The actions of the audit trail.
const (
	actionAccountPut       = "account.put"
	actionAccountFreeze    = "account.freeze"
	actionAccountUnfreeze  = "account.unfreeze"
	actionEntityTypePut    = "entity_type.put"
	actionCapabilityPut    = "capability.put"
	actionEntityPut        = "entity.put"
	actionEntityArchive    = "entity.archive"
	actionEntityUnarchive  = "entity.unarchive"
	actionEntityMove       = "entity.move"
	actionAssignmentPut    = "assignment.put"
	actionAssignmentDelete = "assignment.delete"
	actionTokenCreate      = "token.create"
	actionTokenDelete      = "token.delete"
	actionPricesPut        = "prices.put"
	actionLedgerPrefix     = "ledger." // and the kind of the correction
	actionFinalize         = "statement.finalize"
	actionInvoicePut       = "invoice.put"
	actionNodeAdmit        = "node.admit"
	actionNodeRemove       = "node.remove"
	actionNodeForfeit      = "node.forfeit"
	actionClusterBackup    = "cluster.backup"
	actionClusterRestore   = "cluster.restore"
	actionClusterEndDoubt  = "cluster.end_doubt"
)

// audit appends an entry to the trail. account is empty for what belongs to the
// whole cluster. from and to are documents (see document.go) or nil: nil from
// says that target did not exist, nil to that it does not any more.
//
// Call it once the command cannot be rejected any more, after the change itself.
func (t *txn) audit(action, account, target string, from, to any) {
	e := AuditEntry{
		Seq:     t.s.auditSeq + 1,
		At:      t.s.now,
		Actor:   t.cmd.Actor,
		Action:  action,
		Account: account,
		Target:  target,
		From:    t.document(from),
		To:      t.document(to),
		Index:   t.index,
	}
	e.Hash = e.chain(t.s.auditHash)
	t.s.auditSeq, t.s.auditHash = e.Seq, e.Hash
	t.put(auditKey(e.Seq), &e)
}

// document encodes a document as JSON: struct fields in their order, map keys sorted.
func (t *txn) document(doc any) []byte {
	if doc == nil {
		return nil
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.fail(fmt.Errorf("audit document: %w", err))
		return nil
	}
	return b
}

// chain returns the entry's hash: SHA-256 over the previous entry's hash (zeros for the
// first) and this entry's fields in the order of the struct, without Hash. Numbers are
// 8 bytes big-endian; texts and documents are preceded by their length as such a number.
func (e *AuditEntry) chain(prev [32]byte) (sum [32]byte) {
	h := sha256.New()
	h.Write(prev[:])
	hashNumber(h, e.Seq)
	hashNumber(h, uint64(e.At))
	hashText(h, e.Actor.Type)
	hashText(h, e.Actor.ID)
	hashText(h, e.Actor.Name)
	hashText(h, e.Actor.IP)
	hashText(h, e.Action)
	hashText(h, e.Account)
	hashText(h, e.Target)
	hashText(h, e.From)
	hashText(h, e.To)
	hashNumber(h, e.Index)
	return [32]byte(h.Sum(nil))
}

func hashNumber(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

func hashText[T ~string | ~[]byte](h hash.Hash, s T) {
	hashNumber(h, uint64(len(s)))
	h.Write([]byte(s))
}

// VerifyAudit recomputes the audit trail's hash chain and returns its length, or
// the first sequence number at which it breaks. An end cut off counts as a break
// too, as long as this replica remembers how long the trail was.
func (m *Machine) VerifyAudit() (entries, brokenAt uint64, err error) {
	m.mu.RLock()
	last, lastHash := m.s.auditSeq, m.s.auditHash
	m.mu.RUnlock()

	var prev [32]byte
	lower, upper := tableRange(tableAudit)
	err = m.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		var e AuditEntry
		seq := entries + 1
		sound := decodeValue(value, &e) == nil &&
			e.Seq == seq && binary.BigEndian.Uint64(key[1:]) == seq &&
			e.Hash == e.chain(prev) &&
			(seq != last || e.Hash == lastHash)
		if !sound {
			brokenAt = seq
			return false, nil
		}
		entries, prev = seq, e.Hash
		return true, nil
	})
	if err == nil && brokenAt == 0 && entries < last {
		brokenAt = entries + 1
	}
	return entries, brokenAt, err
}
