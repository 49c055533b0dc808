package enforcer

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// check answers POST /v1/check.
func (s *server) check(r *request) *problem {
	c, err := r.parser.check(r.ctx.Request.Body(), r.msgpack)
	if p := r.wrong(err); p != nil {
		return p
	}
	if !r.coversCall(c) {
		return errNotCovered
	}
	if err := s.decide(c, &r.decision, r.at); err != nil {
		return s.problem(err, "")
	}
	r.answer.decision(&r.decision, c.Explain)
	r.send(fasthttp.StatusOK)
	return nil
}

// decide decides one call that came at a time and counts it.
func (s *server) decide(c *Call, d *Decision, at time.Time) error {
	d.Reset()
	err := s.e.checkAt(context.Background(), c, d, at)
	switch {
	case err == nil:
		s.metrics.checked(d.Code, time.Since(at))
	case errors.Is(err, ErrUnavailable):
		s.metrics.checked(codeUnavailable, time.Since(at))
	}
	return err
}

// problem maps an error of the enforcer, and logs one that it does not know.
func (s *server) problem(err error, field string) *problem {
	p := problemOf(err, field)
	if p.code == codeInternal {
		s.log.Error("request failed", "err", err)
	}
	return p
}

// checks answers POST /v1/checks: one after the other, so that what an earlier
// one reserves is gone for a later one. If one cannot be decided, the whole
// request is answered with that error and nothing stays reserved.
func (s *server) checks(r *request) *problem {
	calls, err := r.parser.checks(r.ctx.Request.Body(), r.msgpack)
	if p := r.wrong(err); p != nil {
		return p
	}
	for i := range calls {
		if !r.coversCall(&calls[i]) {
			return errNotCovered
		}
	}
	var reserved []resID
	w, d := &r.answer, &r.decision
	w.begin(true)
	w.key("items")
	w.begin(false)
	for i := range calls {
		if err := s.decide(&calls[i], d, time.Now()); err != nil {
			s.undo(reserved)
			return s.problem(err, indexed("checks", i)+".")
		}
		if id, ok := parseResID(d.Reservation[:d.ReservationN]); ok {
			reserved = append(reserved, id)
		}
		w.item()
		w.decision(d, calls[i].Explain)
	}
	w.end(false)
	w.end(true)
	r.send(fasthttp.StatusOK)
	return nil
}

// undo frees reservations that nobody will be told of.
func (s *server) undo(ids []resID) {
	for _, id := range ids {
		if _, err := s.e.release(context.Background(), id, ""); err != nil {
			s.log.Warn("a reservation that was not answered stays until it expires", "reservation", id.String(), "err", err)
		}
	}
}

// ingest answers POST /v1/ingest.
func (s *server) ingest(r *request) *problem {
	quorum, p := r.ack()
	if p != nil {
		return p
	}
	if err := s.e.ship.full(); err != nil { // before reading a body costs as much as taking it
		return s.problem(err, "")
	}
	items, err := r.parser.events(r.ctx.Request.Body(), r.msgpack, s.e.now())
	if p := r.wrong(err); p != nil {
		return p
	}
	for i := range items {
		if account := items[i].ev.Account; account != "" && !r.covers([]byte(account)) {
			return errNotCovered
		}
	}
	if err := s.e.ingest(context.Background(), items, quorum); err != nil {
		return s.problem(err, "")
	}
	if s.metrics.ingested(items) > 0 {
		t, _ := s.token(&r.ctx.Request.Header)
		s.keepRejected(items, t.ID, r.account)
	}
	status := fasthttp.StatusAccepted
	if r.answer.ingested(items) {
		status = fasthttp.StatusOK
	}
	r.send(status)
	return nil
}

// queryAck is the query parameter of an ingest.
const queryAck = "ack"

// ack reads how durable an ingest wants its events before it is answered.
func (r *request) ack() (quorum bool, p *problem) {
	args := r.ctx.QueryArgs()
	if !args.Has(queryAck) {
		return true, nil
	}
	switch string(args.Peek(queryAck)) {
	case durability(true):
		return true, nil
	case durability(false):
		return false, nil
	}
	r.parser.problem(queryAck, "must be quorum or node")
	return false, r.wrong(nil)
}

// release answers POST /v1/reservations/{id}/release.
func (s *server) release(r *request, text []byte) *problem {
	err := r.parser.emptyBody(r.ctx.Request.Body(), r.msgpack)
	if p := r.wrong(err); p != nil {
		return p
	}
	id, ok := s.reservation(text)
	if !ok {
		return reservationProblem(CodeReservationUnknown)
	}
	reply, err := s.e.release(context.Background(), id, r.account)
	if err != nil {
		return s.problem(err, "")
	}
	if reply.Code != "" {
		return reservationProblem(reply.Code)
	}
	r.answer.released(reply.Released)
	r.send(fasthttp.StatusOK)
	return nil
}

// extend answers POST /v1/reservations/{id}/extend.
func (s *server) extend(r *request, text []byte) *problem {
	ttl, err := r.parser.ttlBody(r.ctx.Request.Body(), r.msgpack)
	if p := r.wrong(err); p != nil {
		return p
	}
	id, ok := s.reservation(text)
	if !ok {
		return reservationProblem(CodeReservationUnknown)
	}
	reply, err := s.e.extend(context.Background(), id, r.account, ttl)
	if err != nil {
		return s.problem(err, "")
	}
	if reply.Code != "" {
		return reservationProblem(reply.Code)
	}
	r.answer.extended(reply.ExpiresAt)
	r.send(fasthttp.StatusOK)
	return nil
}

// reservation reads an id from a path. One of a node that never was is no id.
func (s *server) reservation(text []byte) (id resID, ok bool) {
	if id, ok = parseResID(text); !ok {
		return id, false
	}
	node, self := s.e.originOf(id)
	if self {
		return id, true
	}
	s.e.m.View(func(v *fsm.View) { ok = v.Node(node) != nil })
	return id, ok
}

// reservationProblem is the problem of a reservation that cannot be released or extended.
func reservationProblem(code string) *problem {
	switch code {
	case CodeReservationUnknown:
		return newProblem(code, "there is no such reservation")
	case CodeReservationExpired:
		return newProblem(code, "the reservation has expired, or is settled or released")
	}
	return newProblem(codeInternal, "an unexpected error; the node's log has it")
}
