package cluster

import (
	"slices"

	"github.com/bursar-dev/bursar/fsm"
)

// memberTable is who is who, copied from the local replica. It is never changed
// once published: hot paths read it without a lock.
type memberTable struct {
	nodes      []fsm.Node // ascending by number, former members included
	settings   fsm.Settings
	configured bool // settings is valid
}

// readMembers copies the table out of the replica.
func readMembers(m *fsm.Machine) *memberTable {
	t := &memberTable{}
	m.View(func(v *fsm.View) {
		for _, n := range v.Nodes() {
			t.nodes = append(t.nodes, *n)
		}
		t.settings, t.configured = v.Settings()
	})
	return t
}

func (t *memberTable) equal(o *memberTable) bool {
	return t.configured == o.configured && t.settings == o.settings && slices.Equal(t.nodes, o.nodes)
}

// member returns the present member with the name, or nil.
func (t *memberTable) member(name string) *fsm.Node {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.Name == name && n.RemovedAt == 0 {
			return n
		}
	}
	return nil
}

// at returns the name of the present member with the address, or "-" if there is none.
func (t *memberTable) at(addr string) string {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.Addr == addr && n.RemovedAt == 0 {
			return n.Name
		}
	}
	return "-"
}

// node returns the member or former member with the number, or nil.
func (t *memberTable) node(num fsm.NodeNum) *fsm.Node {
	for i := range t.nodes {
		if t.nodes[i].Num == num {
			return &t.nodes[i]
		}
	}
	return nil
}

// wasRemoved reports whether the name was a member and is no more.
func (t *memberTable) wasRemoved(name string) bool {
	return t.member(name) == nil && slices.ContainsFunc(t.nodes, func(n fsm.Node) bool { return n.Name == name })
}

// caller returns the number of a present member, or why its requests are refused.
func (t *memberTable) caller(name string) (fsm.NodeNum, error) {
	if n := t.member(name); n != nil {
		return n.Num, nil
	}
	if t.wasRemoved(name) {
		return 0, errRemoved
	}
	return 0, errNotMember
}

// num returns the number of a present member, or 0.
func (t *memberTable) num(name string) fsm.NodeNum {
	if n := t.member(name); n != nil {
		return n.Num
	}
	return 0
}

// refreshMembers brings the table up to the replica and tells who waits for it.
// raft's apply goroutine calls it after every batch.
func (n *Node) refreshMembers() {
	old, now := n.members.Load(), readMembers(n.machine)
	if old != nil && old.equal(now) {
		return
	}
	for i := range now.nodes {
		if m := &now.nodes[i]; m.RemovedAt == 0 {
			var before *fsm.Node
			if old != nil {
				before = old.node(m.Num)
			}
			if before == nil || before.Addr != m.Addr {
				n.dir.set(m.Name, m.Addr)
			}
		}
	}
	n.members.Store(now)
	n.membersMu.Lock()
	close(n.membersChanged)
	n.membersChanged = make(chan struct{})
	n.membersMu.Unlock()
	if now.configured {
		if err := n.identity.update(func(v *identityFields) { v.Cluster = now.settings.ClusterID }); err != nil {
			n.fail(err)
		}
	}
	if now.wasRemoved(n.cfg.Name) {
		n.fail(errRemoved)
	}
}

// onMembers returns a channel that is closed when the table changes next.
func (n *Node) onMembers() <-chan struct{} {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	return n.membersChanged
}
