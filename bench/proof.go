package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/internal/pause"
)

// Proof compares three independent accounts of the same calls: the trace, for
// the calls whose events were acknowledged; the ledger, line by line; the
// balances of every budget.
type Proof struct {
	Trace    sums     `json:"trace"`    // of the calls recorded, from the trace's own numbers
	Ledger   sums     `json:"ledger"`   // of the ledger's lines
	Balances sums     `json:"balances"` // of the org's budgets; input and output are only known together there
	Lines    int      `json:"lines"`
	Budgets  int      `json:"budgets"` // compared
	Faults   []string `json:"faults,omitempty"`
}

// maxFaults bounds what a proof lists.
const maxFaults = 20

// Holds reports whether everything agreed to the unit.
func (p *Proof) Holds() bool { return len(p.Faults) == 0 }

func (p *Proof) fault(format string, args ...any) {
	if len(p.Faults) < maxFaults {
		p.Faults = append(p.Faults, fmt.Sprintf(format, args...))
	}
}

// prove reads ledger and balances, waiting up to Settle for the last
// reservations to be settled: an event acknowledged by a single node is on its way.
func (n *run) prove(ctx context.Context) (*Proof, error) {
	deadline := time.Now().Add(n.Settle)
	for {
		p, err := n.proveOnce(ctx)
		if err != nil || p.Holds() || time.Now().After(deadline) {
			return p, err
		}
		if !pause.For(ctx, 200*time.Millisecond) {
			return p, ctx.Err()
		}
	}
}

func (n *run) proveOnce(ctx context.Context) (*Proof, error) {
	p := new(Proof)
	inLedger, err := n.readLedger(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	for i := range n.recorded {
		if !inLedger[i] {
			p.fault("event %s was acknowledged and is not in the ledger", eventID(i))
		}
	}
	// What every entity must have used, from the trace alone.
	want := map[string]sums{}
	for i := range inLedger {
		c := n.Calls[i]
		p.Trace.add(1, c.Input, c.Output)
		for _, id := range n.tree.chain(n.who[i]) {
			s := want[id]
			s.add(1, c.Input, c.Output)
			want[id] = s
		}
	}
	if p.Trace != p.Ledger {
		p.fault("trace %+v, ledger %+v", p.Trace, p.Ledger)
	}
	if err := n.compareBalances(ctx, p, want); err != nil {
		return nil, fmt.Errorf("reading the balances: %w", err)
	}
	return p, nil
}

// readLedger checks every line against the trace and returns the calls found.
func (n *run) readLedger(ctx context.Context, p *Proof) (map[int]bool, error) {
	found := map[int]bool{}
	for l, err := range n.Admin.Ledger(ctx, n.Account, client.LedgerFilter{}) {
		if err != nil {
			return nil, err
		}
		p.Lines++
		var i int
		if _, err := fmt.Sscanf(l.EventID, "trace-%d", &i); err != nil || i < 0 || i >= len(n.Calls) || eventID(i) != l.EventID {
			p.fault("line %d: event %q is none of the trace's", l.Seq, l.EventID)
			continue
		}
		c := n.Calls[i]
		switch {
		case found[i]:
			p.fault("line %d: event %s is in the ledger twice", l.Seq, l.EventID)
		case !n.recorded[i] && !n.unknown[i]:
			p.fault("line %d: event %s was never sent or was refused", l.Seq, l.EventID)
		case l.Usage["requests"] != 1 || l.Usage["input_tokens"] != c.Input || l.Usage["output_tokens"] != c.Output || l.Usage["tokens"] != c.Input+c.Output:
			p.fault("line %d: event %s: usage %v, the trace says input %d, output %d", l.Seq, l.EventID, l.Usage, c.Input, c.Output)
		}
		found[i] = true
		p.Ledger.add(l.Usage["requests"], l.Usage["input_tokens"], l.Usage["output_tokens"])
	}
	return found, nil
}

// compareBalances checks every budget's used against the trace, and that nothing is left reserved or in doubt.
func (n *run) compareBalances(ctx context.Context, p *Proof, want map[string]sums) error {
	for b, err := range n.Admin.Balances(ctx, n.Account, client.AssignmentFilter{}) {
		if err != nil {
			return err
		}
		p.Budgets++
		w := want[b.Entity].tokens()
		if b.Capability == "requests" {
			w = want[b.Entity].Requests
		}
		if b.Used != w {
			p.fault("%s of %s: used %d, the trace says %d", b.Capability, b.Entity, b.Used, w)
		}
		if b.Reserved != 0 || b.InDoubt != 0 {
			p.fault("%s of %s: reserved %d, in doubt %d, want 0 and 0", b.Capability, b.Entity, b.Reserved, b.InDoubt)
		}
		if b.Enforcement == "hard" && b.Limit != nil && b.Used > *b.Limit {
			p.fault("%s of %s: used %d of a hard limit of %d", b.Capability, b.Entity, b.Used, *b.Limit)
		}
		if b.Entity == "org" {
			if b.Capability == "requests" {
				p.Balances.Requests = b.Used
			} else {
				p.Balances.Input = b.Used
			}
		}
	}
	return nil
}
