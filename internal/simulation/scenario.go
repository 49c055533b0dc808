package simulation

import (
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Scenario is what a seed decides about a run before it begins.
type Scenario struct {
	Nodes    int
	Clients  int
	Duration time.Duration // of the chaos

	RedLimit, AliceLimit, BlueLimit int64
	LargestCall                     int64
	Unreserved                      bool          // some callers do not reserve
	Pace                            time.Duration // between a caller's calls, at most
	Faults                          []fault
	FaultEvery                      time.Duration // between two of them, at most
	Admin                           []adminAct
	Edge                            time.Duration // after the start, a minute ends
	ClockError                      time.Duration // how far a machine's clock is from true time, at most

	SnapshotThreshold, TrailingLogs                           uint64
	SnapshotInterval, ChecksumEvery, DiskStall, CommitTimeout time.Duration
}

// The tree of the account, and who moves in it:
//
//	acme           soft, without end: what is metered and never refused
//	├─ red         hard, without end
//	│  ├─ alice    hard, without end
//	│  └─ bob
//	└─ blue        hard, every minute
//	   ├─ carol    moves between red and blue
//	   └─ dave     is archived and brought back
const account = "acme"

var teams = []string{"red", "blue"}

// moves reports whether an entity is moved between teams.
func (w *World) moves(entity string) bool { return entity == "carol" }

// mayGovern returns the entities whose hard limits may apply to calls of an entity.
func (w *World) mayGovern(entity string) []string {
	switch entity {
	case "alice":
		return []string{"alice", "red"}
	case "bob":
		return []string{"red"}
	case "carol":
		return teams
	}
	return []string{"blue"}
}

// budgetAt returns the budget of an entity's hard limit at a time.
func (w *World) budgetAt(entity string, at time.Time) budgetID {
	id := budgetID{entity: entity}
	if entity == "blue" {
		id.start = at.Truncate(time.Minute).Unix()
	}
	return id
}

// draw decides a scenario.
func draw(seed uint64) Scenario {
	d := newDice(seed, streamScenario)
	c := Scenario{
		Nodes:         3,
		Clients:       int(d.between(2, 4)),
		Duration:      d.wait(2*time.Second, 5*time.Second),
		Unreserved:    d.chance(20),
		Pace:          pick(d, 40*time.Millisecond, 120*time.Millisecond, 300*time.Millisecond),
		FaultEvery:    pick(d, 600*time.Millisecond, 1500*time.Millisecond, 3*time.Second),
		Edge:          d.wait(3*time.Second, 25*time.Second),
		ChecksumEvery: 3 * time.Second,
		DiskStall:     time.Hour, // see harmDisk
		CommitTimeout: pick(d, 50*time.Millisecond, 150*time.Millisecond),
	}
	c.RedLimit = pick(d, int64(8), 40, 150, 600, 2500)
	c.AliceLimit = max(3, c.RedLimit*d.between(30, 120)/100)
	c.BlueLimit = pick(d, int64(8), 60, 400)
	c.LargestCall = pick(d, int64(1), 3, max(1, c.RedLimit/10))
	if d.chance(8) {
		c.Nodes = 5
	}
	if d.chance(40) {
		c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 16, 8, 300*time.Millisecond
	}
	for range d.between(1, 4) {
		c.Faults = append(c.Faults, pick(d, allFaults...))
	}
	for range d.between(0, 3) {
		c.Admin = append(c.Admin, pick(d, allAdminActs...))
	}
	if d.chance(4) {
		c.Faults, c.Duration = append(c.Faults, longPartition), 16*time.Second
	}
	if d.chance(50) {
		// Two clocks differ by less than the margin of a draw's life, however they jump.
		c.ClockError = pick(d, 300*time.Millisecond, 1*time.Second, 2*time.Second)
		if c.ClockError <= time.Second && d.chance(50) {
			c.Faults = append(c.Faults, clockJump)
		}
	}
	return c
}

func (c Scenario) String() string {
	return fmt.Sprintf("%d nodes, %d clients, %v, limits red %d alice %d blue %d, calls up to %d, unreserved %v, pace %v, faults %v every %v, admin %v, edge %v, clocks within %v, snapshots every %d, commit timeout %v",
		c.Nodes, c.Clients, c.Duration, c.RedLimit, c.AliceLimit, c.BlueLimit, c.LargestCall, c.Unreserved, c.Pace, c.Faults, c.FaultEvery, c.Admin, c.Edge, c.ClockError, c.SnapshotThreshold, c.CommitTimeout)
}

func assignment(entity string, limit int64, every fsm.Every, e fsm.Enforcement) fsm.AssignmentPut {
	return fsm.AssignmentPut{Assignment: fsm.Assignment{
		ID: "asg_" + entity, Entity: entity, Capability: fsm.CapRequests, Limit: limit,
		Cadence: fsm.Cadence{Every: every, Timezone: "UTC"}, Enforcement: e, Mode: fsm.Cap,
	}}
}

func cadenceOf(entity string) fsm.Every {
	if entity == "blue" {
		return fsm.EveryMinute
	}
	return fsm.EveryNever
}

// tree returns the commands that build the tree.
func (w *World) tree() []fsm.Body {
	return []fsm.Body{
		fsm.PutAccount{ID: account},
		fsm.PutEntityTypes{Items: []fsm.EntityType{{ID: "team"}, {ID: "user"}}},
		fsm.PutEntities{Account: account, Items: []fsm.Entity{
			{ID: "red", Type: "team"}, {ID: "blue", Type: "team"},
			{ID: "alice", Type: "user", Parent: "red"}, {ID: "bob", Type: "user", Parent: "red"},
			{ID: "carol", Type: "user", Parent: "blue"}, {ID: "dave", Type: "user", Parent: "blue"},
		}},
		fsm.PutAssignments{Account: account, Items: []fsm.AssignmentPut{
			assignment(account, 10, fsm.EveryNever, fsm.Soft),
			assignment("red", w.c.RedLimit, fsm.EveryNever, fsm.Hard),
			assignment("alice", w.c.AliceLimit, fsm.EveryNever, fsm.Hard),
			assignment("blue", w.c.BlueLimit, fsm.EveryMinute, fsm.Hard),
		}},
		fsm.PutToken{Token: token(rootToken)},
	}
}

// rows calls f for every assignment with its present budget.
func rows(v *fsm.View, f func(entity string, b fsm.Budget)) {
	for _, entity := range []string{account, "red", "alice", "blue"} {
		for _, a := range v.Assignments(account, entity) {
			start, _ := a.Cadence.Period(time.Now().UnixMilli())
			f(entity, v.Budget(a, start))
		}
	}
}
