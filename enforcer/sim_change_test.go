package enforcer

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// underChange runs callers while change goes on until stop is closed, and then
// spends the rest to the last unit.
func underChange(t *testing.T, nodes int, entity string, d *driver, callers int, life time.Duration, change func(s *sim, stop <-chan struct{})) {
	for seed := range seeds() {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, nodes, seed)
				defer s.close()
				d := &driver{s: s, limit: d.limit, ttl: d.ttl, forgets: d.forgets, archives: d.archives}
				d.num = s.assign(entity, d.limit, fsm.EveryNever)
				s.driver = d
				var all sync.WaitGroup
				stop := make(chan struct{})
				all.Go(func() { change(s, stop) })
				d.load(callers, life, s.anyUp, s.sizes(3))
				close(stop)
				all.Wait()
				d.exhaust()
				d.report(t)
			})
		})
	}
}

// every calls f at random times until stop is closed.
func (s *sim) every(stop <-chan struct{}, about time.Duration, f func()) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(s.between(about/2, about)):
			f()
		}
	}
}

// Machines crash and lose what was not synced; a node that comes back waits until
// what it may have forgotten is over.
func TestNothingIsOverspentOrLostWhenMachinesCrash(t *testing.T) {
	underChange(t, 3, "team", &driver{limit: 1_500, ttl: 3 * time.Second, forgets: true}, 8, time.Minute,
		func(s *sim, stop <-chan struct{}) { s.driver.disrupt(stop, time.Second, reboot) })
}

// A node stops applying for a moment and gets a snapshot instead of what it has
// missed, with holds, draws and pending lines of its own.
func TestNothingIsOverspentOrLostWhenSnapshotsAreInstalled(t *testing.T) {
	for _, limit := range []int64{900, 300} {
		underChange(t, 3, "team", &driver{limit: limit}, 24, 6*time.Second, func(s *sim, stop <-chan struct{}) {
			s.every(stop, 500*time.Millisecond, func() {
				behind, ahead := s.node(2), s.node(3)
				if s.chance(func(faults) int { return 50 }) {
					behind, ahead = ahead, behind
				}
				behind.set(&behind.late, true)
				time.Sleep(s.between(50*time.Millisecond, 400*time.Millisecond))
				var snap bytes.Buffer
				index, err := ahead.m.WriteSnapshot(&snap)
				if err != nil {
					s.t.Error(err)
				}
				s.note("node %d gets a snapshot of %d", behind.num, index)
				s.mu.Lock()
				behind.snap, behind.late = snap.Bytes(), false
				s.mu.Unlock()
				time.Sleep(100 * time.Millisecond)
			})
		})
	}
}

// One node joins, another leaves in order and is forfeited once what it had given out is over.
func TestNothingIsOverspentOrLostWhenMembersChange(t *testing.T) {
	underChange(t, 3, "team", &driver{limit: 900, ttl: 3 * time.Second, forgets: true}, 16, 15*time.Second, func(s *sim, stop <-chan struct{}) {
		time.Sleep(time.Second)
		s.note("node 4 joins")
		s.commit(fsm.AdmitNode{Name: "n4", Addr: "x"})
		added := s.spare(4)
		added.start()
		added.awaitReady()
		time.Sleep(2 * time.Second)
		leaver := s.node(2)
		s.driver.doubt(true)
		s.note("node 2 drains")
		if err := leaver.e.Drain(s.t.Context()); err != nil {
			s.t.Error(err)
		}
		leaver.kill()
		s.note("node 2 is removed")
		s.commit(fsm.RemoveNode{Name: "n2"})
		<-stop
		time.Sleep(5 * time.Second)
		s.commit(fsm.Forfeit{Name: "n2"})
		s.settle()
	})
}

// The limit is cut, below what is used too, and raised again.
func TestNothingIsOverspentOrLostWhenLimitsChange(t *testing.T) {
	const most = 600
	underChange(t, 3, "team", &driver{limit: most}, 16, 10*time.Second, func(s *sim, stop <-chan struct{}) {
		s.every(stop, time.Second, func() { s.driver.relimit(100 + s.sizes(most-100)()) }) // none is smaller than a call
		s.driver.relimit(2 * most)
		time.Sleep(time.Second)
	})
}

// relimit changes the limit. Until all nodes have applied it either may decide.
func (d *driver) relimit(limit int64) {
	d.mu.Lock()
	d.recent = append(d.recent, formerLimit{d.limit, time.Now()})
	d.limit = limit
	d.mu.Unlock()
	d.s.note("limit %d", limit)
	d.s.assign("team", limit, fsm.EveryNever)
	d.mu.Lock()
	d.recent[len(d.recent)-1].until = time.Now()
	d.mu.Unlock()
}

// Alice moves between teams and is archived now and then; all levels are hard, and
// the root's budget is what counts.
func TestNothingIsOverspentOrLostWhenEntitiesMove(t *testing.T) {
	const limit = 700
	underChange(t, 3, simAccount, &driver{limit: limit, archives: true}, 16, 8*time.Second, func(s *sim, stop <-chan struct{}) {
		s.commit(fsm.PutEntities{Account: simAccount, Items: []fsm.Entity{{ID: "team2", Type: "team"}}})
		for _, e := range []string{"team", "team2", "alice"} {
			s.assign(e, 2*limit, fsm.EveryNever)
		}
		parent, archived := "team", false
		s.every(stop, 300*time.Millisecond, func() {
			if s.chance(func(faults) int { return 70 }) && !archived {
				parent = map[string]string{"team": "team2", "team2": "team"}[parent]
				s.note("alice goes to %s", parent)
				s.commit(fsm.MoveEntity{Account: simAccount, ID: "alice", Parent: parent})
				return
			}
			archived = !archived
			s.note("alice archived %v", archived)
			s.commit(fsm.ArchiveEntity{Account: simAccount, ID: "alice", Archived: archived})
		})
		s.commit(fsm.ArchiveEntity{Account: simAccount, ID: "alice"})
		s.settle()
	})
}
