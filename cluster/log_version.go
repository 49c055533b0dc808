package cluster

import (
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// The hazard: an entry that a replica cannot read is rejected there, and applied by
// the others. So while nodes of two releases are in the cluster, the log is written as the older one reads it.
//
// Every greeting says up to which version the node reads entries (see fsm.LogVersion); one that says
// nothing reads the first. A leader writes the present version when it has heard that of every server that gets
// entries, or when the log has such an entry already, which stays so for good: a node of a release
// that cannot read it is not let in from then on.

// logVersion is the version that this leader's entries have.
func (l *leadership) logVersion() uint8 {
	if l.n.machine.LogVersion() >= fsm.LogVersion {
		return fsm.LogVersion
	}
	t := l.n.members.Load()
	read := func(name string) bool {
		if name == l.n.cfg.Name {
			return l.n.cfg.Tuning.LogVersion >= fsm.LogVersion
		}
		return l.sessions.reads(t.num(name)) >= fsm.LogVersion
	}
	servers := l.n.configuration().Servers
	for _, s := range servers {
		if !read(string(s.ID)) {
			return fsm.FirstLogVersion
		}
	}
	for i := range t.nodes {
		if m := &t.nodes[i]; m.RemovedAt == 0 && !read(m.Name) {
			return fsm.FirstLogVersion
		}
	}
	if len(servers) == 0 {
		return fsm.FirstLogVersion // raft is stopping
	}
	return fsm.LogVersion
}

// tooOld says why a node that reads entries up to a version cannot be in the cluster, or nil.
func (n *Node) tooOld(name string, reads uint8) error {
	if present := n.machine.LogVersion(); reads < present {
		return fmt.Errorf("the release that %q runs cannot read this cluster's log (it reads version %d, the log has version %d): start the release that the other nodes run", name, reads, present)
	}
	return nil
}

// sentPart is a part on its way into an entry: as a node of an earlier release or this node itself
// has it, or packed, as it came.
type sentPart struct {
	part   *fsm.Part // nil: see packed
	packed fsm.PackedPart
}

// events reports whether it carries any.
func (p *sentPart) events() bool {
	if p.part != nil {
		return len(p.part.Events) > 0
	}
	_, events, _, _ := p.packed.Head()
	return events
}

// empty reports whether there is nothing in it to log.
func (p *sentPart) empty() bool {
	if p.part != nil {
		return heartbeat(p.part)
	}
	_, _, empty, _ := p.packed.Head()
	return empty
}

func (p *sentPart) node() (fsm.NodeNum, error) {
	if p.part != nil {
		return p.part.Node, nil
	}
	node, _, _, err := p.packed.Head()
	return node, err
}

// encodeParts encodes parts as an entry of a version.
func encodeParts(actor fsm.Actor, leader fsm.NodeNum, version uint8, parts []sentPart) ([]byte, error) {
	cmd := &fsm.Command{At: time.Now().UnixMilli(), Leader: leader, Actor: actor}
	if version >= fsm.LogVersion {
		packed := make([]fsm.PackedPart, len(parts))
		for i, p := range parts {
			if packed[i] = p.packed; p.part != nil {
				packed[i] = p.part.Pack()
			}
		}
		return fsm.EncodeParts(cmd, packed)
	}
	body := fsm.Reconcile{Parts: make([]fsm.Part, len(parts))}
	for i, p := range parts {
		if p.part == nil {
			part, err := p.packed.Unpack()
			if err != nil {
				return nil, fmt.Errorf("%w: %w", enforcer.ErrNoLeader, err)
			}
			p.part = part
		}
		body.Parts[i] = *p.part
	}
	cmd.Body = body
	return fsm.EncodeVersion(cmd, version)
}
