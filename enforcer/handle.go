package enforcer

import (
	"context"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// Handle answers a request of another node's enforcer. An error is a request
// that cannot be read or a method that is not known.
func (e *Enforcer) Handle(ctx context.Context, from fsm.NodeNum, method Method, body []byte) ([]byte, error) {
	switch method {
	case MethodDraw:
		return answer(body, func(req *DrawRequest) (*DrawReply, error) {
			if req.Origin != from {
				return nil, fmt.Errorf("node %d draws for node %d", from, req.Origin)
			}
			return e.handleDraw(ctx, req), nil
		})
	case MethodCancel:
		return answer(body, func(req *CancelRequest) (*Empty, error) {
			if req.Origin != from {
				return nil, fmt.Errorf("node %d cancels for node %d", from, req.Origin)
			}
			e.handleCancel(req)
			return &Empty{}, nil
		})
	case MethodConfirm:
		return answer(body, func(req *ConfirmRequest) (*Empty, error) {
			e.handleConfirm(req)
			return &Empty{}, nil
		})
	case MethodFirm:
		return answer(body, func(req *FirmRequest) (*Empty, error) {
			id, ok := parseResID([]byte(req.Reservation))
			if !ok || id.node != from {
				return nil, fmt.Errorf("node %d makes a draw firm that is not its own", from)
			}
			e.firm(e.draws.find(id))
			return &Empty{}, nil
		})
	case MethodExtend:
		return answer(body, func(req *ExtendRequest) (*ExtendReply, error) {
			id, ok := parseResID([]byte(req.Reservation))
			if !ok || id.node != e.c.Node {
				return &ExtendReply{Code: CodeReservationUnknown}, nil
			}
			reply, err := e.extendHere(ctx, id, req.Account, req.TTLMS)
			return &reply, err
		})
	case MethodRelease:
		return answer(body, func(req *ReleaseRequest) (*ReleaseReply, error) {
			id, ok := parseResID([]byte(req.Reservation))
			if !ok || id.node != e.c.Node {
				return &ReleaseReply{Code: CodeReservationUnknown}, nil
			}
			reply := e.releaseHere(ctx, id, req.Account)
			return &reply, nil
		})
	case MethodIngest:
		return answer(body, func(req *IngestRequest) (*IngestReply, error) { return e.handleIngest(ctx, req) })
	case MethodHolds:
		return answer(body, func(req *HoldsRequest) (*HoldsReply, error) { return e.handleHolds(ctx, req) })
	case MethodRejected:
		return answer(body, func(req *RejectedRequest) (*RejectedReply, error) { return e.handleRejected(req) })
	case MethodSyncDraws:
		return answer(body, func(req *SyncDrawsRequest) (*Empty, error) {
			if req.Origin != from {
				return nil, fmt.Errorf("node %d syncs draws of node %d", from, req.Origin)
			}
			e.handleSyncDraws(req)
			return &Empty{}, nil
		})
	}
	return e.handleDrawLife(ctx, from, method, body)
}

// answer decodes a request, handles it and encodes the reply.
func answer[Req, Reply any](body []byte, handle func(*Req) (*Reply, error)) ([]byte, error) {
	req := new(Req)
	if err := msgpack.Unmarshal(body, req); err != nil {
		return nil, fmt.Errorf("decode %T: %w", req, err)
	}
	reply, err := handle(req)
	if err != nil {
		return nil, err
	}
	return msgpack.Marshal(reply)
}
