package fsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Books is the state of a node that is stopped, open for reading: nothing in its directory changes. It
// shows what the node had applied. It is safe for concurrent use.
type Books struct {
	store *store
}

// OpenBooks opens the state directory of a node that is not running. Options.Observer is not used.
func OpenBooks(dir string, o Options) (*Books, error) {
	o.defaults()
	name, err := readCurrent(o.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("%s is no node's state: %w", dir, err)
	}
	fail := newFailure(o.Logger)
	options := pebbleOptions(o.FS, fail, true)
	options.ReadOnly = true
	path := o.FS.PathJoin(dir, name)
	b := &Books{store: &store{dir: path, fail: fail}}
	err = func() (err error) {
		defer guard(&err)
		b.store.db, err = pebble.Open(path, options)
		return err
	}()
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", path, err)
	}
	v, closer, err := b.store.db.Get(keyFormat)
	if err == nil {
		if len(v) != 4 || binary.BigEndian.Uint32(v) != storeFormat {
			err = fmt.Errorf("%s has another state format than this release reads", path)
		}
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close closes the books.
func (b *Books) Close() error { return b.store.close() }

// Accounts returns the ids of all accounts, ascending.
func (b *Books) Accounts() (ids []string, err error) {
	defer guard(&err)
	lower, upper := tableRange(tableAccount)
	err = scan(b.store.db, lower, upper, false, func(key, _ []byte) (bool, error) {
		ids = append(ids, string(key[1:]))
		return true, nil
	})
	return ids, err
}

// VerifyLedger verifies an account's ledger; see Machine.VerifyLedger.
func (b *Books) VerifyLedger(ctx context.Context, account string, o VerifyOptions) (out *LedgerVerification, err error) {
	defer guard(&err)
	return verifyLedger(ctx, b.store.db, account, &o)
}
