package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// method names a request between nodes. Numbers are part of the peer protocol.
type method uint8

const (
	methodProbe        method = iota + 1 // introduction → introduction, by anyone
	methodForm                           // formRequest → nothing, by anyone
	methodJoin                           // joinRequest → joinAnswer, to the leader, by anyone
	methodPropose                        // proposeRequest → indexAnswer, to the leader: when every live node has applied it
	methodReconcile                      // reconcileRequest → reconcileAnswer, to the leader
	methodReadIndex                      // nothing → indexAnswer, to the leader
	methodWaitApplied                    // indexRequest → indexAnswer: when it is applied
	methodRemove                         // removeRequest → nothing, to the leader
	methodTransfer                       // transferRequest → nothing, to the leader
	methodChecksum                       // indexRequest → checksum, once it is applied
	methodVerdict                        // checksum → nothing: what the majority has there
	methodProposeQuick                   // proposeRequest → indexAnswer, to the leader: when it has applied it

	// methodReconcilePacked is methodReconcile for a leader that reads packed log entries: applied uvarint, fsm.PackedPart → reconcileAnswer
	methodReconcilePacked

	// methodEnforcer is added to the methods of package enforcer.
	methodEnforcer method = 128
)

type nothing struct{}

type indexRequest struct {
	Index uint64 `msgpack:"i"`
}

type indexAnswer struct {
	Index uint64 `msgpack:"i"`
}

type proposeRequest struct {
	Command []byte `msgpack:"c"` // encoded; its At and Leader are ignored
}

type removeRequest struct {
	Actor fsm.Actor `msgpack:"a"`
	Name  string    `msgpack:"n"`
}

type transferRequest struct {
	To string `msgpack:"t"`
}

// handle answers one request of a peer.
func (n *Node) handle(ctx context.Context, from caller, m method, body []byte) ([]byte, error) {
	if err := n.Err(); errors.Is(err, errRemoved) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStopped, err)
	}
	switch m { // what a node may ask before it is a member
	case methodProbe:
		return answer(body, func(r *introduction) (any, error) { return n.probed(r), nil })
	case methodForm:
		return answer(body, func(r *formRequest) (any, error) { return nothing{}, n.promise(from, r) })
	case methodJoin:
		return answer(body, func(r *joinRequest) (any, error) { return n.joinRequested(ctx, from, r) })
	}
	num, err := n.members.Load().caller(from.name)
	if err != nil {
		return nil, err
	}
	if m > methodEnforcer {
		return n.callHandler(ctx, num, enforcer.Method(m-methodEnforcer), body)
	}
	switch m {
	case methodWaitApplied:
		return answer(body, func(r *indexRequest) (any, error) { return n.awaitIndex(ctx, r.Index) })
	case methodChecksum:
		return answer(body, func(r *indexRequest) (any, error) { return n.checksumAt(ctx, r.Index) })
	case methodVerdict:
		return answer(body, func(r *checksum) (any, error) { return nothing{}, n.judged(r) })
	}
	l := n.lead.Load()
	if l == nil {
		return nil, ErrNotLeader
	}
	switch m {
	case methodPropose, methodProposeQuick:
		return answer(body, func(r *proposeRequest) (any, error) {
			index, err := l.propose(ctx, r.Command, m == methodPropose)
			return indexAnswer{index}, err
		})
	case methodReconcile:
		return answer(body, func(r *reconcileRequest) (any, error) {
			return l.reconcile(ctx, num, from, r.Applied, sentPart{part: &r.Part}, len(body))
		})
	case methodReconcilePacked:
		applied, size := binary.Uvarint(body)
		if size <= 0 {
			return nil, errFrameInvalid
		}
		return reply(l.reconcile(ctx, num, from, applied, sentPart{packed: body[size:]}, len(body)))
	case methodReadIndex:
		index, err := l.readIndex(ctx)
		return reply(indexAnswer{index}, err)
	case methodRemove:
		return answer(body, func(r *removeRequest) (any, error) { return nothing{}, l.remove(ctx, r.Actor, r.Name) })
	case methodTransfer:
		return answer(body, func(r *transferRequest) (any, error) { return nothing{}, l.transfer(ctx, r.To) })
	}
	return nil, fmt.Errorf("method %d is unknown to this release", m)
}

// answer decodes a request, has f answer it and encodes what f returned.
func answer[Req any](body []byte, f func(*Req) (any, error)) ([]byte, error) {
	var req Req
	if err := msgpack.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return reply(f(&req))
}

func reply(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return msgpack.Marshal(v)
}
