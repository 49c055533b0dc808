package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// txn is one log entry being applied: it changes the state and collects the same
// changes as store writes and for the observer. Nothing is changed before the
// command has been validated, so a rejection leaves no trace but its outcome.
type txn struct {
	s       *state
	cmd     *Command
	index   uint64
	batch   *pebble.Batch // indexed; of the whole Apply call, so reads see earlier entries
	changes *pending      // of the whole Apply call
	roster  Roster        // as of this entry, Leader set from the command

	touched []*Budget                // changed by this entry, in order, written at its end
	before  map[BudgetKey]obligation // under invariants: what budgets were before this entry
	hash    xxhash.Digest
	err     error // the store failed; the whole Apply call fails
}

// put writes a value.
func (t *txn) put(key []byte, value any) {
	v, err := encodeValue(value)
	if err != nil {
		t.fail(fmt.Errorf("encode value of key %q: %w", key, err))
		return
	}
	t.fail(t.batch.Set(key, v, nil))
	t.mix(opPut, key, v)
}

// del deletes a key.
func (t *txn) del(key []byte) {
	t.fail(t.batch.Delete(key, nil))
	t.mix(opDelete, key, nil)
}

// delRange deletes the keys in [lower, upper).
func (t *txn) delRange(lower, upper []byte) {
	t.fail(t.batch.DeleteRange(lower, upper, nil))
	t.mix(opDeleteRange, lower, upper)
}

// get reads a value as of this entry. An error is a failed store, which fails
// the whole Apply call; a caller may treat it as absence and return.
func (t *txn) get(key []byte, into any) (bool, error) {
	v, closer, err := t.batch.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		if err = decodeValue(v, into); err != nil {
			err = fmt.Errorf("key %q: %w", key, err)
		}
		err = errors.Join(err, closer.Close())
	}
	t.fail(err)
	return err == nil, err
}

// scan calls f for the keys in [lower, upper) as of this entry, until it
// returns false. Key and value are valid during the call only.
func (t *txn) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	err := scan(t.batch, lower, upper, reverse, f)
	t.fail(err)
	return err
}

// fail records a failed store.
func (t *txn) fail(err error) {
	if err != nil && t.err == nil {
		t.err = err
	}
}

// The operations that the checksum covers.
const (
	opPut byte = iota + 1
	opDelete
	opDeleteRange
)

// mix adds one write to the entry's checksum.
func (t *txn) mix(op byte, key, value []byte) {
	var n [9]byte
	n[0] = op
	binary.BigEndian.PutUint32(n[1:], uint32(len(key)))
	binary.BigEndian.PutUint32(n[5:], uint32(len(value)))
	t.hash.Write(n[:])
	t.hash.Write(key)
	t.hash.Write(value)
}

// dispatch applies the entry's command.
func (t *txn) dispatch() ([][]Grant, *Error) {
	switch c := t.cmd.Body.(type) {
	case *Init:
		return nil, t.applyInit(*c)
	case *PutAccount:
		return nil, t.applyPutAccount(*c)
	case *FreezeAccount:
		return nil, t.applyFreezeAccount(*c)
	case *PutEntityTypes:
		return nil, t.applyPutEntityTypes(*c)
	case *PutCapabilities:
		return nil, t.applyPutCapabilities(*c)
	case *PutEntities:
		return nil, t.applyPutEntities(*c)
	case *ArchiveEntity:
		return nil, t.applyArchiveEntity(*c)
	case *MoveEntity:
		return nil, t.applyMoveEntity(*c)
	case *PutAssignments:
		return nil, t.applyPutAssignments(*c)
	case *DeleteAssignment:
		return nil, t.applyDeleteAssignment(*c)
	case *PutToken:
		return nil, t.applyPutToken(*c)
	case *DeleteToken:
		return nil, t.applyDeleteToken(*c)
	case *Reconcile:
		return t.applyReconcile(c), nil
	case *AdmitNode:
		return nil, t.applyAdmitNode(*c)
	case *RemoveNode:
		return nil, t.applyRemoveNode(*c)
	case *BootNode:
		return nil, t.applyBootNode(*c)
	case *DeadNode:
		return nil, t.applyDeadNode(*c)
	case *RecoverNode:
		return nil, t.applyRecoverNode(*c)
	case *DrainNode:
		return nil, t.applyDrainNode(*c)
	case *Forfeit:
		return nil, t.applyForfeit(*c)
	}
	return nil, &Error{Code: CodeCorrupt, Message: "the command has no body that this release knows"}
}
