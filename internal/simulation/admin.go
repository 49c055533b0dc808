package simulation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// adminAct is one kind of thing that administrators do.
type adminAct string

// The acts.
const (
	writeLimits  adminAct = "limits"
	moveCarol    adminAct = "moves"
	archiveDave  adminAct = "archives"
	revokeTokens adminAct = "tokens"
	joinNode     adminAct = "join"
	removeNode   adminAct = "remove"
)

var allAdminActs = []adminAct{writeLimits, writeLimits, moveCarol, archiveDave, revokeTokens, revokeTokens, joinNode, removeNode}

// rootToken is the secret of a token that is never revoked.
const rootToken = "bt_root"

func token(secret string) fsm.Token {
	return fsm.Token{ID: "tok_" + secret, Name: secret, Role: fsm.RoleService, Digest: sha256.Sum256([]byte(secret))}
}

// token returns the secret a caller uses: now and then the one that is going to be revoked.
func (w *World) token(d *dice) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doomed != "" && d.chance(30) {
		return w.doomed
	}
	return rootToken
}

// startAdmin has one administrator for each kind of act, once.
func (w *World) startAdmin() {
	begun := map[adminAct]bool{}
	for i, act := range w.c.Admin {
		if begun[act] {
			continue
		}
		begun[act] = true
		d := newDice(w.seed, uint64(streamAdmin+100*(i+1)))
		w.acts.Go(func() { w.administrate(act, d) })
	}
}

func (w *World) administrate(act adminAct, d *dice) {
	do := map[adminAct]func(*dice){
		writeLimits: w.writeLimit, moveCarol: w.move, archiveDave: w.archive, revokeTokens: w.revoke,
		joinNode: w.joinOne, removeNode: w.removeOne,
	}[act]
	for w.pause(d.wait(200*time.Millisecond, 1500*time.Millisecond)) {
		do(d)
		if act == joinNode || act == removeNode {
			return
		}
	}
}

// outcome is what an administrator knows of a write.
type outcome int

const (
	unknown outcome = iota
	done
	notDone
)

// adminPatience bounds one write.
const adminPatience = 15 * time.Second

// propose writes one command through some node and returns what is known of it.
func (w *World) propose(d *dice, body fsm.Body) outcome {
	p := w.anyone(d)
	if p == nil {
		return notDone
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	index, err := p.cluster.Propose(ctx, admin, body)
	w.history.note("admin", "%T %+v through %s -> %d, %v", body, body, p.h.name, index, err)
	var rejected *fsm.Error
	select {
	case <-p.gone: // its answer never came
		return unknown
	default:
	}
	switch {
	case err == nil:
		return done
	case errors.As(err, &rejected):
		w.oracle.fail("%T was rejected: %v", body, err)
		return notDone
	case errors.Is(err, enforcer.ErrNoLeader) && !errors.Is(err, enforcer.ErrUnknownOutcome):
		return notDone
	}
	return unknown
}

func (w *World) writeLimit(d *dice) {
	entity := pick(d, "red", "red", "alice", "blue")
	w.oracle.mu.Lock()
	all := w.oracle.limits[entity]
	was := (*all)[len(*all)-1].value
	w.oracle.mu.Unlock()
	percent := d.between(30, 95)
	if d.chance(45) {
		percent = d.between(105, 220)
	}
	w.setLimit(d, entity, max(1, was*percent/100))
}

func (w *World) setLimit(d *dice, entity string, limit int64) outcome {
	o := w.oracle
	write := &limitWrite{value: limit, issued: time.Now()}
	o.mu.Lock()
	*o.limits[entity] = append(*o.limits[entity], write)
	o.stats.Limits++
	o.mu.Unlock()
	how := w.propose(d, fsm.PutAssignments{Account: account, Items: []fsm.AssignmentPut{assignment(entity, limit, cadenceOf(entity), fsm.Hard)}})
	o.mu.Lock()
	defer o.mu.Unlock()
	switch how {
	case done:
		write.acked = time.Now()
	case notDone:
		write.void = true
	}
	return how
}

func (w *World) move(d *dice) {
	to := pick(d, teams...)
	w.oracle.count(func(s *Stats) *int64 { return &s.Moves })
	f := w.oracle.writes("parent of carol", to)
	w.oracle.wrote(f, w.propose(d, fsm.MoveEntity{Account: account, ID: "carol", Parent: to}))
}

func (w *World) archive(d *dice) {
	state := pick(d, active, archived)
	w.oracle.count(func(s *Stats) *int64 { return &s.Archives })
	f := w.oracle.writes("state of dave", state)
	w.oracle.wrote(f, w.propose(d, fsm.ArchiveEntity{Account: account, ID: "dave", Archived: state == archived}))
}

// revoke makes a token, lets callers use it, and revokes it. They go on using it.
func (w *World) revoke(d *dice) {
	w.tokens++
	secret := fmt.Sprintf("bt_%d", w.tokens)
	about := "token " + secret
	f := w.oracle.writes(about, valid)
	how := w.propose(d, fsm.PutToken{Token: token(secret)})
	w.oracle.wrote(f, how)
	if how != done {
		return
	}
	w.mu.Lock()
	w.doomed = secret
	w.mu.Unlock()
	if !w.pause(d.wait(100*time.Millisecond, time.Second)) {
		return
	}
	w.oracle.count(func(s *Stats) *int64 { return &s.Revocations })
	f = w.oracle.writes(about, revoked)
	w.oracle.wrote(f, w.propose(d, fsm.DeleteToken{ID: "tok_" + secret}))
}

// joinOne adds a machine whose node joins the cluster.
func (w *World) joinOne(*dice) {
	w.oracle.count(func(s *Stats) *int64 { return &s.Joins })
	w.mu.Lock()
	h := w.newHost(fmt.Sprintf("n%d", len(w.hosts)+1))
	w.hosts = append(w.hosts, h)
	w.mu.Unlock()
	w.delay(w.dice, quietDelay)
	if err := h.start(); err != nil {
		w.oracle.fail("%v", err)
	}
}

// longestReservation is more than any reservation of a caller lives.
const longestReservation = 8 * time.Second

// removeOne stops a node gracefully, ends its membership, and frees what its
// reservations still held once they have expired.
func (w *World) removeOne(d *dice) {
	p := w.anyone(d)
	if p == nil || len(w.up()) < 3 {
		return
	}
	h := p.h
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	w.history.note("admin", "removing %s", h.name)
	if err := p.enforcer.Load().Drain(ctx); err != nil {
		w.history.note("admin", "%s is not removed: %v", h.name, err)
		h.crash(p, false, "it could not be drained")
		w.restart(h)
		return
	}
	w.mu.Lock()
	w.removed[h.name] = true
	w.mu.Unlock()
	h.stop(p, time.Second)
	if !w.remove(d, h.name) {
		w.mu.Lock()
		delete(w.removed, h.name)
		w.mu.Unlock()
		w.restart(h)
		return
	}
	w.oracle.count(func(s *Stats) *int64 { return &s.Removals })
	time.Sleep(longestReservation)
	for try := 0; !w.oracle.hasFailed() && w.propose(d, fsm.Forfeit{Name: h.name}) != done; try++ {
		if try == 20 {
			w.oracle.fail("NOT LIVE: what %s had cannot be freed\n%s", h.name, w.describe())
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// remove ends a membership and reports whether it did: the cluster may refuse.
func (w *World) remove(d *dice, name string) bool {
	for range 100 {
		if w.oracle.hasFailed() {
			return false
		}
		p := w.anyone(d)
		if p == nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := p.cluster.Remove(ctx, admin, name)
		cancel()
		w.history.note("admin", "remove %s through %s: %v", name, p.h.name, err)
		var rejected *fsm.Error
		switch {
		case err == nil:
			return true
		case errors.As(err, &rejected):
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.oracle.fail("NOT LIVE: %s cannot be removed\n%s", name, w.describe())
	return false
}
