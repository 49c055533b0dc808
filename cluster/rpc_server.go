package cluster

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

const (
	// maxRequestsPerConn and maxRequestBytesPerConn bound what one connection has
	// in work; beyond either it is not read from, which the caller feels.
	maxRequestsPerConn     = 1024
	maxRequestBytesPerConn = 4 * maxPayloadBytes
	// maxRequests bounds what the node has in work from all connections of one lane; more is refused.
	maxRequests = 8192
)

// caller is the authenticated other end of a connection.
type caller struct {
	name string
	run  string
	lane purpose // what its connection is for

	reads uint8 // log entries up to this version
}

// rpcServer answers the requests of peers' connections.
type rpcServer struct {
	handle func(ctx context.Context, from caller, m method, body []byte) ([]byte, error)
	log    *slog.Logger
	slots  map[purpose]chan struct{} // by lane
}

func newRPCServer(log *slog.Logger, handle func(context.Context, caller, method, []byte) ([]byte, error)) *rpcServer {
	s := &rpcServer{handle: handle, log: log, slots: make(map[purpose]chan struct{})}
	for _, lane := range []purpose{forRPC, forLeases, forSessions} {
		s.slots[lane] = make(chan struct{}, maxRequests)
	}
	return s
}

// serve answers requests until the connection or ctx ends. It returns when every
// handler it started has.
func (s *rpcServer) serve(ctx context.Context, conn net.Conn, from caller) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer conn.Close()

	writer := newFrameWriter(conn)
	wg.Go(func() {
		writer.run(ctx.Done())
		conn.Close()
	})
	slots := s.slots[from.lane]
	room := newRoom(maxRequestsPerConn, maxRequestBytesPerConn)
	stop := context.AfterFunc(ctx, room.close)
	defer stop()

	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		f, err := readFrame(r)
		if err == nil && f.kind != frameRequest {
			err = errFrameInvalid
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				s.log.Debug("peer connection ended", "peer", from.name, "error", err)
			}
			return
		}
		if !room.enter(len(f.payload)) {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			room.leave(len(f.payload))
			s.answer(writer, conn, f.call, nil, errOverloaded)
			continue
		}
		wg.Go(func() {
			defer room.leave(len(f.payload))
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			body, err := s.handle(ctx, from, f.method, f.payload)
			s.answer(writer, conn, f.call, body, err)
		})
	}
}

// answer queues a reply. A caller that does not read its answers loses the connection.
func (s *rpcServer) answer(w *frameWriter, conn net.Conn, call uint64, body []byte, err error) {
	f := frame{call: call, kind: frameReply, payload: body}
	if err != nil {
		f.kind = frameError
		if f.payload, err = msgpack.Marshal(toWire(err)); err != nil {
			conn.Close()
			return
		}
	}
	if w.send(&f) != nil {
		conn.Close()
	}
}

// room counts what is in work of one connection.
type room struct {
	mu                  sync.Mutex
	cond                *sync.Cond
	requests, bytes     int
	maxRequests, maxSum int
	closed              bool
}

func newRoom(requests, bytes int) *room {
	r := &room{maxRequests: requests, maxSum: bytes}
	r.cond = sync.NewCond(&r.mu)
	return r
}

// enter waits until there is room, and reports false if the connection ended first.
func (r *room) enter(bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && (r.requests >= r.maxRequests || r.requests > 0 && r.bytes+bytes > r.maxSum) {
		r.cond.Wait()
	}
	r.requests++
	r.bytes += bytes
	return !r.closed
}

func (r *room) leave(bytes int) {
	r.mu.Lock()
	r.requests--
	r.bytes -= bytes
	r.cond.Signal()
	r.mu.Unlock()
}

func (r *room) close() {
	r.mu.Lock()
	r.closed = true
	r.cond.Broadcast()
	r.mu.Unlock()
}
