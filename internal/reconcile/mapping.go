package reconcile

import (
	"fmt"
	"slices"
	"strings"
)

// Cost is the capability that a bill's cost is compared with.
const Cost = "usd"

// Mapping says which column of a CSV file is what, by the names in its first row.
type Mapping struct {
	Format   string // what the mapping is called
	Date     string // a day or a moment in it
	End      string // optional: where the row's time ends; it must lie in the same day
	Model    string // optional: without it every row is of the model ""
	Currency string // optional: must be usd in every row
	// FirstOfModel: what the model column names goes on with a comma and what was
	// used ("gpt-4o-2024-08-06, cached input").
	FirstOfModel bool
	Amounts      []Column
}

// Column is an amount: the capability it is compared with, and where it stands.
type Column struct {
	Capability string
	Name       string
	Optional   bool // a file without the column is read without it
}

// The formats that are known by their columns: what platform.openai.com/usage
// exports, whose fields are those of the API's /v1/organization/costs and
// /v1/organization/usage/completions.
var (
	OpenAICosts = Mapping{
		Format: "openai-costs", Date: "start_time", End: "end_time", Model: "line_item", Currency: "amount_currency", FirstOfModel: true,
		Amounts: []Column{{Capability: Cost, Name: "amount_value"}},
	}
	OpenAIUsage = Mapping{
		Format: "openai-usage", Date: "start_time", End: "end_time", Model: "model",
		Amounts: []Column{
			{Capability: "input_tokens", Name: "input_tokens"},
			{Capability: "output_tokens", Name: "output_tokens"},
			{Capability: "cached_tokens", Name: "input_cached_tokens", Optional: true},
			{Capability: "requests", Name: "num_model_requests", Optional: true},
		},
	}
	formats = []*Mapping{&OpenAICosts, &OpenAIUsage}
)

// The keys of ParseMapping that are no capability.
const (
	keyDate     = "date"
	keyEnd      = "end"
	keyModel    = "model"
	keyCost     = "cost"
	keyCurrency = "currency"
)

// ParseMapping reads "date=Day", "model=Model name", "cost=Charge": keys are date, end,
// model, currency and cost, and any other one is the id of a capability.
func ParseMapping(pairs []string) (*Mapping, error) {
	m := &Mapping{Format: "columns"}
	seen := map[string]bool{}
	for _, pair := range pairs {
		key, column, ok := strings.Cut(pair, "=")
		switch {
		case !ok || key == "" || column == "":
			return nil, fmt.Errorf("%q is no mapping: write KEY=COLUMN, as cost=amount", pair)
		case seen[key]:
			return nil, fmt.Errorf("%s is mapped twice", key)
		}
		seen[key] = true
		switch key {
		case keyDate:
			m.Date = column
		case keyEnd:
			m.End = column
		case keyModel:
			m.Model = column
		case keyCurrency:
			m.Currency = column
		case keyCost:
			m.Amounts = append(m.Amounts, Column{Capability: Cost, Name: column})
		default:
			m.Amounts = append(m.Amounts, Column{Capability: key, Name: column})
		}
	}
	switch {
	case seen[keyCost] && seen[Cost]:
		return nil, fmt.Errorf("cost and %s are the same", Cost)
	case m.Date == "":
		return nil, fmt.Errorf("no column is mapped to date")
	case len(m.Amounts) == 0:
		return nil, fmt.Errorf("no column is mapped to an amount: cost, or a capability such as input_tokens")
	}
	return m, nil
}

// detect returns the known format of a file with these columns.
func detect(header []string) (*Mapping, error) {
	for _, m := range formats {
		if m.missing(header) == "" {
			return m, nil
		}
	}
	return nil, fmt.Errorf("the columns %s are of no format that is known (%s, %s): say which is which, as --map date=…,model=…,cost=…",
		listed(header), OpenAICosts.Format, OpenAIUsage.Format)
}

// missing returns a column that the mapping needs and the header lacks.
func (m *Mapping) missing(header []string) string {
	need := []string{m.Date, m.End, m.Model, m.Currency}
	for _, a := range m.Amounts {
		if !a.Optional {
			need = append(need, a.Name)
		}
	}
	for _, name := range need {
		if name != "" && !slices.Contains(header, name) {
			return name
		}
	}
	return ""
}

// place is where in a record each part of a row stands; -1: nowhere.
type place struct {
	date, end, model, currency int
	amounts                    []int // of Mapping.Amounts, those that are there
	columns                    []Column
}

// bind finds the mapping's columns in a header.
func (m *Mapping) bind(header []string) (p place, err error) {
	if name := m.missing(header); name != "" {
		return p, fmt.Errorf("there is no column %q, only %s", name, listed(header))
	}
	find := func(name string) int {
		if name == "" {
			return -1
		}
		i := slices.Index(header, name)
		if i >= 0 && slices.Contains(header[i+1:], name) && err == nil {
			err = fmt.Errorf("two columns are called %q", name)
		}
		return i
	}
	p.date, p.end, p.model, p.currency = find(m.Date), find(m.End), find(m.Model), find(m.Currency)
	for _, a := range m.Amounts {
		if i := find(a.Name); i >= 0 {
			p.amounts, p.columns = append(p.amounts, i), append(p.columns, a)
		}
	}
	return p, err
}

// maxListed bounds how many columns an error names.
const maxListed = 40

func listed(header []string) string {
	more := ""
	if len(header) > maxListed {
		header, more = header[:maxListed], ", …"
	}
	quoted := make([]string, len(header))
	for i, name := range header {
		quoted[i] = shown(name)
	}
	return strings.Join(quoted, ", ") + more
}
