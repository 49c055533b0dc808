package fsm

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The limits of invoice settings.
const (
	MaxAddressLines = 8
	MaxTaxNoteBytes = 2_000
	MaxNumberBytes  = 64    // of an invoice number
	MaxNumberDigits = 12    // that a number of the sequence is filled up to with zeros
	MaxDueDays      = 3_650 // ten years
)

// Party is one side of an invoice.
type Party struct {
	Name    string   `msgpack:"n,omitempty" json:"name"`
	Address []string `msgpack:"a,omitempty" json:"address"` // line by line
	TaxID   string   `msgpack:"t,omitempty" json:"tax_id"`
	Contact string   `msgpack:"c,omitempty" json:"contact"` // an e-mail address, a telephone number, a department
}

// InvoiceSettings say what the statements of an account show besides what they add up. A
// statement takes them in when it is finalized.
type InvoiceSettings struct {
	Seller     Party           `msgpack:"s"`
	Buyer      Party           `msgpack:"b"`
	TaxNote    string          `msgpack:"t,omitempty"`
	Currency   string          `msgpack:"c"`           // ISO 4217, as USD
	Capability string          `msgpack:"m"`           // the one that is money; 1 Currency has 10^Decimals of it
	DueDays    int             `msgpack:"d,omitempty"` // of the calendar after the date; 0: no date is given
	Numbers    NumberSequence  `msgpack:"n"`
	CloseLagMS int64           `msgpack:"g"` // how long after its end a month can be finalized, in milliseconds
	Layout     StatementLayout `msgpack:"y"`
	UpdatedAt  int64           `msgpack:"u,omitempty"` // zero: nothing was ever set
}

// NumberSequence gives invoice numbers: the prefix, and 1, 2, 3 … with leading zeros.
type NumberSequence struct {
	Prefix string `msgpack:"p,omitempty" json:"prefix"`
	Digits int    `msgpack:"d,omitempty" json:"digits"`
	Next   uint64 `msgpack:"n,omitempty" json:"next"` // 0: invoices are not numbered, unless finalized with a number
}

// defaultInvoiceSettings are those of an account for which nothing was set.
func defaultInvoiceSettings() InvoiceSettings {
	return InvoiceSettings{Currency: "USD", Capability: CapUSD, CloseLagMS: DefaultCloseLag.Milliseconds(), Layout: DefaultLayout()}
}

// Invoice is what a statement took in when it was finalized.
type Invoice struct {
	Number     string `msgpack:"n,omitempty"`
	Date       int64  `msgpack:"d,omitempty"` // when it was finalized, Unix milliseconds; zero in a draft
	Due        int64  `msgpack:"e,omitempty"` // zero: none
	Seller     Party  `msgpack:"s"`
	Buyer      Party  `msgpack:"b"`
	TaxNote    string `msgpack:"t,omitempty"`
	Currency   string `msgpack:"c"`
	Capability string `msgpack:"m"`
}

// invoice returns what a statement that is finalized at a time takes in, but for the number. It is due so many
// days of the calendar of the time's zone later, at the same time of day. The zero time: a draft.
func (s *InvoiceSettings) invoice(at time.Time) Invoice {
	i := Invoice{Seller: s.Seller, Buyer: s.Buyer, TaxNote: s.TaxNote, Currency: s.Currency, Capability: s.Capability}
	if at.IsZero() {
		return i
	}
	i.Date = at.UnixMilli()
	if s.DueDays > 0 {
		i.Due = at.AddDate(0, 0, s.DueDays).UnixMilli()
	}
	return i
}

// number writes the next number.
func (n *NumberSequence) number() string {
	digits := strconv.FormatUint(n.Next, 10)
	return n.Prefix + strings.Repeat("0", max(0, n.Digits-len(digits))) + digits
}

// PutInvoice sets an account's invoice settings, all of them. Next of the number sequence 0
// with a prefix or digits: as it was, or 1.
type PutInvoice struct {
	Account  string          `msgpack:"a"`
	Settings InvoiceSettings `msgpack:"s"`
}

func (PutInvoice) kind() kind { return kindPutInvoice }

func (t *txn) applyPutInvoice(c PutInvoice) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	to := c.Settings
	if err := t.checkInvoice(&to); err != nil {
		return err
	}
	from, _ := invoiceSettingsOf(t, tn.ID) // a failed store fails the whole Apply call
	if n := &to.Numbers; n.Next == 0 && (n.Prefix != "" || n.Digits > 0) {
		n.Next = max(1, from.Numbers.Next)
	}
	to.UpdatedAt = t.s.now
	var before any
	if from.UpdatedAt != 0 {
		before = from.document()
	}
	t.put(invoiceKey(tn.ID), &to)
	t.audit(actionInvoicePut, tn.ID, tn.ID, before, to.document())
	return nil
}

func (t *txn) checkInvoice(s *InvoiceSettings) *Error {
	var f faults
	checkParty(&f, "seller", &s.Seller)
	checkParty(&f, "buyer", &s.Buyer)
	if len(s.TaxNote) > MaxTaxNoteBytes {
		f.add("tax_note", "is %d bytes long; shorten it to at most %d", len(s.TaxNote), MaxTaxNoteBytes)
	}
	f.check("tax_note", textFault(s.TaxNote))
	if len(s.Currency) != 3 || strings.Trim(s.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		f.add("currency", "is %q; use the three capital letters of ISO 4217, as USD", s.Currency)
	}
	if t.s.caps[s.Capability] == nil {
		f.add("capability", "is %q, which is no capability that is defined", s.Capability)
	}
	if s.DueDays < 0 || s.DueDays > MaxDueDays {
		f.add("due_days", "is %d; use 0 to %d", s.DueDays, MaxDueDays)
	}
	n := &s.Numbers
	f.check("numbers.prefix", textFault(n.Prefix))
	if len(n.Prefix) > MaxNumberBytes-20 { // a uint64 has at most 20 digits
		f.add("numbers.prefix", "is %d bytes long; shorten it to at most %d", len(n.Prefix), MaxNumberBytes-20)
	}
	if n.Digits < 0 || n.Digits > MaxNumberDigits {
		f.add("numbers.digits", "is %d; use 0 to %d", n.Digits, MaxNumberDigits)
	}
	if n.Next > 1<<53 { // JSON readers keep whole numbers up to there
		f.add("numbers.next", "is %d; use 1 to %d", n.Next, uint64(1<<53))
	}
	if s.CloseLagMS < 0 || s.CloseLagMS > MaxCloseLag.Milliseconds() {
		f.add("close_lag_hours", "is %d; use 0 to %d", s.CloseLagMS/hourMS, int64(MaxCloseLag/time.Hour))
	}
	t.checkLayout(&f, "layout", s.Layout)
	return f.err()
}

func (t *txn) checkLayout(f *faults, field string, y StatementLayout) {
	switch {
	case y.EntityType != "" && y.EntityType != TypeAccount && t.s.types[y.EntityType] == nil:
		f.add(below(field, "entity_type"), "is %q, which is no entity type that is defined", y.EntityType)
	case y.EntityType != "" && y.Depth != 0:
		f.add(below(field, "depth"), "does not go with entity_type; give one of them")
	case y.Depth < 0 || y.Depth >= MaxDepth:
		f.add(below(field, "depth"), "is %d; use 0 to %d", y.Depth, MaxDepth-1)
	}
}

func checkParty(f *faults, field string, p *Party) {
	f.name(below(field, "name"), p.Name)
	f.name(below(field, "tax_id"), p.TaxID)
	f.name(below(field, "contact"), p.Contact)
	if len(p.Address) > MaxAddressLines {
		f.add(below(field, "address"), "has %d lines; use at most %d", len(p.Address), MaxAddressLines)
		return
	}
	for i, line := range p.Address {
		f.name(item(below(field, "address"), i), line)
	}
}

func numberFault(number string) string {
	if len(number) > MaxNumberBytes {
		return fmt.Sprintf("is %d bytes long; shorten it to at most %d", len(number), MaxNumberBytes)
	}
	return textFault(number)
}

// invoiceSettingsOf reads an account's settings, those of an account for which nothing was set if there are none.
func invoiceSettingsOf(r reader, account string) (s InvoiceSettings, err error) {
	ok, err := r.get(invoiceKey(account), &s)
	if !ok || err != nil {
		return defaultInvoiceSettings(), err
	}
	return s, nil
}

// InvoiceSettings returns what an account's next statement will take in.
func (m *Machine) InvoiceSettings(account string) (InvoiceSettings, error) {
	return invoiceSettingsOf(m, account)
}

type layoutDocument struct {
	EntityType  string `json:"entity_type,omitempty"`
	Depth       int    `json:"depth"`
	MergeModels bool   `json:"merge_models"`
}

func (y StatementLayout) document() layoutDocument { return layoutDocument(y) }

type invoiceDocument struct {
	Seller        Party          `json:"seller"`
	Buyer         Party          `json:"buyer"`
	TaxNote       string         `json:"tax_note"`
	Currency      string         `json:"currency"`
	Capability    string         `json:"capability"`
	DueDays       int            `json:"due_days"`
	Numbers       NumberSequence `json:"numbers"`
	CloseLagHours int64          `json:"close_lag_hours"`
	Layout        layoutDocument `json:"layout"`
}

func (s *InvoiceSettings) document() any {
	return invoiceDocument{
		Seller: s.Seller, Buyer: s.Buyer, TaxNote: s.TaxNote, Currency: s.Currency, Capability: s.Capability, DueDays: s.DueDays,
		Numbers: s.Numbers, CloseLagHours: s.CloseLagMS / hourMS, Layout: s.Layout.document(),
	}
}

// taken reports whether an invoice number is one of an account's statements.
func (t *txn) taken(account, number string) (found bool) {
	lower, upper := prefixRange(accountPrefix(tableStatement, account))
	_ = t.scan(lower, upper, false, func(_, value []byte) (bool, error) {
		var h StatementHead
		err := decodeValue(value, &h)
		found = h.Invoice.Number == number
		return !found, err
	})
	return found
}

// number gives a statement the number that was asked for, or the next of the sequence, which it advances.
func (t *txn) number(account, asked string, s *InvoiceSettings) (string, *Error) {
	if asked != "" {
		if t.taken(account, asked) {
			return "", conflict("invoice number %q is another statement's", asked)
		}
		return asked, nil
	}
	if s.Numbers.Next == 0 {
		return "", nil
	}
	number := s.Numbers.number()
	for ; t.taken(account, number); number = s.Numbers.number() { // it was given by hand
		s.Numbers.Next++
	}
	s.Numbers.Next++
	t.put(invoiceKey(account), s)
	return number, nil
}
