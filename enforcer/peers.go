package enforcer

import (
	"context"
	"errors"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Peers is what the enforcer is given to reach the rest of the cluster. Every
// method may be called concurrently. An error is one of ErrNoLeader,
// ErrUnreachable or ErrUnknownOutcome (wrapped), or the context's.
type Peers interface {
	// Reconcile hands a part to the leader, which commits it and answers with
	// the grants for part.Asks, in order. It may be called many times at once.
	// ErrNoLeader: not done. ErrUnknownOutcome: may or may not be in the log.
	// A part without content is a heartbeat; it is not logged.
	Reconcile(ctx context.Context, part *fsm.Part) (*ReconcileReply, error)

	// Call sends one request to the enforcer of another node and decodes its
	// answer into reply. Requests and replies are the structs of this file.
	Call(ctx context.Context, node fsm.NodeNum, method Method, req, reply any) error

	// HeardLeader returns when the last reconcile was sent that a leader
	// answered: the moment up to which this node's replica is known to be fresh.
	HeardLeader() time.Time
}

// Errors of Peers.
var (
	ErrNoLeader       = errors.New("the cluster has no leader this node can reach")
	ErrUnreachable    = errors.New("the node cannot be reached")
	ErrUnknownOutcome = errors.New("the outcome is unknown")
)

// ReconcileReply is the leader's answer to a part.
type ReconcileReply struct {
	Index  uint64      `msgpack:"i"` // log index at which the part was applied; 0 for a heartbeat
	Grants []fsm.Grant `msgpack:"g,omitempty"`
	Leader fsm.NodeNum `msgpack:"l"`
	Commit uint64      `msgpack:"c"` // the leader's applied index; a node further behind than this catches up
}

// Method names a request between enforcers. Numbers are part of the peer protocol.
type Method uint8

// The methods, their request and reply types, and who may be asked.
const (
	MethodDraw      Method = iota + 1 // DrawRequest → DrawReply, to the holder
	MethodCancel                      // CancelRequest → Empty, to the holder; repeated until answered
	MethodConfirm                     // ConfirmRequest → Empty, to the holder
	MethodExtend                      // ExtendRequest → ExtendReply, to the reservation's origin
	MethodRelease                     // ReleaseRequest → ReleaseReply, to the reservation's origin
	MethodIngest                      // IngestRequest → IngestReply, to the origin of the events' reservations
	MethodHolds                       // HoldsRequest → HoldsReply, to anyone
	MethodSyncDraws                   // SyncDrawsRequest → Empty, to anyone, by a node that has restarted
	MethodKeepDraw                    // KeepDrawRequest → KeepDrawReply, to the holder, before an extension is answered
	MethodLive                        // LiveRequest → LiveReply, to the origin of draws held for long
	MethodFirm                        // FirmRequest → Empty, to the holder; repeated until answered
	MethodDrawsOn                     // DrawsOnRequest → DrawsOnReply, to anyone, by a node whose machine has crashed
	MethodRejected                    // RejectedRequest → RejectedReply, to anyone
)

// Empty is a reply without content.
type Empty struct{}

// Hold is an amount set aside of one budget.
type Hold struct {
	Budget fsm.BudgetKey `msgpack:"b"`
	Amount int64         `msgpack:"a"`
}

// DrawRequest asks a holder to set the holds aside for a reservation of Origin, all or none.
// Repeating a request (same Reservation) is answered alike. An empty Reservation
// only asks whether it would fit: nothing is set aside.
type DrawRequest struct {
	Reservation string      `msgpack:"r"`
	Origin      fsm.NodeNum `msgpack:"o"`
	Boot        uint64      `msgpack:"e"` // the origin's session
	Holds       []Hold      `msgpack:"h"`
	WaitMS      int64       `msgpack:"w"` // how long the holder may queue it
	// Undecided: other holders are asked after this one, and it is cancelled if they refuse.
	// Nobody is refused because of it before a FirmRequest comes, or some time has passed.
	Undecided bool  `msgpack:"u,omitempty"`
	TTLMS     int64 `msgpack:"t,omitempty"` // how long the reservation may live from the sending on; 0 only without one
}

// FirmRequest says that an undecided draw is to stay: every other holder has said yes, too.
type FirmRequest struct {
	Reservation string `msgpack:"r"`
}

// DrawStatus is a holder's answer.
type DrawStatus uint8

// The answers to a draw.
const (
	DrawOK          DrawStatus = iota + 1 // set aside and journaled
	DrawRefused                           // proven: there is no room; Budget and Room say where
	DrawNotHolder                         // not the holder (any more): apply the log and try again
	DrawUnavailable                       // cannot be decided in time
)

// DrawReply answers a draw.
type DrawReply struct {
	Status DrawStatus    `msgpack:"s"`
	Budget fsm.BudgetKey `msgpack:"b,omitempty"` // that refused
	Used   int64         `msgpack:"u,omitempty"`
	Room   int64         `msgpack:"m,omitempty"` // spendable there at the refusal: free + the holder's own
}

// CancelRequest frees a draw, whether or not it was ever made: a draw that arrives after its cancel is refused.
type CancelRequest struct {
	Reservation string      `msgpack:"r"`
	Origin      fsm.NodeNum `msgpack:"o"`
	Boot        uint64      `msgpack:"e"`
}

// ConfirmRequest tells the holder the real amounts of a draw before they are settled, so that the rest is free at once.
type ConfirmRequest struct {
	Reservation string `msgpack:"r"`
	Holds       []Hold `msgpack:"h"`
}

// ExtendRequest and ReleaseRequest forward a caller's wish to the reservation's origin.
type ExtendRequest struct {
	Reservation string `msgpack:"r"`
	Account     string `msgpack:"a"` // that the caller's token covers; empty: all
	TTLMS       int64  `msgpack:"t"`
}

// ExtendReply answers ExtendRequest. Code is empty, reservation_unknown or reservation_expired.
type ExtendReply struct {
	Code      string `msgpack:"c,omitempty"`
	ExpiresAt int64  `msgpack:"x"`
}

// ReleaseRequest: see ExtendRequest.
type ReleaseRequest struct {
	Reservation string `msgpack:"r"`
	Account     string `msgpack:"a"`
}

// ReleaseReply answers ReleaseRequest with the amounts set free, by capability.
type ReleaseReply struct {
	Code     string         `msgpack:"c,omitempty"`
	Released []fsm.Quantity `msgpack:"r,omitempty"`
}

// IngestRequest forwards events to the node that holds their reservations.
// They are validated and resolved, but for their Lines.
type IngestRequest struct {
	Events []fsm.Event `msgpack:"e"`
	Quorum bool        `msgpack:"q"` // wait until they are applied
}

// IngestReply says what became of each event, in order.
type IngestReply struct {
	Results []EventResult `msgpack:"r"`
}

// EventResult is what became of one event at a node.
type EventResult struct {
	Outcome fsm.EventOutcome `msgpack:"o"` // Settled stands for accepted
	Quorum  bool             `msgpack:"q"` // it is on the disks of a majority
}

// HoldsRequest asks what a node has set aside of budgets.
//
// With Index it also waits until the node has applied that much of the log.
type HoldsRequest struct {
	Index   uint64          `msgpack:"i,omitempty"`
	Budgets []fsm.BudgetKey `msgpack:"b"` // at most maxHoldsBudgets
}

// HoldsReply answers with pending + held amounts, in the order asked.
type HoldsReply struct {
	Reserved []int64 `msgpack:"r"`
}

// SyncDrawsRequest says which of Origin's draws from sessions before Boot still
// stand behind a live reservation. The receiver frees all others.
type SyncDrawsRequest struct {
	Origin fsm.NodeNum `msgpack:"o"`
	Boot   uint64      `msgpack:"e"`
	Keep   []string    `msgpack:"k"`
}

// KeepDrawRequest says that a reservation with a draw lives on: the holder writes
// the draw down once more, so that even a crash of its machine waits it out.
type KeepDrawRequest struct {
	Reservation string `msgpack:"r"`
	TTLMS       int64  `msgpack:"t"` // how long it may live from the sending on
}

// KeepDrawReply answers KeepDrawRequest. Held false: the holder knows no such draw.
type KeepDrawReply struct {
	Held bool `msgpack:"h"`
}

// LiveRequest asks the origin of reservations which of them still hold something.
type LiveRequest struct {
	Reservations []string `msgpack:"r"` // at most maxLiveAsked
}

// LiveReply answers LiveRequest, in its order. What is not live has ended in
// entries up to Index, or by a cancel.
type LiveReply struct {
	Live  []bool `msgpack:"l"`
	Index uint64 `msgpack:"i"`
}

// DrawsOnRequest asks a node what it still has drawn on the asking one, a page at
// a time: the shards of its reservations in turn, each from After on.
type DrawsOnRequest struct {
	Index uint64 `msgpack:"i"` // that has the asking node's present session; the answer waits for it
	Shard int    `msgpack:"s"`
	After string `msgpack:"a"` // a reservation; empty: from the shard's first
}

// DrawsOnReply answers DrawsOnRequest. What the node had drawn and the pages do
// not show has ended in entries up to Index, or by a cancel.
type DrawsOnReply struct {
	Draws []LiveDraw `msgpack:"d"` // ascending by reservation
	More  bool       `msgpack:"m"` // in this shard, after the last
	Index uint64     `msgpack:"i"`
}

// LiveDraw is what stands behind a reservation, or behind an event that settles it, on the node that asks.
type LiveDraw struct {
	Reservation string `msgpack:"r"`
	Holds       []Hold `msgpack:"h"`
	TTLMS       int64  `msgpack:"t"` // until it expires; 0: it is being settled
}
