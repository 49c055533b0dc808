package fsm

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/bursar-dev/bursar/fsm/price"
)

// The price book is a list of versions, each a whole price map with the time
// from which it counts. A version never changes and is never deleted: ledger lines
// refer to it by number. The state holds the list; the maps stay on disk.

// MaxPriceVersions bounds the versions of a cluster's price book.
const MaxPriceVersions = 10_000

// PriceVersion is one version of the price book.
type PriceVersion struct {
	Version uint64 `msgpack:"v"` // 1, 2, 3 …
	// EffectiveAt is the time of the first event that the version may price; zero: it
	// counts from the beginning of time, as the first version does if nothing else was said.
	EffectiveAt int64    `msgpack:"e"`
	CreatedAt   int64    `msgpack:"c"`
	Digest      [32]byte `msgpack:"d"` // SHA-256 of the encoded map: equal maps have equal digests
	Models      int      `msgpack:"m"`
}

// PutPrices adds a version to the price book. A map equal to the one that
// is effective at that time already adds nothing.
type PutPrices struct {
	EffectiveAt int64         `msgpack:"e,omitempty"` // zero: from now on, or for the first version from the beginning of time
	Entries     []price.Entry `msgpack:"p"`           // as price.ParseMap returns them
}

func (PutPrices) kind() kind { return kindPutPrices }

// Pricing says how an event's usd was derived.
type Pricing struct {
	Version  uint64       `msgpack:"v,omitempty"` // of the price book; 0: there was none at the event's time
	Model    string       `msgpack:"m,omitempty"` // the name in the price map that the event's model was found under; empty: it was not
	Terms    []price.Term `msgpack:"t,omitempty"` // their sum, rounded once, is the event's usd
	Unpriced bool         `msgpack:"u,omitempty"` // the model, or some of what was used, has no price
}

// priceList is the price book's part of the state: all versions, ascending by
// (EffectiveAt, Version).
type priceList []PriceVersion

// add files a version.
func (l *priceList) add(v PriceVersion) {
	i, _ := slices.BinarySearchFunc(*l, v, func(a, b PriceVersion) int {
		return cmp.Or(cmp.Compare(a.EffectiveAt, b.EffectiveAt), cmp.Compare(a.Version, b.Version))
	})
	*l = slices.Insert(*l, i, v)
}

// at returns the place of the version that is effective at a time, or -1: the
// one that became effective last, and of several that did so at once the youngest.
func (l priceList) at(at int64) int {
	n, _ := slices.BinarySearchFunc(l, at, func(v PriceVersion, at int64) int {
		if v.EffectiveAt <= at {
			return -1
		}
		return 1
	})
	return n - 1
}

// PricesAt returns the version of the price book that is effective at a time
// and until when (exclusive), Forever if no other follows. ok is false before the first.
func (v *View) PricesAt(at int64) (version PriceVersion, until int64, ok bool) {
	i := v.s.prices.at(at)
	until = Forever
	if i+1 < len(v.s.prices) {
		until = v.s.prices[i+1].EffectiveAt
	}
	if i < 0 {
		return PriceVersion{}, until, false
	}
	return v.s.prices[i], until, true
}

// PriceVersions returns all versions of the price book, ascending by number.
func (v *View) PriceVersions() []PriceVersion {
	all := slices.Clone(v.s.prices)
	slices.SortFunc(all, func(a, b PriceVersion) int { return cmp.Compare(a.Version, b.Version) })
	return all
}

// PriceDigest returns the digest that a version made of entries has.
func PriceDigest(entries []price.Entry) ([32]byte, error) {
	value, err := encodeValue(entries)
	return sha256.Sum256(value), err
}

// PriceMap returns the map of a version, ascending by name, or ErrNotFound. It reads the store.
func (m *Machine) PriceMap(version uint64) (entries []price.Entry, err error) {
	ok, err := m.get(priceMapKey(version), &entries)
	if err == nil && !ok {
		return nil, notFound("the price book has no version %d", version)
	}
	return entries, err
}

// PriceBook returns a version's prices, ready to compute with, or ErrNotFound.
// Those used last are kept in memory.
func (m *Machine) PriceBook(version PriceVersion) (*price.Book, error) {
	return m.books.get(version, func() (*price.Book, error) {
		entries, err := m.PriceMap(version.Version)
		if err != nil {
			return nil, err
		}
		return price.NewBook(entries)
	})
}

// books keeps the books that were used last.
type books struct {
	mu   sync.Mutex
	list []keptBook // the one used last at the end
}

type keptBook struct {
	version PriceVersion
	book    *price.Book
}

// booksKept is how many versions are kept compiled: some hundred kilobytes each.
const booksKept = 4

// get returns a book, loading it if need be; who else needs one waits meanwhile.
func (k *books) get(version PriceVersion, load func() (*price.Book, error)) (*price.Book, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.list, func(b keptBook) bool { return b.version == version })
	if i >= 0 {
		b := k.list[i]
		k.list = append(slices.Delete(k.list, i, i+1), b)
		return b.book, nil
	}
	book, err := load()
	if err != nil {
		return nil, err
	}
	if len(k.list) == booksKept {
		k.list = slices.Delete(k.list, 0, 1)
	}
	k.list = append(k.list, keptBook{version, book})
	return book, nil
}

func (t *txn) applyPutPrices(c PutPrices) *Error {
	if err := t.checkPrices(&c); err != nil {
		return err
	}
	value, err := encodeValue(c.Entries)
	if err != nil {
		t.fail(err)
		return nil
	}
	v := PriceVersion{
		Version: uint64(len(t.s.prices)) + 1, EffectiveAt: c.EffectiveAt, CreatedAt: t.s.now,
		Digest: sha256.Sum256(value), Models: len(c.Entries),
	}
	if v.EffectiveAt == 0 && len(t.s.prices) > 0 {
		v.EffectiveAt = t.s.now
	}
	var before *PriceVersion
	var old []price.Entry
	if i := t.s.prices.at(v.EffectiveAt); i >= 0 {
		before = &t.s.prices[i]
		if before.Digest == v.Digest {
			return nil
		}
		if _, err := t.get(priceMapKey(before.Version), &old); err != nil {
			return nil // the whole Apply call fails
		}
	}
	doc := v.document()
	doc.compare(old, c.Entries)
	var from any
	if before != nil {
		from = before.document()
	}
	t.s.prices.add(v)
	t.put(priceVersionKey(v.Version), &v)
	t.put(priceMapKey(v.Version), c.Entries)
	t.changes.c.Prices = true
	t.audit(actionPricesPut, "", strconv.FormatUint(v.Version, 10), from, doc)
	return nil
}

// checkPrices reports why no version can be made of c.
func (t *txn) checkPrices(c *PutPrices) *Error {
	if reach := MaxPast.Milliseconds(); c.EffectiveAt != 0 && (c.EffectiveAt < t.s.now-reach || c.EffectiveAt > t.s.now+reach) {
		return invalid("effective_at", "lies more than %d days from now", int(MaxPast.Hours()/24))
	}
	if len(c.Entries) == 0 {
		return invalid("prices", "has no models")
	}
	if _, err := price.NewBook(c.Entries); err != nil {
		return priceError(err)
	}
	if !slices.IsSortedFunc(c.Entries, func(a, b price.Entry) int { return cmp.Compare(a.Name, b.Name) }) {
		return invalid("prices", "is not in order of the models' names")
	}
	if len(t.s.prices) >= MaxPriceVersions {
		err := conflict("the price book has %d versions, and a cluster keeps at most %d", len(t.s.prices), MaxPriceVersions)
		err.Numbers = map[string]int64{"limit": MaxPriceVersions, "have": int64(len(t.s.prices))}
		return err
	}
	return nil
}

// priceError is a malformed price map as a rejection: a field is "model.field".
func priceError(err error) *Error {
	faults, ok := errors.AsType[price.Faults](err)
	if !ok {
		return invalid("prices", "%v", err)
	}
	e := &Error{Code: CodeInvalid, Message: err.Error()}
	for _, f := range faults {
		field := FieldError{Field: f.Model, Message: f.Message}
		switch {
		case f.Model == "":
			field.Field = "prices"
		case f.Field != "":
			field.Field += "." + f.Field
		}
		e.Fields = append(e.Fields, field)
	}
	return e
}

// ParsePrices reads a price map as a PutPrices takes it. The error is an *Error
// with CodeInvalid that names models and fields.
func ParsePrices(data []byte) (*price.Map, error) {
	m, err := price.ParseMap(data)
	if err != nil {
		return nil, priceError(err)
	}
	return m, nil
}
