package enforcer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Of every refusal that a slot's numbers prove, used + reserved + requested > limit
// holds, and nothing is negative: where more is used than the limit, too.
func TestARefusalIsAProofInItsOwnNumbers(t *testing.T) {
	e := &Enforcer{}
	now := time.Now().UnixMilli()
	rng := rand.New(rand.NewPCG(1, 2))
	refusals, past := 0, 0
	for range 20_000 {
		b := fsm.Budget{Limit: rng.Int64N(100), Used: rng.Int64N(150), Gen: 1}
		for node := fsm.NodeNum(1); node <= 4; node++ {
			if rng.IntN(2) == 0 {
				b.Leases = append(b.Leases, fsm.Lease{Node: node, Amount: 1 + rng.Int64N(60)})
			}
		}
		if b.Holder = fsm.NodeNum(rng.IntN(4)); b.Holder != 0 {
			b.Acks = []fsm.NodeNum{1, 2, 3}[:rng.IntN(4)]
		}
		s := testSlot(b)
		item := new(planItem)
		item.shown.Store(&fsm.Assignment{Limit: b.Limit})
		sc := &scratch{targets: []target{{item: item, level: new(compiled), slot: s, amount: rng.Int64N(120)}}}
		to := &sc.targets[0]
		v, p := s.judgeNow(to.amount, rng.IntN(2) == 0)
		if v != refused && v != tooLarge {
			continue
		}
		var d Decision
		e.deny(&Call{Explain: true}, &d, sc, to, p, v, now)
		r := d.Denied
		refusals++
		if r.Used > r.Limit {
			past++
		}
		if r.Used+r.Reserved+d.Requested <= r.Limit || r.Reserved < 0 || r.Remaining < 0 || r.Used > r.Limit && r.Reserved != 0 {
			t.Fatalf("of %+v, %d refused with used %d + reserved %d + requested %d against limit %d", b, to.amount, r.Used, r.Reserved, d.Requested, r.Limit)
		}
		if d.Chain[0] != r {
			t.Fatalf("the chain shows %+v, denied_by %+v", d.Chain[0], r)
		}
	}
	if refusals < 1_000 || past < 100 {
		t.Errorf("%d refusals, %d of them past the limit: too few to prove anything", refusals, past)
	}
}

func TestARefusalPastALimitThatWasCut(t *testing.T) {
	n := newSoloNode(t)
	n.post("/v1/ingest", events(event("e", `,"usage":{"tokens":900}`)))
	n.assign("team", fsm.CapTokens, 100, fsm.EveryMonth, fsm.Hard)
	for body, code := range map[string]string{
		`{"account":"acme","entities":["alice"],"usage":{"tokens":1},"explain":true}`:                         "budget_exhausted",
		`{"account":"acme","entities":["alice"],"usage":{"tokens":100},"reserve_ttl_ms":1000,"explain":true}`: "budget_exhausted",
		`{"account":"acme","entities":["alice"],"usage":{"tokens":101},"explain":true}`:                       "exceeds_limit",
	} {
		a := n.post("/v1/check", body)
		by, _ := a.json["denied_by"].(map[string]any)
		row := a.json["chain"].([]any)[0].(map[string]any)
		if a.code() != code || by["limit"] != 100.0 || by["used"] != 900.0 || by["reserved"] != 0.0 || row["reserved"] != 0.0 || row["remaining"] != 0.0 {
			t.Errorf("want %s with 900 of 100 used and nothing reserved, got %s", code, a.text)
		}
	}
}
