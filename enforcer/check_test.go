package enforcer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// deep gives the account a chain of entities l1 ← … ← ln, each with a large hard
// budget of every capability named.
func (s *sim) deep(levels int, capabilities ...string) {
	parent := simAccount
	for i := range levels {
		id := fmt.Sprintf("l%d", i+1)
		if i > 0 {
			s.commit(fsm.PutEntities{Account: simAccount, Items: []fsm.Entity{{ID: id, Type: "team", Parent: parent}}})
		} else {
			id = simAccount
		}
		parent = id
		for _, c := range capabilities {
			s.put(fsm.Assignment{Entity: id, Capability: c, Limit: 1 << 50, Cadence: fsm.Cadence{Every: fsm.EveryMonth, Timezone: "UTC"}})
		}
	}
	s.settle()
}

// put makes an assignment, hard and capped unless it says otherwise.
func (s *sim) put(a fsm.Assignment) {
	if a.Enforcement == "" {
		a.Enforcement = fsm.Hard
	}
	if a.Cadence.Every == "" {
		a.Cadence = fsm.Cadence{Every: fsm.EveryNever, Timezone: "UTC"}
	}
	a.Mode, a.Account = fsm.Cap, simAccount
	s.mu.Lock()
	a.ID = fmt.Sprintf("asg_%d", len(s.log))
	s.mu.Unlock()
	s.commit(fsm.PutAssignments{Account: simAccount, Items: []fsm.AssignmentPut{{Assignment: a}}})
}

// callFor builds a call.
func callFor(entities []string, ttl int64, usage ...fsm.Quantity) *Call {
	c := &Call{Account: []byte(simAccount), ReserveTTL: ttl}
	for _, e := range entities {
		c.Entities = append(c.Entities, []byte(e))
	}
	for _, u := range usage {
		c.Usage = append(c.Usage, Usage{Capability: []byte(u.Capability), Amount: u.Amount})
	}
	return c
}

func reqs(n int64) fsm.Quantity { return fsm.Quantity{Capability: fsm.CapRequests, Amount: n} }

func toks(n int64) fsm.Quantity { return fsm.Quantity{Capability: fsm.CapTokens, Amount: n} }

// TestGrantedCallsAllocateNothing covers a chain of five levels with two
// capabilities each, a check and a reservation, the real journal included.
func TestGrantedCallsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := newSim(t, 1, 1)
	defer s.close()
	s.deep(5, fsm.CapRequests, fsm.CapTokens)
	e := s.node(1).e
	var d Decision
	run := func(c *Call) func() {
		return func() {
			d.Reset()
			if err := e.Check(t.Context(), c, &d); err != nil || !d.Allowed {
				t.Fatalf("%+v, %v", d, err)
			}
		}
	}
	check := callFor([]string{"l5"}, 0, reqs(1), toks(100))
	reserve := callFor([]string{"l5"}, 60_000, reqs(1), toks(100))
	for range 2_000 {
		run(reserve)()
	}
	e.expire(e.now() + 120_000) // what has been is reused
	if n := testing.AllocsPerRun(500, run(check)); n != 0 {
		t.Errorf("a granted check allocates %v times", n)
	}
	if n := testing.AllocsPerRun(500, run(reserve)); n != 0 {
		t.Errorf("a granted reservation allocates %v times", n)
	}
	if len(d.Remaining) != 2 || d.ReservationN != MaxReservationID {
		t.Errorf("decision %+v", d)
	}
}

func TestWhatACallMatchesDecidesIt(t *testing.T) {
	s := newSim(t, 1, 1)
	defer s.close()
	s.commit(fsm.PutEntities{Account: simAccount, Items: []fsm.Entity{
		{ID: "bob", Type: "user", Parent: "team"}, {ID: "agent", Type: "user"}, {ID: "old", Type: "user"},
	}})
	s.commit(fsm.ArchiveEntity{Account: simAccount, ID: "old", Archived: true})
	s.put(fsm.Assignment{Entity: "team", Capability: fsm.CapRequests, Limit: 10})
	s.put(fsm.Assignment{Entity: "alice", Capability: fsm.CapTokens, Limit: 5})
	s.put(fsm.Assignment{Entity: "bob", Capability: fsm.CapRequests, Limit: 3, Scope: []string{"agent"}})
	s.put(fsm.Assignment{Entity: simAccount, Capability: fsm.CapTokens, Limit: 100, Enforcement: fsm.Soft})
	s.settle()
	for _, c := range []struct {
		name string
		call *Call
		code Code
		left map[string]int64
	}{
		{"up the tree", callFor([]string{"alice"}, 0, reqs(1)), CodeOK, map[string]int64{"requests": 10}},
		{"several capabilities", callFor([]string{"alice"}, 0, reqs(1), toks(5)), CodeOK, map[string]int64{"requests": 10, "tokens": 5}},
		{"no budget of it", callFor([]string{"team"}, 0, fsm.Quantity{Capability: fsm.CapUSD, Amount: 1}), CodeUngoverned, nil},
		{"a scope that is not in the chain", callFor([]string{"bob"}, 0, reqs(4)), CodeOK, map[string]int64{"requests": 10}},
		{"a scope that another entity brings", callFor([]string{"bob", "agent"}, 0, reqs(3)), CodeOK, map[string]int64{"requests": 3}},
		{"and it decides", callFor([]string{"agent", "bob"}, 0, reqs(4)), CodeExceedsLimit, nil},
		{"each assignment once", callFor([]string{"alice", "bob"}, 0, reqs(10)), CodeOK, map[string]int64{"requests": 10}},
		{"more than the whole limit", callFor([]string{"alice"}, 0, toks(6)), CodeExceedsLimit, nil},
		{"derived tokens", callFor([]string{"alice"}, 0, fsm.Quantity{Capability: fsm.CapInputTokens, Amount: 4},
			fsm.Quantity{Capability: fsm.CapOutputTokens, Amount: 2}), CodeExceedsLimit, nil},
		{"an entity never provisioned hangs under the root", callFor([]string{"nobody"}, 0, toks(7)), CodeOK, map[string]int64{"tokens": 100}},
		{"a soft limit is passed", callFor([]string{"nobody"}, 0, toks(101)), CodeOK, map[string]int64{"tokens": 100}},
		{"archived", callFor([]string{"old"}, 0, reqs(1)), CodeEntityArchived, nil},
		{"a key", &Call{Key: []byte("bk_x"), Usage: []Usage{{Capability: []byte("requests"), Amount: 1}}}, CodeKeyUnknown, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decision
			if err := s.node(1).e.Check(t.Context(), c.call, &d); err != nil || d.Code != c.code {
				t.Fatalf("got %s, %v, want %s", d.Code, err, c.code)
			}
			if d.Allowed != (c.code == CodeOK || c.code == CodeUngoverned) {
				t.Errorf("allowed is %v with %s", d.Allowed, d.Code)
			}
			for _, r := range d.Remaining {
				if r.Amount != c.left[r.Capability] {
					t.Errorf("%d of %s remain, want %d", r.Amount, r.Capability, c.left[r.Capability])
				}
			}
			if d.Allowed && len(d.Remaining) != len(c.left) {
				t.Errorf("remaining %v, want %v", d.Remaining, c.left)
			}
			if c.name == "a soft limit is passed" && len(d.Warnings) != 1 {
				t.Errorf("warnings %v", d.Warnings)
			}
		})
	}
	var bad *RequestError
	var d Decision
	if err := s.node(1).e.Check(t.Context(), callFor([]string{"alice"}, 0, fsm.Quantity{Capability: "images", Amount: 1}), &d); !errors.As(err, &bad) {
		t.Errorf("an unknown capability gives %v", err)
	}
	if err := s.node(1).e.Check(t.Context(), &Call{Account: []byte("x"), Entities: [][]byte{[]byte("y")}}, &d); !errors.Is(err, ErrAccountNotFound) {
		t.Errorf("an unknown account gives %v", err)
	}
}

func TestAChangeOfConfigurationCountsAtOnce(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 1, 1)
		defer s.close()
		expect := func(want Code) {
			t.Helper()
			s.settle()
			d, err := s.node(1).check(5, 0)
			if err != nil || d.Code != want {
				t.Fatalf("got %s, %v, want %s", d.Code, err, want)
			}
		}
		expect(CodeUngoverned)
		s.assign("team", 4, fsm.EveryDay)
		expect(CodeExceedsLimit)
		s.commit(fsm.MoveEntity{Account: simAccount, ID: "alice", Parent: simAccount})
		expect(CodeUngoverned)
		s.commit(fsm.MoveEntity{Account: simAccount, ID: "alice", Parent: "team"})
		expect(CodeExceedsLimit)
		s.assign("team", 10, fsm.EveryDay)
		expect(CodeOK)
		s.commit(fsm.FreezeAccount{ID: simAccount, Frozen: true})
		expect(CodeAccountFrozen)
		s.commit(fsm.FreezeAccount{ID: simAccount})
		s.commit(fsm.DeleteAssignment{Account: simAccount, ID: "asg_teamday"})
		expect(CodeUngoverned)
	})
}
