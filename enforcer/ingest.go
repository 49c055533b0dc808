package enforcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// forwardSlack is how much longer than AckWait the origin of a reservation may
// take to answer for an event, before this node accepts the event itself.
const forwardSlack = 500 * time.Millisecond

// ingest records the events that are not rejected yet, or says why not, item by
// item. With quorum it waits for at most AckWait until they are settled.
//
// An event that settles another node's reservation goes to that node, which knows
// what is held. If it does not answer, this node accepts the event as if it had
// no reservation. Should both have accepted it, the first to be settled counts.
//
// An error says that nothing can be promised of any item. Some may have been
// recorded: the caller sends all of them again, and they count once. Of
// ErrOverloaded more is known: nothing has been kept.
func (e *Enforcer) ingest(ctx context.Context, items []ingestItem, quorum bool) error {
	if err := e.mayIngest(); err != nil {
		return err
	}
	admitted, err := e.ship.admit(shareOf(items))
	if err != nil {
		return err
	}
	defer e.ship.leave(admitted)
	if err := e.resolveItems(items); err != nil {
		return err
	}
	events, _ := shareOf(items)
	e.ship.keep(admitted, events) // what is rejected is no backlog, however long the others wait
	local, away := e.byOrigin(items)
	var sends sync.WaitGroup
	for node, group := range away {
		sends.Go(func() { e.forward(ctx, node, group, quorum) })
	}
	err = e.record(ctx, local, admitted, quorum)
	sends.Wait()
	if err != nil {
		return err
	}
	var back []*ingestItem
	for _, group := range away {
		for _, it := range group {
			if it.outcome == 0 {
				back = append(back, it)
			}
		}
	}
	if len(back) == 0 {
		return nil
	}
	// The origins were waited for. Meanwhile this node may have given up its leases.
	if err := e.mayIngest(); err != nil {
		return err
	}
	return e.record(ctx, back, admitted, quorum)
}

// shareOf counts the items that are not rejected yet, and returns what share of all that may wait they may join.
func shareOf(items []ingestItem) (events int, share float64) {
	share = sharePlain
	for i := range items {
		if items[i].code != "" {
			continue
		}
		events++
		if items[i].ev.Reservation != "" {
			share = shareSettling
		}
	}
	return events, share
}

// openShipper opens this node's outbox. Nothing of it is sent before its run.
func (e *Enforcer) openShipper() (*shipper, error) {
	return openShipper(shipConfig{
		log: e.log, fs: e.c.FS, dir: e.c.FS.PathJoin(e.c.DataDir, "outbox"), node: e.c.Node, peers: e.peers,
		session: e.part, begun: e.begun.Load,
		draw:     func(ev *fsm.Event) surplus { return e.charge(ev, true) },
		giveBack: e.giveBack,
		index:    func() uint64 { index, _ := e.m.Applied(); return index },
		known: func(account, id string) (bool, error) {
			_, _, known, err := e.m.Event(account, id)
			return known, err
		},
		refused: e.refusedUnheard,
	})
}

// mayIngest reports why no event can be taken. A node without a leader takes
// events, also one that has not begun its session: see early.go.
func (e *Enforcer) mayIngest() error {
	if e.removed.Load() {
		return errRemoved
	}
	if e.closed.Load() {
		return errDraining
	}
	return e.ship.health()
}

// resolveItems finds what each event charges and rejects those that name what
// does not exist. A node that is not fresh does not reject: it may have missed the news.
func (e *Enforcer) resolveItems(items []ingestItem) error {
	for i := range items {
		it := &items[i]
		if it.code != "" {
			continue
		}
		if err := e.resolve(it.ev); err != nil {
			if errors.Is(err, ErrUnavailable) {
				return err
			}
			if stale := e.Ready(); stale != nil {
				return stale
			}
			it.rejectResolve(err)
		}
	}
	return nil
}

func (it *ingestItem) rejectResolve(err error) {
	var bad *RequestError
	switch {
	case errors.Is(err, ErrAccountNotFound):
		it.reject(RejectNoAccount, "account %s does not exist", it.ev.Account)
	case errors.As(err, &bad) && bad.Field == "entities":
		it.reject(RejectEntities, "%s %s", bad.Field, bad.Message)
	case errors.As(err, &bad) && bad.Field == fieldAt:
		it.reject(RejectTime, "%s %s", bad.Field, bad.Message)
	case errors.As(err, &bad) && (bad.Field == fieldTokens || bad.Field == fieldUSD):
		it.reject(RejectAmount, "%s %s", bad.Field, bad.Message)
	case errors.As(err, &bad):
		it.reject(RejectCapability, "%s %s", bad.Field, bad.Message)
	default:
		it.reject(RejectEntities, "%v", err)
	}
}

// byOrigin separates the events that another live node is to accept because it
// gave their reservation out.
func (e *Enforcer) byOrigin(items []ingestItem) (local []*ingestItem, away map[fsm.NodeNum][]*ingestItem) {
	live := e.roster.Load().Live
	for i := range items {
		it := &items[i]
		if it.code != "" {
			continue
		}
		id, ok := parseResID([]byte(it.ev.Reservation))
		if node, self := e.originOf(id); ok && !self && slices.Contains(live, node) && !e.ship.has(it.ev) {
			if away == nil {
				away = make(map[fsm.NodeNum][]*ingestItem)
			}
			away[node] = append(away[node], it)
			continue
		}
		local = append(local, it)
	}
	return local, away
}

// forward hands events to the origin of their reservations. Items it could not
// answer for keep outcome 0.
func (e *Enforcer) forward(ctx context.Context, node fsm.NodeNum, group []*ingestItem, quorum bool) {
	ctx, cancel := context.WithTimeout(ctx, e.c.AckWait+forwardSlack)
	defer cancel()
	req := IngestRequest{Events: make([]fsm.Event, len(group)), Quorum: quorum}
	for i, it := range group {
		req.Events[i] = *it.ev
		req.Events[i].Lines = nil
	}
	var reply IngestReply
	err := e.peers.Call(ctx, node, MethodIngest, &req, &reply)
	if err == nil && len(reply.Results) != len(group) {
		err = fmt.Errorf("%d results for %d events", len(reply.Results), len(group))
	}
	if err != nil {
		e.log.Info("events are accepted without the origin of their reservations",
			"origin", node, "events", len(group), "err", err)
		return
	}
	for i, r := range reply.Results {
		group[i].settle(r.Outcome, r.Quorum)
	}
}

// settle notes what became of an accepted event.
func (it *ingestItem) settle(outcome fsm.EventOutcome, quorum bool) {
	it.outcome, it.quorum = outcome, quorum
	if code, detail := refusal(it.ev, outcome); code != "" {
		it.reject(code, "%s", detail)
	}
}

// refusal says why an event is not in the ledger; code is empty if it is.
func refusal(ev *fsm.Event, outcome fsm.EventOutcome) (code, detail string) {
	switch outcome {
	case fsm.IDConflict:
		return RejectConflict, fmt.Sprintf("id %s was used before with another body", ev.ID)
	case fsm.TooOld:
		return RejectTime, "at lies in a time whose lines were dropped by retention: the event may have been charged then"
	case fsm.Dropped:
		return RejectNoAccount, fmt.Sprintf("account %s does not exist", ev.Account)
	}
	return "", ""
}

// recording is one item on its way through record.
type recording struct {
	it   *ingestItem
	sh   *shipment
	mine bool // this call claimed it; otherwise somebody had, or an earlier item of this call

	conflict bool // who has the id has another body
}

// record accepts events on this node: each id is claimed, looked up in the
// ledger, charged against this node's room, and written to the outbox with all
// the others. Errors: ErrUnavailable.
func (e *Enforcer) record(ctx context.Context, items []*ingestItem, admitted *admission, quorum bool) error {
	if len(items) == 0 {
		return nil
	}
	batch := &shipBatch{stored: make(chan struct{}), admission: admitted}
	recs, err := e.claim(items, batch)
	if err == nil {
		err = e.storeClaimed(recs)
	}
	if err != nil {
		for _, r := range recs {
			if r.mine && !r.sh.done {
				e.ship.unclaim(r.sh, 0)
			}
		}
		batch.err = err
	}
	close(batch.stored)
	if err != nil {
		return err
	}
	// Nothing of another call is acknowledged before that call has it on disk.
	for _, r := range recs {
		if !r.mine && r.sh.batch != nil && r.sh.batch != batch {
			select {
			case <-r.sh.batch.stored:
				if r.sh.batch.err != nil {
					return r.sh.batch.err
				}
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
			}
		}
	}
	if quorum {
		e.awaitQuorum(ctx, recs)
		e.awaitFreed(ctx, recs)
	}
	for _, r := range recs {
		e.conclude(r)
	}
	return nil
}

// claim takes the ids of items. Claiming comes before looking into the ledger: an
// event leaves the outbox's list only after the ledger has it, so it is found in one of the two.
func (e *Enforcer) claim(items []*ingestItem, batch *shipBatch) (recs []recording, err error) {
	for _, it := range items {
		it.ev.Node = e.c.Node
		mine, other := e.ship.claim(it.ev, batch)
		if other != nil {
			recs = append(recs, recording{it: it, sh: other, conflict: other.ev.Hash != it.ev.Hash})
			continue
		}
		recs = append(recs, recording{it: it, sh: mine, mine: true})
		hash, _, known, err := e.m.Event(it.ev.Account, it.ev.ID)
		if err != nil {
			return recs, fmt.Errorf("%w: read the ledger: %w", ErrUnavailable, err)
		}
		if known {
			outcome := fsm.Duplicate
			if hash != it.ev.Hash {
				outcome = fsm.IDConflict
			}
			e.ship.unclaim(mine, outcome)
		}
	}
	return recs, nil
}

// storeClaimed makes what was claimed pending, then durable.
func (e *Enforcer) storeClaimed(recs []recording) error {
	var fresh []*shipment
	var left []surplus // of fresh
	early := !e.begun.Load()
	for i := range recs {
		r := &recs[i]
		if !r.mine || r.sh.done {
			continue
		}
		var over surplus
		if early {
			over = e.acceptEarly(r.sh.ev, false)
		} else {
			over = e.accept(r.sh.ev)
		}
		fresh, left = append(fresh, r.sh), append(left, over)
	}
	if len(fresh) == 0 {
		return nil
	}
	err := e.ship.store(fresh, early)
	if err != nil {
		for i, sh := range fresh {
			e.unaccept(sh.ev, left[i])
		}
		return err
	}
	for i, sh := range fresh {
		e.ship.setFreed(sh, e.giveBack(left[i]))
		if p := sh.ev.Pricing; p != nil && p.Unpriced {
			e.counters.Unpriced.Add(1)
		}
		if sh.ev.Unattributed {
			e.counters.Unattributed.Add(1)
		}
	}
	return nil
}

// awaitQuorum waits until all are seen applied, for at most AckWait.
func (e *Enforcer) awaitQuorum(ctx context.Context, recs []recording) {
	shipments := make([]*shipment, len(recs))
	for i, r := range recs {
		shipments[i] = r.sh
	}
	timeout := time.NewTimer(e.c.AckWait)
	defer timeout.Stop()
	select {
	case <-e.ship.watch(shipments):
	case <-timeout.C:
	case <-ctx.Done():
	}
}

// awaitFreed waits until what settled reservations held too much is room for anyone.
func (e *Enforcer) awaitFreed(ctx context.Context, recs []recording) {
	var all transit
	for _, r := range recs {
		freed := e.ship.freedBy(r.sh)
		all.departures = append(all.departures, freed.departures...)
		all.holders = append(all.holders, freed.holders...)
	}
	slices.Sort(all.holders)
	all.holders = slices.Compact(all.holders)
	ctx, cancel := context.WithTimeout(ctx, transitWait)
	defer cancel()
	e.arrive(ctx, all)
}

// conclude turns what is known of the shipment into the item's outcome.
func (e *Enforcer) conclude(r recording) {
	outcome := e.ship.result(r.sh)
	switch {
	case r.conflict:
		r.it.settle(fsm.IDConflict, true)
	case !r.mine && (outcome == 0 || outcome == fsm.Settled):
		r.it.settle(fsm.Duplicate, outcome != 0)
	case outcome == 0:
		r.it.settle(fsm.Settled, false)
	default:
		r.it.settle(outcome, true)
	}
}

// handleIngest accepts events that another node has forwarded because this node
// gave their reservations out. Outcome 0 leaves an event to the other node.
func (e *Enforcer) handleIngest(ctx context.Context, req *IngestRequest) (*IngestReply, error) {
	reply := &IngestReply{Results: make([]EventResult, len(req.Events))}
	if err := e.mayIngest(); err != nil || len(req.Events) > maxIngestEvents {
		return reply, err
	}
	all := make([]ingestItem, len(req.Events))
	var items []*ingestItem
	for i := range req.Events {
		all[i].ev = &req.Events[i]
		if e.resolve(all[i].ev) == nil {
			items = append(items, &all[i])
		}
	}
	admitted, err := e.ship.admit(len(items), shareForwarded)
	if err != nil {
		return reply, nil // the other node keeps them, and sees its own bound reached if that goes on
	}
	defer e.ship.leave(admitted)
	if err := e.record(ctx, items, admitted, req.Quorum); err != nil {
		return nil, err
	}
	for i := range all {
		reply.Results[i] = EventResult{Outcome: all[i].outcome, Quorum: all[i].quorum}
	}
	return reply, nil
}
