package enforcer

import (
	"context"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// FuzzPeerRequest hands a node whatever a peer may send. Peers are authenticated,
// so this is about a peer of another release, or one that is broken: it may be
// refused, and must neither end the process nor upset the books.
func FuzzPeerRequest(f *testing.F) {
	key := fsm.BudgetKey{Assignment: 1}
	id := resID{node: 2, boot: 1, seq: 7}.String()
	for method, req := range map[Method]any{
		MethodDraw:      &DrawRequest{Reservation: id, Origin: 2, Boot: 1, Holds: []Hold{{key, 5}}, WaitMS: 1, TTLMS: 1_000},
		MethodCancel:    &CancelRequest{Reservation: id, Origin: 2},
		MethodConfirm:   &ConfirmRequest{Reservation: id, Holds: []Hold{{key, 3}}},
		MethodExtend:    &ExtendRequest{Reservation: id, TTLMS: 5_000},
		MethodRelease:   &ReleaseRequest{Reservation: id},
		MethodIngest:    &IngestRequest{Events: []fsm.Event{{Account: "acme", ID: "e", Entities: []string{"alice"}, Usage: []fsm.Quantity{{Capability: fsm.CapTokens, Amount: 5}}}}},
		MethodSyncDraws: &SyncDrawsRequest{Origin: 2, Boot: 1, Keep: []string{id}},
		MethodKeepDraw:  &KeepDrawRequest{Reservation: id, TTLMS: 5_000},
		MethodLive:      &LiveRequest{Reservations: []string{id}},
		MethodFirm:      &FirmRequest{Reservation: id},
		MethodRejected:  &RejectedRequest{Account: "acme"},
	} {
		body, err := msgpack.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(2), uint8(method), body)
	}
	n := newSoloNode(f)
	n.commit(fsm.AdmitNode{Name: "n2", Addr: "y"})
	n.commit(fsm.BootNode{Node: 2, Boot: 1})
	f.Fuzz(func(t *testing.T, from uint16, method uint8, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _ = n.e.Handle(ctx, fsm.NodeNum(from), Method(method), body)
		if n.e.broken.Load() {
			t.Fatal("the node's books do not add up any more")
		}
	})
}
