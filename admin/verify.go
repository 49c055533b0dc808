package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// maxVerifications is how many ledgers a node verifies at once. One reads as fast as the disk gives, and pins the state of its beginning on it.
const maxVerifications = 1

// The pace of a verification.
const (
	verifyRest     = 50 * time.Millisecond // the longest it rests at once; it rests as long as it works
	verifyProgress = time.Second           // between two lines of progress, in the answer; in the log it is ten times that
)

func (a *api) verifyRoutes() {
	rt := route{method: http.MethodGet, path: "/v1/accounts/{account}/ledger/verify", id: "verify-ledger", tag: "ledger",
		summary: "Recompute balances, sums, statements and the hash chain from the account's lines on this node; Accept: application/x-ndjson streams progress", reach: ofAccount}
	op := a.operation(&rt)
	op.Responses["200"] = &huma.Response{
		Description: http.StatusText(http.StatusOK),
		Content: map[string]*huma.MediaType{
			typeJSON:   {Schema: schemaOf[client.LedgerVerification](a)},
			typeNDJSON: {Schema: schemaOf[client.VerifyReport](a)},
		},
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *verifyInput) (*huma.StreamResponse, error) {
		out, err := a.verifyLedger(in)
		if err != nil {
			p := problemOf(err)
			a.logProblem(ctx, p, whoAsks(ctx).request)
			return nil, p
		}
		return out, nil
	})
}

type verifyInput struct {
	Account string `path:"account"`
	Accept  string `header:"Accept" hidden:"true"`
}

// verifyLedger answers with what a verification finds. One that cannot be finished is cut off.
func (a *api) verifyLedger(in *verifyInput) (*huma.StreamResponse, error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	select {
	case a.verifies <- struct{}{}:
	default:
		return nil, newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is verifying a ledger already; try another node, or again when that is done")
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { <-a.verifies }()
		r, w := humago.Unwrap(hc)
		streamed := streamType(in.Accept) == typeNDJSON
		w.Header().Set("Content-Type", typeJSON)
		if streamed {
			w.Header().Set("Content-Type", typeNDJSON)
		}
		w.Header().Set(headerIndex, strconv.FormatUint(index, 10))
		log := a.log.With("request", w.Header().Get(headerRequestID), "account", in.Account)
		rc := http.NewResponseController(w)
		p := &verifyPace{worked: time.Now(), told: time.Now(), logged: time.Now()}
		p.tell = func(done, total uint64) error {
			rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // unsupported only by recorders in tests
			if time.Since(p.logged) >= 10*verifyProgress {
				p.logged = time.Now()
				log.Info("verifying a ledger", "done", done, "total", total)
			}
			if !streamed {
				return nil
			}
			if err := json.NewEncoder(w).Encode(client.VerifyReport{Progress: &client.VerifyProgress{Done: done, Total: total}}); err != nil {
				return err
			}
			return rc.Flush()
		}
		found, err := a.machine.VerifyLedger(r.Context(), in.Account, fsm.VerifyOptions{Step: p.step(r.Context())})
		if err != nil {
			log.Info("verification cut off", "err", err)
			panic(http.ErrAbortHandler)
		}
		for i := range found.Faults {
			f := &found.Faults[i]
			log.Error("the ledger is not as its lines say", "kind", f.Kind, "seq", f.Seq, "event", f.EventID, "where", f.Where, "expected", f.Want, "found", f.Found)
		}
		rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // unsupported only by recorders in tests
		result := Verification(found)
		if streamed {
			json.NewEncoder(w).Encode(client.VerifyReport{Result: &result}) // an error here is a caller who has gone
			return
		}
		json.NewEncoder(w).Encode(&result) // the same
	}}, nil
}

// verifyPace makes a verification rest as long as it works, so that it never has more than half of a processor.
type verifyPace struct {
	worked, told, logged time.Time
	tell                 func(done, total uint64) error
}

func (p *verifyPace) step(ctx context.Context) func(done, total uint64) error {
	return func(done, total uint64) error {
		if time.Since(p.told) >= verifyProgress {
			p.told = time.Now()
			if err := p.tell(done, total); err != nil {
				return err
			}
		}
		rest := time.NewTimer(min(verifyRest, time.Since(p.worked)))
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.worked = time.Now()
		return nil
	}
}

// Verification states on the wire what a verification found.
func Verification(v *fsm.LedgerVerification) client.LedgerVerification {
	w := client.LedgerVerification{
		Account: v.Account, Valid: v.Sound(), Index: v.Index, Lines: v.Lines, FirstSeq: v.First, LastSeq: v.Last, ChainFrom: v.ChainFrom, DroppedThrough: v.Dropped,
		Checked:   client.VerifiedRows{Events: v.Events, IndexRows: v.IndexRows, Budgets: v.Budgets, Sums: v.Sums, Statements: v.Statements},
		Unchecked: client.VerifiedRows{Budgets: v.UncheckedBudgets, Sums: v.UncheckedSums, Statements: v.UncheckedStatements},
		Faults:    []client.LedgerFault{}, FaultCount: v.FaultCount,
	}
	if v.Head != ([32]byte{}) {
		w.Head = hex.EncodeToString(v.Head[:])
	}
	for _, f := range v.Faults {
		w.Faults = append(w.Faults, client.LedgerFault{Kind: f.Kind, Seq: f.Seq, EventID: f.EventID, Where: f.Where, Expected: f.Want, Found: f.Found})
	}
	return w
}
