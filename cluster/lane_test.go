package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// stuckIngest answers everything but ingests, which wait until it is released.
type stuckIngest struct{ release chan struct{} }

func (s stuckIngest) Handle(ctx context.Context, _ fsm.NodeNum, m enforcer.Method, _ []byte) ([]byte, error) {
	if m == enforcer.MethodIngest {
		select {
		case <-s.release:
		case <-ctx.Done():
		}
	}
	return []byte{0x80}, nil // an empty map
}

func TestForwardedCallsThatWaitHoldUpNoHeartbeatAndNoDraw(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leader, follower := r.leader(), r.followers()[0]
		stuck := stuckIngest{make(chan struct{})}
		leader.node.Serve(stuck)
		to := leader.node.Status().Num
		ctx, cancel := context.WithCancel(r.t.Context())
		var waiting sync.WaitGroup
		for range 2 * maxCallsPerConn {
			waiting.Go(func() {
				follower.node.Call(ctx, to, enforcer.MethodIngest, enforcer.IngestRequest{}, &enforcer.IngestReply{})
			})
		}
		synctest.Wait()
		for range 50 { // 5 s: five times what makes a silent node dead
			time.Sleep(100 * time.Millisecond)
			if quiet := time.Since(follower.node.HeardLeader()); quiet > 500*time.Millisecond {
				t.Errorf("the session was not answered for %v", quiet)
				break
			}
			if err := follower.node.Call(r.within(50*time.Millisecond), to, enforcer.MethodDraw, enforcer.DrawRequest{}, &enforcer.DrawReply{}); err != nil {
				t.Errorf("a draw: %v", err)
				break
			}
		}
		if _, err := follower.node.ProposeQuick(r.within(time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"}); err != nil {
			t.Errorf("a node's own entry: %v", err)
		}
		close(stuck.release)
		cancel()
		waiting.Wait()
	})
}

func TestNodeFullOfForwardedRequestsStillAnswersSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
		defer l.stop()
		for range maxRequests {
			l.server.slots[forRPC] <- struct{}{}
		}
		if _, _, err := l.client.callRaw(t.Context(), toB, methodEnforcer+method(enforcer.MethodIngest), nil); err == nil {
			t.Error("a request beyond the bound was answered")
		}
		for _, m := range []method{methodReconcile, methodProposeQuick, methodEnforcer + method(enforcer.MethodDraw)} {
			if _, _, err := l.client.callRaw(t.Context(), toB, m, nil); err != nil {
				t.Errorf("method %d: %v", m, err)
			}
		}
	})
}
