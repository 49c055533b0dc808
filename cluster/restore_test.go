package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// backup returns a backup taken through p.
func (p *peer) backup() []byte {
	p.r.t.Helper()
	if _, err := p.node.Propose(p.r.within(5*time.Second), tester, fsm.Backup{}); err != nil {
		p.r.t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.machine.WriteSnapshot(&b); err != nil {
		p.r.t.Fatal(err)
	}
	return b.Bytes()
}

// restore makes p's disk, which is to be empty, that of the first node of a new cluster.
func (p *peer) restore(backup []byte) (*Restored, error) {
	p.r.t.Helper()
	m, err := fsm.Open("/data/state", fsm.Options{FS: p.fs, Logger: testLogger()})
	if err != nil {
		p.r.t.Fatal(err)
	}
	defer m.Close()
	c := p.config
	c.FS = p.fs
	return Restore(c, m, bytes.NewReader(backup), fsm.DoubtWaits)
}

// emptyDisk gives p a new disk.
func (p *peer) emptyDisk() {
	p.fs, p.stores = vfs.NewCrashableMem(), &memStores{InmemStore: raft.NewInmemStore()}
}

func (p *peer) settings() (s fsm.Settings) {
	p.machine.View(func(v *fsm.View) { s, _ = v.Settings() })
	return s
}

func TestRestoredNodeLeadsANewClusterThatOthersJoin(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		r.peers["n1"].mustPut("acme", "before")
		old := r.peers["n1"].settings().ClusterID
		backup := r.followers()[0].backup()
		r.peers["n1"].mustPut("acme", "after the backup")
		for _, p := range r.peers {
			p.close()
			p.emptyDisk()
		}
		p := r.peers["n1"]
		made, err := p.restore(backup)
		if err != nil {
			t.Fatal(err)
		}
		if made.From != old || made.Cluster == old || made.Index == 0 || time.Until(made.DoubtUntil) < time.Hour {
			t.Errorf("%+v; want from %s, another id, and an hour of doubt", made, old)
		}
		// The same command lines as before: whoever is empty joins, and does not form a cluster.
		r.startAll()
		p.mustPut("globex", "new")
		r.sameState()
		for _, p := range r.peers {
			if got := p.accountName("acme"); got != "before" {
				t.Errorf("%s has %q, want what the backup has", p.name, got)
			}
			s := p.node.Status()
			if s.ClusterID != made.Cluster || s.Num < 4 || len(s.Members) != 3 {
				t.Errorf("%s: cluster %s, number %d, %d members; want %s, above 3, 3", p.name, s.ClusterID, s.Num, len(s.Members), made.Cluster)
			}
		}

		// The doubt outlives a restart of everything, and ends by itself, once.
		for _, p := range r.peers {
			p.close()
		}
		time.Sleep(time.Hour)
		r.startAll()
		if p.settings().DoubtUntil == 0 {
			t.Error("the doubt is over after an hour: too early by a minute")
		}
		r.eventually(2*time.Minute, "the doubt is over on every node", func() bool {
			for _, p := range r.peers {
				if p.settings().DoubtUntil != 0 {
					return false
				}
			}
			return true
		})
		ended, _, err := p.machine.ListAudit(fsm.AuditFilter{Action: "cluster.end_doubt"}, 0, 10)
		if err != nil || len(ended) != 1 {
			t.Errorf("the end of the doubt is %d times on record (%v), want once", len(ended), err)
		}
	})
}

func TestRestoreRefusesADamagedBackupAndADirectoryInUse(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.startAll()
		p := r.peers["n1"]
		p.mustPut("acme", "x")
		backup := p.backup()
		p.close()
		if _, err := p.restore(backup); err == nil || !strings.Contains(err.Error(), "empty directory") {
			t.Errorf("into a directory that is in use: %v", err)
		}
		p.emptyDisk()
		if _, err := p.restore(backup[:len(backup)-1]); !errors.Is(err, fsm.ErrSnapshot) {
			t.Errorf("a backup that lacks its last byte: %v, want %v", err, fsm.ErrSnapshot)
		}
		p.emptyDisk()
		p.start() // so that the rig may stop it
	})
}

// A restoring that was cut short leaves nothing that would start.
func TestHalfRestoredDirectoryIsRefused(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.startAll()
		p := r.peers["n1"]
		backup := p.backup()
		p.close()
		p.emptyDisk()
		m, err := fsm.Open("/data/state", fsm.Options{FS: p.fs, Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.InstallSnapshot(bytes.NewReader(backup)); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if err := p.open(); err == nil {
			t.Error("a state without a log was opened")
			p.close()
		}
		p.emptyDisk()
		p.start()
	})
}
