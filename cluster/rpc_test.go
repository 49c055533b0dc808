package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/internal/memnet"
)

// link is a request client and server over an in-memory network.
type link struct {
	net    *memnet.Network
	client *rpcClient
	server *rpcServer
	dials  atomic.Int32
	stop   func()
}

func newLink(t *testing.T, handle func(ctx context.Context, body []byte) ([]byte, error)) *link {
	t.Helper()
	l := &link{net: memnet.New()}
	listener, err := l.net.Host("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	server := newRPCServer(testLogger(), func(ctx context.Context, _ caller, _ method, body []byte) ([]byte, error) {
		return handle(ctx, body)
	})
	l.server = server
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				var lane [1]byte
				if _, err := io.ReadFull(c, lane[:]); err == nil {
					server.serve(ctx, c, caller{name: "a", lane: purpose(lane[0])})
				}
			})
		}
	})
	l.client = newRPCClient(func(ctx context.Context, lane purpose, to target) (net.Conn, welcome, error) {
		l.dials.Add(1)
		c, err := l.net.Host("a").Dial(ctx, to.addr)
		if err == nil {
			_, err = c.Write([]byte{byte(lane)}) // for the hello of the peer port
		}
		return c, welcome{Name: to.name}, err
	})
	l.stop = func() {
		l.client.close()
		listener.Close()
		cancel()
		wg.Wait()
	}
	return l
}

var toB = target{"b", "b:1"}

func TestManyCallsShareOneConnectionAndAnswersFindTheirCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, func(_ context.Context, body []byte) ([]byte, error) {
			time.Sleep(time.Duration(body[0]%7) * time.Millisecond)
			return body, nil
		})
		defer l.stop()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				want := fmt.Sprintf("%c-%d", i, i)
				got, _, err := l.client.callRaw(t.Context(), toB, methodProbe, []byte(want))
				if err != nil || string(got) != want {
					t.Errorf("call %d: %q, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if n := l.dials.Load(); n != 1 {
			t.Errorf("%d connections were made, want 1", n)
		}
	})
}

func TestCallThatWasNotSentIsUnreachableAndOneWithoutAnswerIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		l := newLink(t, func(ctx context.Context, _ []byte) ([]byte, error) {
			<-block
			return nil, nil
		})
		defer l.stop()
		defer close(block)
		if _, _, err := l.client.callRaw(t.Context(), target{"c", "c:1"}, methodProbe, nil); !errors.Is(err, enforcer.ErrUnreachable) {
			t.Errorf("call to nobody: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, _, err := l.client.callRaw(ctx, toB, methodProbe, nil)
		if !errors.Is(err, enforcer.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call without an answer: %v", err)
		}
		if took := time.Since(began); took != 15*time.Millisecond {
			t.Errorf("it was given up after %v, want its deadline of 15ms", took)
		}
		done := make(chan error, 1)
		go func() {
			_, _, err := l.client.callRaw(t.Context(), toB, methodProbe, nil)
			done <- err
		}()
		synctest.Wait()
		l.net.Crash("b")
		if err := <-done; !errors.Is(err, enforcer.ErrUnknownOutcome) {
			t.Errorf("call whose connection broke: %v", err)
		}
	})
}

func TestShortCallIsNotHeldUpByAStalledConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
		defer l.stop()
		if _, _, err := l.client.callRaw(t.Context(), toB, methodProbe, nil); err != nil {
			t.Fatal(err)
		}
		l.net.Block("a", "b")
		big := make([]byte, 1<<20) // more than the connection takes
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				began := time.Now()
				l.client.callRaw(ctx, toB, methodProbe, big)
				if took := time.Since(began); took > 20*time.Millisecond {
					t.Errorf("a call of 20ms took %v", took)
				}
			})
		}
		wg.Wait()
		// A connection that stays silent is given up, and made anew when the network is back.
		ctx, cancel := context.WithTimeout(t.Context(), 2*silentAfter)
		defer cancel()
		l.client.callRaw(ctx, toB, methodProbe, nil)
		l.net.HealAll()
		if _, _, err := l.client.callRaw(t.Context(), toB, methodProbe, nil); err != nil {
			t.Errorf("after the network is back: %v", err)
		}
		if n := l.dials.Load(); n < 2 {
			t.Errorf("%d connections were made, want a new one", n)
		}
	})
}

func TestCallerFeelsABusyPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		l := newLink(t, func(context.Context, []byte) ([]byte, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(10 * time.Millisecond)
			now.Add(-1)
			return nil, nil
		})
		defer l.stop()
		var wg sync.WaitGroup
		for range 3 * maxRequestsPerConn {
			wg.Go(func() {
				if _, _, err := l.client.callRaw(t.Context(), toB, methodProbe, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := most.Load(); n > maxRequestsPerConn {
			t.Errorf("%d requests of one connection were in work at once, at most %d may be", n, maxRequestsPerConn)
		}
	})
}

func TestHandlerIsToldTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Duration, 1)
		l := newLink(t, func(ctx context.Context, _ []byte) ([]byte, error) {
			d, _ := ctx.Deadline()
			left <- time.Until(d)
			return nil, nil
		})
		defer l.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		if _, _, err := l.client.callRaw(ctx, toB, methodProbe, nil); err != nil {
			t.Fatal(err)
		}
		if d := <-left; d != 250*time.Millisecond {
			t.Errorf("the handler had %v, want the caller's 250ms", d)
		}
	})
}
