package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// The hazard: raft tells followers of a commit with the next entries or, when none
// come, after CommitTimeout. A short one keeps an idle leader busy; a long one
// makes every follower late with the last entry of a burst, and with it every
// write that waits for the others to have applied it.
//
// So the timer is slow, and the leader sends what the timer would send as soon as
// an entry is committed: a notice, the empty AppendEntries that follows the last
// one on the same pipeline. To the follower it is raft's own message.
//
// It is safe for the reasons that raft's is. It names the last entry sent before
// it, on a connection that keeps the order, so a follower takes it only if its
// log holds that entry; and its commit index is one that this node read while it
// led the term that the notice bears (see committedIn).

// noticeTransport is raft's transport to peers, with pipelines that send notices.
type noticeTransport struct {
	*raft.NetworkTransport
	raft atomic.Pointer[raft.Raft] // nil until raft has started

	mu        sync.Mutex
	pipelines map[*noticePipeline]struct{}
}

func newNoticeTransport(nt *raft.NetworkTransport) *noticeTransport {
	return &noticeTransport{NetworkTransport: nt, pipelines: make(map[*noticePipeline]struct{})}
}

// committed has every follower told what is committed, unless raft has told it. It does not wait.
func (t *noticeTransport) committed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.pipelines {
		p.rouse()
	}
}

// committedIn returns the commit index of this node as the leader of term, or 0
// if it does not lead it. The order matters: an index that is read before the
// node is seen to lead the term was learned in that term or an earlier one. One
// of a later term could lie beyond what a follower of this term may take as committed.
func (t *noticeTransport) committedIn(term uint64) uint64 {
	r := t.raft.Load()
	if r == nil {
		return 0
	}
	index := r.CommitIndex()
	if r.State() != raft.Leader || r.CurrentTerm() != term {
		return 0
	}
	return index
}

// AppendEntriesPipeline implements raft.Transport.
func (t *noticeTransport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	p := newNoticePipeline(inner, t.committedIn)
	t.mu.Lock()
	t.pipelines[p] = struct{}{}
	t.mu.Unlock()
	p.closed = func() {
		t.mu.Lock()
		delete(t.pipelines, p)
		t.mu.Unlock()
	}
	return p, nil
}

// noticePipeline sends raft's requests to one follower, in order, and notices
// while none of them is unanswered: a follower that is slow to answer is told with the answer.
type noticePipeline struct {
	raft.AppendPipeline
	committedIn func(term uint64) uint64
	answers     chan raft.AppendFuture
	wake        chan struct{} // capacity 1
	done        chan struct{}
	once        sync.Once
	closed      func() // called once, by Close

	unanswered atomic.Int32
	over       atomic.Bool // something failed or was refused: raft will close the pipeline

	turn chan struct{}              // capacity 1: whoever sends has it. forward must not: sending waits for it
	last *raft.AppendEntriesRequest // what a request after the last one would be, without entries; of whoever has the turn
}

func newNoticePipeline(inner raft.AppendPipeline, committedIn func(uint64) uint64) *noticePipeline {
	p := &noticePipeline{
		AppendPipeline: inner, committedIn: committedIn, closed: func() {},
		answers: make(chan raft.AppendFuture), wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go p.forward()
	go p.run()
	return p
}

// AppendEntries implements raft.AppendPipeline.
func (p *noticePipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	return p.send(req, resp)
}

// send passes a request on. The caller has the turn.
func (p *noticePipeline) send(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.unanswered.Add(1)
	f, err := p.AppendPipeline.AppendEntries(req, resp)
	if err != nil {
		p.over.Store(true)
		return nil, err
	}
	next := *req
	next.Entries = nil
	if n := len(req.Entries); n > 0 {
		next.PrevLogEntry, next.PrevLogTerm = req.Entries[n-1].Index, req.Entries[n-1].Term
	}
	p.last = &next
	return f, nil
}

// Consumer implements raft.AppendPipeline.
func (p *noticePipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline.
func (p *noticePipeline) Close() error {
	p.once.Do(func() {
		close(p.done)
		p.closed()
	})
	return p.AppendPipeline.Close()
}

// forward passes the answers on to raft, up to the one on which raft stops taking
// them: a failure, a refusal, or a later term. It takes those that follow all the
// same. raft's sender may be waiting for a place in the pipeline, which only an
// answer that is taken makes; left alone it would wait for ever, with a follower that is sent
// heartbeats and nothing else, and raft's shutdown would wait for it.
func (p *noticePipeline) forward() {
	stopped := false // raft takes no more
	for {
		var f raft.AppendFuture
		select {
		case f = <-p.AppendPipeline.Consumer():
		case <-p.done:
			return
		}
		last := f.Error() != nil || !f.Response().Success || f.Response().Term > f.Request().Term
		if last {
			p.over.Store(true)
		}
		p.unanswered.Add(-1)
		p.rouse()
		if stopped {
			continue
		}
		select {
		case p.answers <- f:
			stopped = last
		case <-p.done:
			return
		}
	}
}

// rouse has a notice sent if one is due.
func (p *noticePipeline) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *noticePipeline) run() {
	for {
		select {
		case <-p.wake:
			p.notice()
		case <-p.done:
			return
		}
	}
}

// notice tells the follower what is committed, if nothing has.
func (p *noticePipeline) notice() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.last == nil || p.over.Load() || p.unanswered.Load() > 0 {
		return
	}
	index := p.committedIn(p.last.Term)
	if index <= p.last.LeaderCommitIndex {
		return
	}
	req := *p.last
	req.LeaderCommitIndex = index
	p.send(&req, new(raft.AppendEntriesResponse)) // an error is raft's to notice: the connection is gone
}
