package admin

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"golang.org/x/text/currency"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) invoiceRoutes() {
	const path = "/v1/accounts/{account}/invoice"
	handle(a, route{method: http.MethodGet, path: path, id: "get-invoice-settings", tag: "statements",
		summary: "What the account's next statements take in: parties, numbers, currency, close lag, layout", reach: ofAccount}, a.getInvoice)
	handle(a, route{method: http.MethodPut, path: path, id: "put-invoice-settings", tag: "statements",
		summary: "Set all of it; statements that are finalized stay as they are", reach: ofAccount}, a.putInvoice)
}

type getInvoiceInput struct {
	Account string `path:"account"`
}

func (a *api) getInvoice(_ context.Context, in *getInvoiceInput) (*answer[client.InvoiceSettings], error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	s, err := a.machine.InvoiceSettings(in.Account)
	return &answer[client.InvoiceSettings]{Index: index, Body: wireInvoiceSettings(&s)}, err
}

type putInvoiceInput struct {
	Account string `path:"account"`
	Body    client.InvoiceSettings
}

func (a *api) putInvoice(ctx context.Context, in *putInvoiceInput) (*answer[client.InvoiceSettings], error) {
	s, err := domainInvoiceSettings(&in.Body)
	if err != nil {
		return nil, err
	}
	if _, err := currency.ParseISO(s.Currency); err != nil {
		return nil, invalidField("currency", "is %q, which is no currency of ISO 4217; use a code like USD", s.Currency)
	}
	if err := a.propose(ctx, fsm.PutInvoice{Account: in.Account, Settings: s}); err != nil {
		return nil, err
	}
	return a.getInvoice(ctx, &getInvoiceInput{in.Account})
}

// domainInvoiceSettings fills in what the contract lets a caller leave out.
func domainInvoiceSettings(x *client.InvoiceSettings) (s fsm.InvoiceSettings, err error) {
	s = fsm.InvoiceSettings{
		Seller: domainParty(&x.Seller), Buyer: domainParty(&x.Buyer), TaxNote: x.TaxNote,
		Currency: cmp.Or(x.Currency, "USD"), Capability: cmp.Or(x.Capability, fsm.CapUSD), DueDays: x.DueDays,
		CloseLagMS: fsm.DefaultCloseLag.Milliseconds(), Layout: fsm.DefaultLayout(),
	}
	if x.CloseLagHours != nil {
		s.CloseLagMS = (time.Duration(*x.CloseLagHours) * time.Hour).Milliseconds()
	}
	if n := x.Numbers; n != nil {
		s.Numbers = fsm.NumberSequence{Prefix: n.Prefix, Digits: max(1, n.Digits), Next: n.Next}
	}
	if x.Layout != nil {
		s.Layout, err = domainLayout("layout", x.Layout)
	}
	return s, err
}

func wireInvoiceSettings(s *fsm.InvoiceSettings) client.InvoiceSettings {
	lag, layout := int(time.Duration(s.CloseLagMS)*time.Millisecond/time.Hour), wireLayout(s.Layout)
	w := client.InvoiceSettings{
		Seller: wireParty(&s.Seller), Buyer: wireParty(&s.Buyer), TaxNote: s.TaxNote, Currency: s.Currency, Capability: s.Capability,
		DueDays: s.DueDays, CloseLagHours: &lag, Layout: &layout, UpdatedAt: momentOrNull(s.UpdatedAt),
	}
	if n := s.Numbers; n.Next != 0 {
		w.Numbers = &client.InvoiceNumbers{Prefix: n.Prefix, Digits: n.Digits, Next: n.Next}
	}
	return w
}

func wireParty(p *fsm.Party) client.Party {
	return client.Party{Name: p.Name, Address: orNone(p.Address), TaxID: p.TaxID, Contact: p.Contact}
}

func domainParty(p *client.Party) fsm.Party {
	return fsm.Party{Name: p.Name, Address: p.Address, TaxID: p.TaxID, Contact: p.Contact}
}
