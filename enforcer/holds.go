package enforcer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bursar-dev/bursar/fsm"
)

// maxHoldsBudgets bounds the budgets of one HoldsRequest.
const maxHoldsBudgets = 10_000

// Reserved returns what this node has set aside of a budget: live reservations,
// draws it holds for others, and accepted events on their way into the ledger.
func (e *Enforcer) Reserved(b fsm.BudgetKey) int64 {
	s := e.book.find(b)
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return 0
	}
	return s.reserved()
}

// ClusterReserved asks every live node what it has set aside of the budgets. If
// some cannot be asked, it returns what the others say with the error.
func (e *Enforcer) ClusterReserved(ctx context.Context, budgets []fsm.BudgetKey) (reserved []int64, err error) {
	reserved = make([]int64, len(budgets))
	for i, b := range budgets {
		reserved[i] = e.Reserved(b)
	}
	var (
		mu   sync.Mutex
		asks sync.WaitGroup
	)
	for _, node := range e.roster.Load().Live {
		if node == e.c.Node {
			continue
		}
		asks.Go(func() {
			holds, failed := e.holdsOf(ctx, node, budgets)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = errors.Join(err, failed)
				return
			}
			for i, h := range holds {
				reserved[i] = satAdd(reserved[i], h)
			}
		})
	}
	asks.Wait()
	return reserved, err
}

// holdsOf asks one node, in pieces of maxHoldsBudgets.
func (e *Enforcer) holdsOf(ctx context.Context, node fsm.NodeNum, budgets []fsm.BudgetKey) (holds []int64, err error) {
	for len(budgets) > 0 {
		n := min(len(budgets), maxHoldsBudgets)
		var reply HoldsReply
		if err := e.peers.Call(ctx, node, MethodHolds, &HoldsRequest{Budgets: budgets[:n]}, &reply); err != nil {
			return nil, fmt.Errorf("node %d: %w", node, err)
		}
		if len(reply.Reserved) != n {
			return nil, fmt.Errorf("node %d answers %d budgets of %d", node, len(reply.Reserved), n)
		}
		holds, budgets = append(holds, reply.Reserved...), budgets[n:]
	}
	return holds, nil
}

func (e *Enforcer) handleHolds(ctx context.Context, req *HoldsRequest) (*HoldsReply, error) {
	if len(req.Budgets) > maxHoldsBudgets {
		return nil, fmt.Errorf("%d budgets are more than %d", len(req.Budgets), maxHoldsBudgets)
	}
	if err := e.m.WaitApplied(ctx, req.Index); err != nil {
		return nil, err
	}
	reply := &HoldsReply{Reserved: make([]int64, len(req.Budgets))}
	for i, b := range req.Budgets {
		reply.Reserved[i] = e.Reserved(b)
	}
	return reply, nil
}
