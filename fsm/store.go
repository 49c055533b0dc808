package fsm

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// scan calls f for the keys in [lower, upper) at a consistent point, until it
// returns false. Key and value are valid during the call only. Applying goes on meanwhile.
func (m *Machine) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	return scan(m.db, lower, upper, reverse, f)
}

// scan iterates over [lower, upper) of a database or an indexed batch.
func scan(r pebble.Reader, lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		more, err := f(it.Key(), v)
		if err != nil || !more {
			return err
		}
	}
	return it.Error()
}
