package price

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a price map.
const (
	MaxModels    = 20_000
	MaxGlobs     = 256 // names with a star
	MaxAliases   = 32  // of one model
	MaxNameBytes = 256 // of a model's name
	maxPrices    = 200 // of one model
)

// Price is one price of a model.
type Price struct {
	Field Field   `msgpack:"f"`
	Value Decimal `msgpack:"v"`
}

// Entry is what a price map says of one model: all that a book is made of, and
// what is stored of a version of it.
type Entry struct {
	Name     string   `msgpack:"n"`           // may have stars: each stands for any text
	Provider string   `msgpack:"v,omitempty"` // "provider/name" is an alias
	Aliases  []string `msgpack:"a,omitempty"` // exact names
	Prices   []Price  `msgpack:"p,omitempty"` // ascending by field
}

// Model is a model's prices, ready to compute with. It is immutable.
type Model struct {
	Name   string // as the map has it; a glob, if that is what matched
	prices []fixedPrice
}

// fixedPrice is a price with what Decimal.fixed gives.
type fixedPrice struct {
	field  Field
	hi, lo uint64
	value  Decimal
}

// Book finds models by name. It is immutable; a nil Book has no models.
type Book struct {
	names map[string]*Model
	globs []*Model // the most specific first
}

// NewBook compiles entries, which must be as ParseMap returns them. An error says
// what is wrong with them: it is Faults.
func NewBook(entries []Entry) (*Book, error) {
	var faults Faults
	if len(entries) > MaxModels {
		return nil, Faults{{Message: fmt.Sprintf("has %d models, at most %d are allowed", len(entries), MaxModels)}}
	}
	b := &Book{names: make(map[string]*Model, 2*len(entries))}
	models := make([]*Model, len(entries))
	for i := range entries {
		e := &entries[i]
		e.check(&faults)
		m := e.compile()
		models[i] = m
		if strings.Contains(e.Name, "*") {
			b.globs = append(b.globs, m)
		} else if b.names[e.Name] != nil {
			faults.add(e.Name, "", "stands in the map twice")
		} else {
			b.names[e.Name] = m
		}
	}
	if len(b.globs) > MaxGlobs {
		faults.add(b.globs[MaxGlobs].Name, "", "is one of %d names with a star, at most %d are allowed", len(b.globs), MaxGlobs)
	}
	for i := range entries {
		for _, alias := range entries[i].Aliases {
			if other := b.names[alias]; other != nil {
				faults.add(entries[i].Name, "aliases", "%q is a name of model %q already", alias, other.Name)
				continue
			}
			b.names[alias] = models[i]
		}
	}
	for i := range entries {
		if name := entries[i].Provider + "/" + entries[i].Name; entries[i].Provider != "" && b.names[name] == nil && !entries[i].glob() {
			b.names[name] = models[i]
		}
	}
	slices.SortStableFunc(b.globs, compareGlobs)
	if len(faults) > 0 {
		return nil, faults
	}
	return b, nil
}

func (e *Entry) glob() bool { return strings.Contains(e.Name, "*") }

// compareGlobs puts the glob with more letters first.
func compareGlobs(a, b *Model) int {
	letters := func(m *Model) int { return len(m.Name) - strings.Count(m.Name, "*") }
	return cmp.Or(cmp.Compare(letters(b), letters(a)), cmp.Compare(a.Name, b.Name))
}

// check reports what is wrong with one entry by itself.
func (e *Entry) check(f *Faults) {
	if problem := nameProblem(e.Name); problem != "" {
		f.add(e.Name, "", "%s", problem)
	}
	if len(e.Aliases) > MaxAliases {
		f.add(e.Name, "aliases", "has %d names, at most %d are allowed", len(e.Aliases), MaxAliases)
	}
	for _, a := range e.Aliases {
		if problem := nameProblem(a); problem != "" {
			f.add(e.Name, "aliases", "a name %s", problem)
		} else if strings.Contains(a, "*") {
			f.add(e.Name, "aliases", "%q has a star: only the name of an entry may have one", a)
		}
	}
	if len(e.Provider) > MaxNameBytes {
		f.add(e.Name, "litellm_provider", "has %d bytes, at most %d are allowed", len(e.Provider), MaxNameBytes)
	}
	if len(e.Prices) > maxPrices {
		f.add(e.Name, "", "has %d prices, at most %d are allowed", len(e.Prices), maxPrices)
	}
	for i, p := range e.Prices {
		switch {
		case !p.Field.valid():
			f.add(e.Name, "", "has a price in an unknown field")
		case i > 0 && e.Prices[i-1].Field >= p.Field:
			f.add(e.Name, p.Field.String(), "is given twice, or out of order")
		case !p.Value.valid():
			f.add(e.Name, p.Field.String(), "is out of range")
		}
	}
}

// nameProblem says what is wrong with a model's name.
func nameProblem(name string) string {
	if name == "" {
		return "is empty: a model's name has 1 to 256 bytes"
	}
	if len(name) > MaxNameBytes {
		return fmt.Sprintf("has %d bytes: a model's name has 1 to %d", len(name), MaxNameBytes)
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] == 0x7f {
			return "has a control character"
		}
	}
	return ""
}

func (e *Entry) compile() *Model {
	m := &Model{Name: e.Name, prices: make([]fixedPrice, len(e.Prices))}
	for i, p := range e.Prices {
		m.prices[i] = fixedPrice{field: p.Field, value: p.Value}
		if p.Value.valid() {
			m.prices[i].hi, m.prices[i].lo = p.Value.fixed()
		}
	}
	return m
}

// Find returns the prices of a model: of the entry of that name, else of the
// one with that alias, else of "provider/name", else of the glob that matches with
// the most letters. nil: the book does not have it. It allocates nothing.
func (b *Book) Find(name []byte) *Model {
	if b == nil {
		return nil
	}
	if m := b.names[string(name)]; m != nil {
		return m
	}
	for _, g := range b.globs {
		if matches(g.Name, name) {
			return g
		}
	}
	return nil
}

// matches reports whether a name matches a pattern whose stars stand for any text.
func matches(pattern string, name []byte) bool {
	p, n := 0, 0
	star, from := -1, 0 // the last star seen, and where it was last tried
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// find returns the price of a usage in a call of a tier with that many input tokens, or nil.
func (m *Model) find(u Usage, tier Tier, input int64) *fixedPrice {
	for _, b := range fields[u] {
		var best *fixedPrice
		for i := range m.prices {
			p := &m.prices[i]
			f := p.field
			if f.base() != b || f.tier() != Standard && f.tier() != tier || input <= 1000*int64(f.over()) && f.over() > 0 {
				continue
			}
			if best == nil || f.over() > best.field.over() || f.over() == best.field.over() && f.tier() == tier {
				best = p
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}
