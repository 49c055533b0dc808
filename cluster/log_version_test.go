package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// While one node reads only what the first release wrote, that is what the log gets; then the present
// version, for good: the node is refused if it comes back as it was.
func TestLogIsWrittenAsEveryMemberReadsIt(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		old := r.peers["n3"]
		old.config.Tuning.LogVersion = fsm.FirstLogVersion
		r.startAll()
		key := r.leased(1_000_000)
		ask := func(p *peer) {
			t.Helper()
			num, boot := p.session()
			part := &fsm.Part{Node: num, Boot: boot, Asks: []fsm.Ask{{Budget: key, NeedMin: 5, NeedSum: 5}}}
			reply, err := p.node.Reconcile(r.within(5*time.Second), part)
			if err != nil || len(reply.Grants) != 1 || reply.Grants[0].Amount < 5 {
				t.Fatalf("%s: %+v, %v", p.name, reply, err)
			}
		}
		written := func(want uint8) {
			t.Helper()
			for _, name := range r.names() {
				ask(r.peers[name])
			}
			time.Sleep(time.Second)
			index, sum := r.leader().machine.Checksum()
			for _, name := range r.names() {
				p := r.peers[name]
				if got := p.machine.LogVersion(); got != want {
					t.Errorf("%s: the log has version %d, want %d", name, got, want)
				}
				if i, s := p.machine.Checksum(); i != index || s != sum {
					t.Errorf("%s: checksum %x at %d, the leader has %x at %d", name, s, i, sum, index)
				}
			}
		}
		written(0) // none was packed
		for _, body := range []fsm.Body{
			fsm.FinalizeStatement{}, fsm.PutInvoice{Account: "acme"}, fsm.SetRetention{Account: "acme"},
			fsm.MarkExported{Account: "acme"}, fsm.DropLines{Account: "acme"},
		} {
			for _, name := range r.names() {
				_, err := r.peers[name].node.Propose(r.within(5*time.Second), fsm.Actor{}, body)
				if !errors.Is(err, fsm.ErrConflict) || !strings.Contains(err.Error(), "every node must run this release first") {
					t.Errorf("%s: %T: %v", name, body, err)
				}
			}
		}
		written(0)
		old.close()
		old.config.Tuning.LogVersion = 0
		old.start()
		r.settle(3)
		written(fsm.LogVersion)

		old.close()
		old.config.Tuning.LogVersion = fsm.FirstLogVersion
		if err := old.open(); err != nil {
			t.Fatal(err)
		}
		r.eventually(20*time.Second, "the old release is refused", func() bool {
			err := old.node.Err()
			return err != nil && strings.Contains(err.Error(), "start the release that the other nodes run")
		})
	})
}
