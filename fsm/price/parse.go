package price

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxFaults bounds how much is said of a map that is wrong everywhere.
const maxFaults = 20

// Fault is one thing wrong with a price map.
type Fault struct {
	Model   string // empty: the map as a whole
	Field   string // empty: the model as a whole
	Message string
}

func (f Fault) String() string {
	switch {
	case f.Model == "":
		return "the price map " + f.Message
	case f.Field == "":
		return fmt.Sprintf("model %q %s", f.Model, f.Message)
	}
	return fmt.Sprintf("model %q, field %q %s", f.Model, f.Field, f.Message)
}

// Faults are the things wrong with a price map, at most 20 of them.
type Faults []Fault

// Error names each fault's model and field.
func (f Faults) Error() string {
	parts := make([]string, len(f))
	for i := range f {
		parts[i] = f[i].String()
	}
	return strings.Join(parts, "; ")
}

func (f *Faults) add(model, field, format string, args ...any) {
	if len(*f) < maxFaults {
		*f = append(*f, Fault{Model: model, Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// Map is a price map as it was read.
type Map struct {
	Entries []Entry   // ascending by name
	Ignored []Ignored // ascending by field: what is about money and not charged
}

// Ignored is a field that is about money but feeds no usage name.
type Ignored struct {
	Field  string
	Models int // that have it
}

// sample is the entry with which LiteLLM's file explains itself.
const sample = "sample_spec"

// The fields of a model that are neither prices nor passed over.
const (
	fieldProvider = "litellm_provider"
	fieldAliases  = "aliases"
)

// ParseMap reads a price map in LiteLLM's format: an object of models, each an
// object of fields. A name with stars prices every model that it matches, and a
// field "aliases", a list of names, prices those like the model. Errors are Faults.
func ParseMap(data []byte) (*Map, error) {
	r := reader{ignored: map[string]int{}}
	var list []Entry
	err := object(data, func(name string, value json.RawMessage) {
		if name == sample {
			return
		}
		if len(list) <= MaxModels { // one more than allowed is for NewBook to refuse
			list = append(list, r.entry(name, value))
		}
	})
	if err != nil {
		return nil, Faults{{Message: err.Error()}}
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	if len(list) == 0 {
		return nil, Faults{{Message: "has no models"}}
	}
	if _, err := NewBook(list); err != nil {
		return nil, err
	}
	m := &Map{Entries: list}
	for _, field := range slices.Sorted(maps.Keys(r.ignored)) {
		m.Ignored = append(m.Ignored, Ignored{Field: field, Models: r.ignored[field]})
	}
	return m, nil
}

// object calls f for each field of a JSON object, in order, repeats included.
func object(data []byte, f func(name string, value json.RawMessage)) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return syntaxProblem(err)
	}
	if first != json.Delim('{') {
		return errors.New("must be an object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return syntaxProblem(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return syntaxProblem(err)
		}
		f(name.(string), value) // a token that More announces within an object is a key
	}
	if _, err := d.Token(); err != nil {
		return syntaxProblem(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("is followed by something else")
	}
	return nil
}

func syntaxProblem(err error) error {
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is not valid JSON at byte %d: %w", s.Offset, err)
	}
	return fmt.Errorf("is not valid JSON: %w", err)
}

// reader reads the entries of one map.
type reader struct {
	faults  Faults
	ignored map[string]int
}

func (r *reader) entry(name string, value json.RawMessage) Entry {
	e := Entry{Name: name}
	seen := map[string]bool{}
	err := object(value, func(field string, value json.RawMessage) {
		if seen[field] {
			r.faults.add(name, field, "is given twice")
			return
		}
		seen[field] = true
		r.field(&e, field, value)
	})
	if err != nil {
		r.faults.add(name, "", "%s", err)
	}
	slices.SortFunc(e.Prices, func(a, b Price) int { return cmp.Compare(a.Field, b.Field) })
	return e
}

func (r *reader) field(e *Entry, name string, value json.RawMessage) {
	switch {
	case name == fieldProvider:
		if json.Unmarshal(value, &e.Provider) != nil {
			r.faults.add(e.Name, name, "must be a string")
		}
	case name == fieldAliases:
		if json.Unmarshal(value, &e.Aliases) != nil {
			r.faults.add(e.Name, name, "must be a list of names")
		}
	case name == searchContext:
		r.searchPrices(e, value)
	default:
		r.price(e, name, value)
	}
}

// searchPrices reads the prices of a search by the size of its context.
func (r *reader) searchPrices(e *Entry, value json.RawMessage) {
	if string(value) == "null" {
		return
	}
	seen := map[string]bool{}
	err := object(value, func(size string, value json.RawMessage) {
		name := searchContext + "." + size
		if seen[size] {
			r.faults.add(e.Name, name, "is given twice")
			return
		}
		seen[size] = true
		r.price(e, name, value)
	})
	if err != nil {
		r.faults.add(e.Name, searchContext, "%s", err)
	}
}

// price reads a field if it is a price. null is no price.
func (r *reader) price(e *Entry, name string, value json.RawMessage) {
	f, ok := ParseField(name)
	switch {
	case !ok:
		if aboutMoney(name) {
			r.ignored[name]++
		}
		return
	case string(value) == "null":
		return
	case value[0] != '-' && (value[0] < '0' || value[0] > '9'):
		r.faults.add(e.Name, name, "must be a number")
		return
	}
	d, err := ParseDecimal(string(value))
	if err != nil {
		r.faults.add(e.Name, name, "%s", err)
		return
	}
	e.Prices = append(e.Prices, Price{Field: f, Value: d})
}

// aboutMoney reports whether a field that is no price of ours may be taken for one.
func aboutMoney(name string) bool {
	return strings.Contains(name, "cost") || strings.Contains(name, "pric") ||
		strings.Contains(name, "multiplier") || name == "provider_specific_entry"
}

// AppendJSON appends entries as a price map: what ParseMap makes the same entries of.
// Prices are written in plain decimal notation.
func AppendJSON(b []byte, entries []Entry) []byte {
	b = append(b, '{')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, entries[i].Name), ':')
		b = entries[i].appendJSON(b)
	}
	return append(b, '}')
}

func (e *Entry) appendJSON(b []byte) []byte {
	b = append(b, '{')
	next := func(name string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
	}
	if e.Provider != "" {
		next(fieldProvider)
		b = appendString(b, e.Provider)
	}
	if len(e.Aliases) > 0 {
		next(fieldAliases)
		for i, a := range e.Aliases {
			b = append(b, "[,"[min(i, 1)])
			b = appendString(b, a)
		}
		b = append(b, ']')
	}
	var nested []Price
	for _, p := range e.Prices {
		if strings.Contains(p.Field.String(), searchContext+".") {
			nested = append(nested, p)
			continue
		}
		next(p.Field.String())
		b = append(b, p.Value.String()...)
	}
	if len(nested) > 0 {
		next(searchContext)
		b = append(b, '{')
		for _, p := range nested {
			next(strings.TrimPrefix(p.Field.String(), searchContext+"."))
			b = append(b, p.Value.String()...)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // a string can be encoded
	return append(b, quoted...)
}
