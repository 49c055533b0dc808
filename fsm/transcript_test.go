package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts replays the conversations in testdata/transcripts: what was
// proposed, and the budget that every replica has afterwards. They are meant to
// be read. After a change that is meant, `go test ./fsm -run TestTranscripts
// -rewrite` writes down what happens; read the difference before committing it.
//
// One assignment, one account, three nodes in their first session, and:
//
//	assign limit=1000 [every=day]         makes the assignment and shows its budget
//	ask node=1 [need=5] [sum=9] [want=40] needMin, needSum and want of one ask
//	settle node=1 id=e1 amount=30 [drawn=30] [on=1] [boot=1] [body=other] [ago=24h]
//	release node=2 seq=1 amount=100 [final] [gen=1] [boot=1]
//	exit node=1 gen=1
//	boot, dead, recover, drain, remove, forfeit   node=1 [boot=2] [keep=10] [charge]
//	limit to=500        advance by=24h        show
//
// leader=2 on any of them has node 2 propose it.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := &transcript{rig: newRig(t)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			s.leader = NodeNum(s.number(d, "leader", 1))
			return s.run(d)
		})
	})
}

// transcript is a rig that is told what to do by a file.
type transcript struct {
	*rig
	leader     NodeNum
	assignment *Assignment
	shown      BudgetKey // the period that show and the answers are about
}

func (s *transcript) run(d *datadriven.TestData) string {
	node := NodeNum(s.number(d, "node", 1))
	boot := uint64(s.number(d, "boot", 1))
	part := Part{Node: node, Boot: boot}
	name := fmt.Sprintf("n%d", node)
	switch d.Cmd {
	case "assign":
		s.assignment = s.assign(s.number(d, "limit", 0), per(Every(s.word(d, "every", "month"))))
		s.shown = s.period(s.assignment)
		return s.show("")
	case "limit":
		a := *s.assignment
		a.Limit = s.number(d, "to", 0)
		return s.propose(PutAssignments{Account: a.Account, Items: []AssignmentPut{{Assignment: a}}})
	case "advance":
		s.now += s.length(d, "by").Milliseconds()
		s.shown = s.period(s.assignment)
		return s.show("")
	case "show":
		return s.show("")
	case "ask":
		part.Asks = []Ask{{Budget: s.shown, NeedMin: s.number(d, "need", 0), NeedSum: s.number(d, "sum", s.number(d, "need", 0)), Want: s.number(d, "want", 0)}}
	case "release":
		part.Releases = []Release{{Seq: uint64(s.number(d, "seq", 1)), Budget: s.shown, Amount: s.number(d, "amount", 0), Final: d.HasArg("final"), Gen: uint32(s.number(d, "gen", 0))}}
	case "exit":
		part.Exits = []Exit{{Budget: s.shown, Gen: uint32(s.number(d, "gen", 0))}}
	case "settle":
		part.Events = []Event{s.spending(d, node)}
	case "boot":
		return s.propose(BootNode{Node: node, Boot: boot})
	case "dead":
		return s.propose(DeadNode{Node: node})
	case "recover":
		return s.propose(RecoverNode{Node: node, Boot: boot})
	case "drain":
		return s.propose(DrainNode{Node: node, Boot: boot, Keep: []Keep{{Budget: s.shown, Amount: s.number(d, "keep", 0)}}})
	case "remove":
		return s.propose(RemoveNode{Name: name})
	case "forfeit":
		return s.propose(Forfeit{Name: name, Charge: d.HasArg("charge")})
	default:
		d.Fatalf(s.t, "no such command")
	}
	return s.propose(Reconcile{Parts: []Part{part}})
}

// spending is an event of alice. What is not said to be drawn is an overdraft.
func (s *transcript) spending(d *datadriven.TestData, node NodeNum) Event {
	amount, budget := s.number(d, "amount", 0), s.shown
	at := s.now
	if d.HasArg("ago") {
		at -= s.length(d, "ago").Milliseconds()
		budget.Start, _ = s.assignment.Cadence.Period(at)
	}
	e := s.event(s.word(d, "id", ""), budget, amount, s.number(d, "drawn", 0), NodeNum(s.number(d, "on", int64(node))))
	e.At, e.Node = at, node
	copy(e.Hash[:], s.word(d, "body", e.ID))
	return e
}

// propose applies one entry and says what came of it.
func (s *transcript) propose(body Body) string {
	data, err := Encode(&Command{At: s.now, Leader: s.leader, Actor: Actor{Type: "token", ID: "tok_test"}, Body: body})
	if err != nil {
		s.t.Fatal(err)
	}
	s.index++
	out, err := s.m.Apply([]Entry{{Index: s.index, Term: s.term, Data: data}})
	if err != nil {
		s.t.Fatal(err)
	}
	if e := out[0].Err; e != nil {
		return s.show(fmt.Sprintf("%s: %s", e.Code, e.Message))
	}
	var said []string
	for _, grants := range out[0].Grants {
		for _, g := range grants {
			said = append(said, fmt.Sprintf("granted %d", g.Amount))
			if g.Short {
				said = append(said, "short")
			}
		}
	}
	for _, e := range s.last().Events {
		said = append(said, [...]string{Settled: "settled", Duplicate: "duplicate", IDConflict: "id conflict", Dropped: "dropped"}[e.Outcome])
	}
	return s.show(strings.Join(said, ", "))
}

// show writes the budget, and before it what was said, if anything.
func (s *transcript) show(said string) string {
	b := s.budget(s.shown)
	if said != "" {
		said += "\n"
	}
	line := fmt.Sprintf("%slimit %d  used %d  leases [%s]  free %d", said, b.Limit, b.Used, leases(b), b.Free())
	if b.Holder != 0 {
		line += fmt.Sprintf("  holder %d gen %d acks %d", b.Holder, b.Gen, b.Acks)
	}
	return line + "\n"
}

// number, word and length read an argument of a command.
func (s *transcript) number(d *datadriven.TestData, key string, otherwise int64) int64 {
	d.MaybeScanArgs(s.t, key, &otherwise)
	return otherwise
}

func (s *transcript) word(d *datadriven.TestData, key, otherwise string) string {
	d.MaybeScanArgs(s.t, key, &otherwise)
	return otherwise
}

func (s *transcript) length(d *datadriven.TestData, key string) time.Duration {
	v, err := time.ParseDuration(s.word(d, key, ""))
	if err != nil {
		d.Fatalf(s.t, "%s: %v", key, err)
	}
	return v
}
