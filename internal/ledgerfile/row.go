package ledgerfile

import (
	"time"

	"github.com/bursar-dev/bursar/client"
)

// Row is a ledger line in a Parquet file. Tags give the columns, of which those with few values are encoded by dictionary.
type Row struct {
	Seq      int64    `parquet:"seq,delta"`
	EventID  string   `parquet:"event_id"`
	Kind     string   `parquet:"kind,dict"`
	Account  string   `parquet:"account,dict"`
	Entities []string `parquet:"entities,list,dict"`
	Chain    []string `parquet:"chain,list,dict"`
	Key      *string  `parquet:"key,optional,dict"`
	Member   *string  `parquet:"member,optional,dict"`
	Model    *string  `parquet:"model,optional,dict"`

	Requests     *int64           `parquet:"requests,optional"`
	InputTokens  *int64           `parquet:"input_tokens,optional"`
	OutputTokens *int64           `parquet:"output_tokens,optional"`
	CachedTokens *int64           `parquet:"cached_tokens,optional"`
	Tokens       *int64           `parquet:"tokens,optional"`
	USD          *int64           `parquet:"usd,optional"` // nano-dollars
	Usage        map[string]int64 `parquet:"usage"`

	PriceVersion *int64  `parquet:"price_version,optional"`
	PriceModel   *string `parquet:"price_model,optional,dict"`
	PriceTerms   []Term  `parquet:"price_terms,list"`
	ServiceTier  string  `parquet:"service_tier,dict"`
	Unpriced     bool    `parquet:"unpriced"`

	At           time.Time         `parquet:"at,timestamp(millisecond)"`
	ReceivedAt   time.Time         `parquet:"received_at,timestamp(millisecond)"`
	SettledAt    time.Time         `parquet:"settled_at,timestamp(millisecond)"`
	Node         string            `parquet:"node,dict"`
	NodeNumber   int64             `parquet:"node_number"`
	Index        int64             `parquet:"index,delta"`
	Reservation  *string           `parquet:"reservation,optional"`
	Overage      bool              `parquet:"overage"`
	Late         bool              `parquet:"late"`
	Unattributed bool              `parquet:"unattributed"`
	Metadata     map[string]string `parquet:"metadata"`

	Corrects   *int64   `parquet:"corrects,optional"`
	Correction *string  `parquet:"correction,optional"`
	Reason     string   `parquet:"reason"`
	Charges    []Charge `parquet:"charges,list"`
	BodyHash   string   `parquet:"body_hash"`
	Hash       *string  `parquet:"hash,optional"`
}

// Term is a term of a line's cost.
type Term struct {
	Usage    string `parquet:"usage,dict"`
	Field    string `parquet:"field,dict"`
	Quantity int64  `parquet:"quantity"`
	Decimals int64  `parquet:"decimals"`
	Price    string `parquet:"price,dict"` // exact: as text
}

// Charge is what a line charged one budget.
type Charge struct {
	Assignment       *string   `parquet:"assignment,optional,dict"`
	AssignmentNumber int64     `parquet:"assignment_number"`
	PeriodStart      time.Time `parquet:"period_start,timestamp(millisecond)"`
	Amount           int64     `parquet:"amount"`
	Drawn            int64     `parquet:"drawn"`
	DrawnOn          int64     `parquet:"drawn_on"`
}

// rowOf turns a line into a row that shares its texts and maps.
func rowOf(l *client.LedgerLine) Row {
	used := func(capability string) *int64 {
		if n, ok := l.Usage[capability]; ok {
			return &n
		}
		return nil
	}
	r := Row{
		Seq: int64(l.Seq), EventID: l.EventID, Kind: l.Kind, Account: l.Account, Entities: l.Entities, Chain: l.Chain,
		Key: l.Key, Member: l.Member, Model: l.Model,
		Requests: used("requests"), InputTokens: used("input_tokens"), OutputTokens: used("output_tokens"),
		CachedTokens: used("cached_tokens"), Tokens: used("tokens"), USD: used("usd"), Usage: l.Usage,
		PriceVersion: l.PriceVersion, PriceModel: l.PriceModel, ServiceTier: l.ServiceTier, Unpriced: l.Unpriced,
		At: l.At, ReceivedAt: l.ReceivedAt, SettledAt: l.SettledAt, Node: l.Node, NodeNumber: int64(l.NodeNumber), Index: int64(l.Index),
		Reservation: l.Reservation, Overage: l.Overage, Late: l.Late, Unattributed: l.Unattributed, Metadata: l.Metadata,
		Correction: l.Correction, Reason: l.Reason, BodyHash: l.BodyHash, Hash: l.Hash,
	}
	if l.Corrects != nil {
		seq := int64(*l.Corrects)
		r.Corrects = &seq
	}
	for _, t := range l.PriceTerms {
		r.PriceTerms = append(r.PriceTerms, Term{Usage: t.Usage, Field: t.Field, Quantity: t.Quantity, Decimals: int64(t.Decimals), Price: t.Price})
	}
	for _, c := range l.Charges {
		r.Charges = append(r.Charges, Charge{
			Assignment: c.Assignment, AssignmentNumber: int64(c.AssignmentNumber), PeriodStart: c.PeriodStart,
			Amount: c.Amount, Drawn: c.Drawn, DrawnOn: int64(c.DrawnOn),
		})
	}
	return r
}

// size is about how many bytes a row takes before it is compressed.
func (r *Row) size() int {
	const fixed = 300 // numbers, hashes, and what short texts take
	n := fixed + len(r.EventID) + len(r.Reason) + 60*len(r.PriceTerms) + 60*len(r.Charges)
	for _, id := range r.Entities {
		n += len(id)
	}
	for _, id := range r.Chain {
		n += len(id)
	}
	for capability := range r.Usage {
		n += len(capability) + 8
	}
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	for _, s := range []*string{r.Key, r.Member, r.Model, r.Reservation, r.Correction} {
		if s != nil {
			n += len(*s)
		}
	}
	return n
}
