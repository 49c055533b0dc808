package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// record settles n events of acme, of about a kilobyte each in an export.
func (p *plane) record(n int) {
	p.t.Helper()
	at := time.Now().UnixMilli()
	part := fsm.Part{Node: 1, Boot: 1}
	for i := range n {
		id := fmt.Sprint("evt-", n, "-", i)
		part.Events = append(part.Events, fsm.Event{
			Account: "acme", ID: id, Hash: TokenDigest(id), Entities: []string{"acme"}, Chain: []string{"acme"}, At: at, ReceivedAt: at, Node: 1,
			Usage: []fsm.Quantity{{Capability: fsm.CapTokens, Amount: 1}}, Metadata: map[string]string{"note": strings.Repeat("x", 300)},
		})
	}
	p.apply(fsm.Reconcile{Parts: []fsm.Part{part}})
}

// stalled is the answer of a caller who reads one piece and then nothing more: a write then lasts
// until its deadline.
type stalled struct {
	t        *testing.T
	header   http.Header
	deadline time.Time
	set      int // how many times a deadline was set
}

func (w *stalled) Header() http.Header { return w.header }
func (w *stalled) WriteHeader(int)     {}

func (w *stalled) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	w.set++
	return nil
}

func (w *stalled) Write(p []byte) (int, error) {
	if w.set < 2 {
		return len(p), nil
	}
	if left := time.Until(w.deadline); left <= 0 || left > writeTimeout {
		w.t.Errorf("the write to a caller who does not read ends in %v, want at most %v", left, writeTimeout)
	}
	return 0, os.ErrDeadlineExceeded
}

// A stream to a caller who has stopped reading ends with the deadline of one piece, and what it held is free:
// its place, and the store's version that it read from.
func TestAnExportIsCutOffWhenItsCallerStopsReading(t *testing.T) {
	p := newPlane(t)
	p.record(2*streamPage + 1)
	for _, accept := range []string{typeNDJSON, typeCSV} {
		for range maxStreams/2 + 1 {
			w := &stalled{t: t, header: http.Header{}}
			req, err := http.NewRequest(http.MethodGet, "/v1/accounts/acme/ledger", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+p.root)
			req.Header.Set("Accept", accept)
			cut := func() (cut any) {
				defer func() { cut = recover() }()
				p.server.Config.Handler.ServeHTTP(w, req)
				return nil
			}()
			if cut != http.ErrAbortHandler {
				t.Fatalf("%s: the stream ends with %v, want it cut off", accept, cut)
			}
			if w.set != 2 {
				t.Errorf("%s: %d deadlines for two pieces", accept, w.set)
			}
		}
	}
	if r := p.callWith(p.root, "GET", "/v1/accounts/acme/ledger", "", map[string]string{"Accept": typeNDJSON}); r.status != 200 || strings.Count(string(r.body), "\n") != 2*streamPage+1 {
		t.Errorf("afterwards: %d", r.status)
	}
}

// Callers who have stopped reading take the places of streams, and of nothing else; what is read of the ledger meanwhile is a page each.
func TestStalledExportsKeepNobodyElseWaiting(t *testing.T) {
	p := newPlane(t)
	p.record(2 * streamPage)
	before := liveHeap()
	var conns []net.Conn
	for range maxStreams {
		conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		conns = append(conns, conn)
		fmt.Fprintf(conn, "GET /v1/accounts/acme/ledger HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: application/x-ndjson\r\n\r\n", p.root)
		line, err := bufio.NewReaderSize(conn, 16).ReadString('\n') // it has begun
		if err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	export := func() int {
		return p.callWith(p.root, "GET", "/v1/accounts/acme/ledger", "", map[string]string{"Accept": typeCSV}).status
	}
	if got := export(); got != http.StatusTooManyRequests {
		t.Errorf("one more export is answered %d, want 429", got)
	}
	p.must("GET", "/v1/accounts/acme/ledger?limit=1000", "")
	p.must("GET", "/v1/accounts/acme/usage?bucket=month", "")
	p.record(1)
	if grown := int64(liveHeap()) - int64(before); grown > maxStreams*8<<20 {
		t.Errorf("%d stalled exports hold %d MiB", maxStreams, grown>>20)
	}
	for _, conn := range conns {
		conn.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); export() != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the places are not free again after their callers have hung up")
		}
	}
}
